//! Orders of threads, which `just interleavings` plays: what a driver publishes, and who waits for it.

use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Credentials, Secret};
use pod_identity_interleavings::{block_on, in_many_orders, thread};
use pod_identity_testkit::SettableClock;

use crate::drive::driver::Driver;
use crate::drive::driver::tests::{START, driver};

/// A set for a day, whose key id is this number.
fn set(number: u32) -> Credentials {
    let secret = || Secret::from("s".to_owned());
    let end = START + Duration::from_secs(24 * 3600);
    Credentials::new(number.to_string(), secret(), secret(), end)
}

/// Carries out the wanted fetch, unless another thread does.
fn fetch(driver: &Arc<Driver>, fetched: Credentials) {
    let attempt = driver.drive(|slot, now| slot.poll_fetch(now));
    if let Some(attempt) = attempt {
        driver.handle_fetched(attempt, Duration::ZERO, Ok(fetched));
    }
}

/// The number of the set that a caller gets without a lock.
fn published(driver: &Driver) -> Option<u32> {
    driver.with_current(|set| set.credentials().access_key_id().parse().unwrap())
}

/// Callers that wait, of which one fetches for all: see `Driver::settled`.
#[test]
fn every_caller_that_waits_for_a_fetch_learns_that_it_has_ended() {
    in_many_orders(|| {
        let driver = driver(&Arc::new(SettableClock::at(START)));
        let callers = (1..=3).map(|number| {
            let driver = Arc::clone(&driver);
            thread::spawn(move || {
                let ticket = driver.drive(|slot, now| slot.refresh(now));
                let mut changed = driver.changed();
                loop {
                    fetch(&driver, set(number));
                    let outcome = driver.drive(|slot, now| {
                        slot.handle_timeout(now);
                        slot.fetch_outcome(ticket).map(|outcome| outcome.is_ok())
                    });
                    if outcome.is_some() {
                        break;
                    }
                    block_on(changed.changed()).unwrap();
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.join().unwrap();
        }
    });
}

/// What callers get without a lock is what the slot holds: no thread publishes what another has replaced.
#[test]
fn what_is_published_is_never_older_than_before() {
    in_many_orders(|| {
        let driver = driver(&Arc::new(SettableClock::at(START)));
        let renew = |driver: &Arc<Driver>, number| {
            driver.drive(|slot, now| slot.refresh(now));
            fetch(driver, set(number));
            assert_eq!(published(driver), Some(number));
        };
        renew(&driver, 1);
        let [writer, background, reader] = [(); 3].map(|()| Arc::clone(&driver));
        let threads = [
            thread::spawn(move || (2..=4).for_each(|number| renew(&writer, number))),
            thread::spawn(move || {
                for _deadline in 0..3 {
                    background.drive(|slot, now| slot.handle_timeout(now));
                    background.invalidate("of another provider");
                }
            }),
            thread::spawn(move || {
                let mut seen = 1;
                for _look in 0..6 {
                    // While a fetch is wanted, callers ask the slot.
                    if let Some(now) = published(&reader) {
                        assert!(now >= seen, "{now} after {seen}");
                        seen = now;
                    }
                    thread::yield_now();
                }
            }),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(published(&driver), Some(4));
    });
}
