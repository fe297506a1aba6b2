//! Random schedules of everything that can happen to an agent and its pods, in virtual time: clients that hang up, stay
//! silent, send half a request or a wrong token, crowds, an EKS Auth that is slow, throttles, fails, hangs and refuses,
//! associations that come and go, clock steps, keys that are away, and a shutdown. One seed is one schedule.
//!
//! The agent is the real one from the first byte of a connection to the trait `EksAuth`; only its sockets are replaced.
//! A run of the tests plays a few. `just simulate-agent` plays thousands, or as many as it is told:
//! `POD_IDENTITY_SCHEDULES` is their number, `POD_IDENTITY_SEED` the first. The restart of an agent that has fewer places
//! than pods is always the same.

mod node;
mod pod;
mod restart;
mod schedule;
mod stream;
mod world;

use pod::Seen;
use schedule::Schedule;

#[test]
fn in_every_schedule_each_pod_gets_its_own_live_credentials_or_an_answer_in_time() {
    let first = variable("POD_IDENTITY_SEED").unwrap_or(0);
    let number = variable("POD_IDENTITY_SCHEDULES").unwrap_or(20);
    let mut seen = Seen::default();
    let mut failures = Vec::new();
    for seed in first..first + number {
        match Schedule::run(seed) {
            Ok(of_schedule) => seen.add(of_schedule),
            Err(violations) => failures.push(violations),
        }
    }
    println!("{number} schedules: {seen:?}");
    let failed = failures.len();
    assert!(
        failed == 0,
        "{failed} of them failed:\n{}",
        failures.join("\n")
    );
    if number >= 20 {
        // A simulation in which nothing happens shows nothing.
        assert!(seen.sets > 20 * number && seen.late > number && seen.refused > number);
    }
}

#[test]
fn a_schedule_can_be_repeated() {
    // The connections of 4 and 6 are few, so that pods crowd.
    for seed in [0, 1, 2, 4, 6] {
        assert_eq!(Schedule::run(seed), Schedule::run(seed), "seed {seed}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a longer run is asked for from outside"
)]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
