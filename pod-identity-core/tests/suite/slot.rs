//! One credential's life, in virtual time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Answer, Driver, Error, HOUR, START, failure, millis, minting, secs, set};
use FailureClass::{Denied, Gone, Malformed, Throttled, Transient};
use pod_identity_core::{Backoff, FailureClass, RefreshPolicy, Slot, SlotError, Timestamp, Window};

fn provider() -> RefreshPolicy {
    RefreshPolicy::provider()
}

fn agent() -> RefreshPolicy {
    RefreshPolicy::agent()
}

fn fail_closed() -> RefreshPolicy {
    provider().with_serve_expired(false)
}

fn ready(key: &str) -> Answer {
    Answer::Ready(key.to_owned())
}

/// A driver whose refresh of a set that lives six hours has just begun.
fn refreshing(policy: RefreshPolicy) -> Driver {
    let mut driver = Driver::holding(policy, "old", 6 * HOUR);
    let due = driver.slot.due_at().expect("a set must be held");
    driver.run(due.saturating_since(START));
    assert_eq!(driver.started.len(), 2);
    driver
}

#[test]
fn a_copy_of_the_held_set_may_be_used_until_the_slot_has_something_to_do() {
    let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
    let due = driver.slot.poll_timeout().unwrap();
    assert_eq!(driver.slot.quiet_until(due - secs(1)), Some(due));
    assert_eq!(driver.slot.quiet_until(due), None);
    driver.slot.handle_timeout(due);
    assert!(driver.slot.wants_fetch() && driver.slot.peek(due).is_some());
    assert_eq!(driver.slot.quiet_until(due), None, "a fetch is wanted");
}

#[test]
fn debug_tells_the_state_of_a_slot_and_nothing_of_its_set() {
    let driver = refreshing(provider());
    let debug = format!("{:?}", driver.slot);
    assert!(debug.starts_with("Slot { phase: \"in flight\""), "{debug}");
    assert!(!debug.contains("old"), "{debug}");
}

// Sharing

#[test]
fn callers_without_a_held_set_share_one_fetch() {
    let mut driver = Driver::new(agent());
    let tickets = [driver.wait(), driver.wait(), driver.wait()];
    assert_eq!(driver.started.len(), 1);
    assert!(
        tickets
            .iter()
            .all(|ticket| driver.outcome(*ticket).is_none())
    );
    driver.answer(Ok(set("new", START + HOUR)));
    for ticket in tickets {
        assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    }
}

#[test]
fn no_caller_waits_for_a_refresh_while_a_valid_set_is_held() {
    for policy in [provider(), agent()] {
        let mut driver = refreshing(policy);
        assert_eq!(driver.ask(), ready("old"));
        let expires = driver.now + 6 * HOUR;
        driver.answer(Ok(set("new", expires)));
        assert_eq!(driver.ask(), ready("new"));
        assert_eq!(driver.started.len(), 2);
    }
}

#[test]
fn a_failure_reaches_waiting_callers_and_no_later_ones() {
    for policy in [provider(), agent()] {
        let mut driver = Driver::new(policy);
        let waited = [driver.wait(), driver.wait()];
        driver.answer(Err(failure(Denied)));
        for ticket in waited {
            assert_eq!(driver.outcome(ticket), Some(Err(&Error::Service(Denied))));
        }
        let later = driver.wait();
        assert_eq!(driver.outcome(later), None);
        assert_eq!(driver.started.len(), 2, "no negative cache");
    }
}

#[test]
fn a_refresh_on_demand_joins_a_fetch_in_flight_and_ends_a_rest() {
    let mut driver = refreshing(provider());
    let joined = driver.slot.refresh(driver.now);
    driver.answer(Err(failure(Transient)));
    assert_eq!(driver.outcome(joined), Some(Ok("old")));
    assert!(driver.slot.is_resting() && !driver.slot.is_fetching());
    let ticket = driver.slot.refresh(driver.now);
    let attempt = driver.slot.poll_fetch(driver.now).unwrap();
    let fetched = Ok(set("new", driver.now + 6 * HOUR));
    assert!(driver.slot.handle_fetched(attempt, driver.now, fetched));
    assert_eq!(driver.outcome(ticket), Some(Ok("new")));
}

#[test]
fn a_refresh_on_demand_does_not_begin_before_the_time_that_the_service_has_set() {
    let mut driver = Driver::new(provider());
    driver.wait();
    driver.answer(Err(failure(Throttled).with_retry_after(Some(secs(2)))));
    driver.slot.refresh(driver.now);
    driver.run(millis(1999));
    assert_eq!(driver.started.len(), 1);
    driver.run(millis(1));
    assert_eq!(driver.started.len(), 2);
}

#[test]
fn equal_seeds_give_equal_lives() {
    let life = |seed| {
        let mut driver = Driver::seeded(provider(), seed);
        driver.serve(minting(HOUR));
        driver.ask();
        driver.run(24 * HOUR);
        driver.started
    };
    assert_eq!(life(1), life(1));
    assert_ne!(
        life(1),
        life(2),
        "those who started together do not refresh together"
    );
}

// Failures

#[test]
fn without_a_held_set_the_class_decides_how_many_attempts_a_round_has() {
    for (policy, class, hint, attempts, told_after) in [
        (provider(), Gone, None, 1..=1, 0..=0),
        (provider(), Denied, None, 1..=1, 0..=0),
        (provider(), Throttled, None, 5..=5, 2550..=5100),
        (provider(), Throttled, Some(3), 4..=4, 9000..=9000),
        (provider(), Throttled, Some(20), 1..=1, 0..=0),
        (provider(), Transient, None, 5..=5, 2550..=5100),
        (provider(), Malformed, None, 5..=5, 2550..=5100),
        (agent(), Gone, None, 1..=1, 0..=0),
        (agent(), Denied, None, 1..=1, 0..=0),
        (agent(), Throttled, None, 8..=20, 25_000..=30_000),
        (agent(), Throttled, Some(9), 4..=4, 27_000..=27_000),
        (agent(), Throttled, Some(60), 1..=1, 0..=0),
        (agent(), Transient, None, 8..=20, 25_000..=30_000),
        (agent(), Malformed, None, 1..=1, 0..=0),
    ] {
        let row = format!("{class:?} with hint {hint:?}, {attempts:?} attempts");
        let mut driver = Driver::new(policy);
        driver.serve(move |_now| {
            let failure = failure(class).with_retry_after(hint.map(secs));
            (Duration::ZERO, Err(failure))
        });
        let ticket = driver.wait();
        let told = driver.run_until_settled(ticket).as_millis();
        assert!(told_after.contains(&told), "{row}: told after {told} ms");
        assert_eq!(driver.outcome(ticket), Some(Err(&Error::Service(class))));
        driver.run(HOUR);
        let made = driver.started.len();
        assert!(attempts.contains(&made), "{row}: {made}");
        assert!(driver.slot.is_vacant(), "{row}: nothing happens by itself");
    }
}

#[test]
fn with_a_held_set_the_class_decides_whether_it_is_kept_and_when_to_retry() {
    // A long hint does not reach into the last 65 minutes by more than 60 s, where the provider's refresh is due.
    for (policy, gone, longest) in [
        (provider(), Some(500..=1000), 60_000..=300_000),
        (agent(), None, 300_000..=300_000),
    ] {
        for (class, hint, next) in [
            (Gone, None, gone.clone()),
            (Denied, None, Some(500..=1000)),
            (Throttled, None, Some(500..=1000)),
            (Throttled, Some(40), Some(40_000..=40_000)),
            (Throttled, Some(86_400), Some(longest.clone())),
            (Transient, None, Some(500..=1000)),
            (Malformed, None, Some(500..=1000)),
        ] {
            let row = format!("{class:?} with hint {hint:?}");
            let mut driver = refreshing(policy.clone());
            let failure = failure(class).with_retry_after(hint.map(secs));
            driver.answer(Err(failure));
            driver.run(secs(301));
            match next {
                None => {
                    assert!(driver.slot.is_vacant(), "{row}");
                    driver.wait();
                    assert_eq!(driver.started.len(), 3, "{row}: only when asked again");
                }
                Some(next) => {
                    assert_eq!(driver.ask(), ready("old"), "{row}");
                    let rest = driver.pauses(1)[0].as_millis();
                    assert!(next.contains(&rest), "{row}: {rest} ms");
                }
            }
        }
    }
}

#[test]
fn callers_of_the_provider_are_answered_after_five_attempts_or_ten_seconds() {
    for (slow, attempts) in [
        (millis(0), 5..=5),
        (millis(900), 5..=5),
        (secs(4), 2..=3),
        (secs(60), 2..=2),
    ] {
        let mut driver = Driver::new(provider());
        driver.serve(move |_now| (slow, Err(failure(Transient))));
        let ticket = driver.wait();
        let told = driver.run_until_settled(ticket);
        assert!(
            told <= secs(10),
            "attempts of {slow:?}: told after {told:?}"
        );
        assert!(attempts.contains(&driver.started.len()), "{slow:?}");
    }
}

#[test]
fn an_agent_that_is_down_for_two_seconds_goes_unnoticed() {
    for seed in 0..100 {
        let mut driver = Driver::seeded(provider(), seed);
        driver.fail(Transient);
        let ticket = driver.wait();
        driver.run(secs(2));
        driver.serve(minting(6 * HOUR));
        driver.run_until_settled(ticket);
        assert!(matches!(driver.outcome(ticket), Some(Ok(_))), "{seed}");
    }
}

#[test]
fn the_agent_retries_for_thirty_seconds_after_the_last_request() {
    let mut driver = Driver::new(agent());
    driver.fail(Transient);
    driver.ask();
    driver.run(secs(20));
    let last_ask = driver.now;
    driver.ask();
    driver.run(HOUR);
    let last = driver.started.last().unwrap().saturating_since(last_ask);
    assert!(last > secs(24) && last <= secs(30), "{last:?}");
    assert!(driver.slot.is_vacant());
}

#[test]
fn a_client_that_gave_up_finds_the_result_when_it_returns() {
    let mut driver = Driver::new(agent());
    driver.fail(Throttled);
    driver.ask();
    driver.run(secs(15));
    driver.serve(minting(6 * HOUR));
    driver.run(secs(6));
    assert_eq!(driver.ask(), ready("ASIA1"));
}

#[test]
fn a_failing_refresh_rests_twice_as_long_each_time_up_to_the_cap_with_jitter() {
    for (policy, cap) in [(provider(), 60), (agent(), 30)] {
        let mut driver = refreshing(policy);
        driver.fail(Transient);
        driver.run(secs(14 * 60));
        for (failures, rest) in driver.pauses(1).into_iter().enumerate() {
            let whole = secs(1 << failures.min(10)).min(secs(cap));
            assert!(
                whole / 2 <= rest && rest <= whole,
                "after {failures}: {rest:?}"
            );
        }
    }
}

#[test]
fn a_rejected_set_that_stays_the_newest_is_tried_every_five_to_ten_minutes_in_the_end() {
    let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
    driver.serve(|_now| (Duration::ZERO, Ok(set("old", START + 6 * HOUR))));
    driver.slot.invalidate("old");
    driver.run(secs(15 * 60));
    let later = driver.started.len();
    driver.run(3 * HOUR);
    for rest in driver.pauses(later) {
        assert!(secs(300) <= rest && rest <= secs(600), "{rest:?}");
    }
}

/// By a clock that is an hour slow, the set has expired when 60 minutes seem to be left, and nobody starts an
/// attempt for it.
#[test]
fn in_the_last_65_minutes_of_a_set_a_provider_never_rests_longer_than_a_minute() {
    for class in [Transient, Throttled, Denied, Gone] {
        let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
        driver.fail(class);
        driver.slot.invalidate("old");
        driver.run(5 * HOUR - secs(5 * 60));
        let before = driver.started.len();
        driver.run(secs(65 * 60));
        for rest in driver.pauses(before) {
            assert!(rest <= secs(60), "{class:?}: {rest:?}");
        }
    }
}

#[test]
fn in_the_last_minute_of_a_set_the_rest_is_one_to_five_seconds() {
    for policy in [provider(), agent()] {
        let mut driver = refreshing(policy);
        driver.fail(Transient);
        let expires = START + 6 * HOUR;
        driver.run((expires - secs(60)).saturating_since(driver.now));
        let before = driver.started.len();
        driver.run(secs(60));
        let rests = driver.pauses(before);
        assert!(rests.len() >= 10, "{rests:?}");
        assert!(
            rests
                .iter()
                .all(|rest| secs(1) <= *rest && *rest <= secs(5))
        );
    }
}

#[test]
fn after_the_expiry_rests_grow_and_recovery_takes_a_minute_at_most() {
    for policy in [provider(), fail_closed(), agent()] {
        let mut driver = Driver::holding(policy, "old", HOUR);
        driver.fail(Transient);
        driver.run(HOUR + secs(5));
        let before = driver.started.len();
        driver.run(2 * HOUR);
        for rest in driver.pauses(before) {
            assert!(secs(15) <= rest && rest <= secs(60), "{rest:?}");
        }
        driver.serve(minting(HOUR));
        driver.run(secs(61));
        assert_eq!(driver.ask(), ready("ASIA1"));
    }
}

#[test]
fn failures_are_counted_until_a_success() {
    let mut driver = refreshing(agent());
    let began = driver.now;
    driver.fail(Transient);
    driver.run(secs(10));
    assert!(driver.slot.failures() > 2);
    assert_eq!(driver.slot.failing_since(), Some(began));
    assert_eq!(driver.slot.last_error(), Some(&Error::Service(Transient)));
    driver.serve(minting(6 * HOUR));
    driver.run(secs(30));
    assert_eq!(
        (driver.slot.failures(), driver.slot.failing_since()),
        (0, None)
    );
    assert_eq!(driver.slot.last_error(), None);
}

// Late, duplicate and missing answers

#[test]
fn a_duplicate_answer_is_ignored() {
    let mut driver = Driver::new(agent());
    driver.ask();
    let attempt = driver.open[0];
    driver.answer(Ok(set("first", START + HOUR)));
    let again = Ok(set("second", START + 2 * HOUR));
    assert!(!driver.slot.handle_fetched(attempt, START, again));
    assert_eq!(driver.ask(), ready("first"));
}

#[test]
fn an_answer_to_no_attempt_is_ignored() {
    let mut other = Driver::new(agent());
    other.fail(Transient);
    other.ask();
    other.run(secs(2));
    let unknown = {
        other.slot.refresh(other.now);
        other.slot.poll_fetch(other.now).unwrap()
    };
    let mut driver = Driver::new(agent());
    let ticket = driver.wait();
    let fetched = Ok(set("unknown", START + HOUR));
    assert!(!driver.slot.handle_fetched(unknown, START, fetched));
    assert_eq!(driver.outcome(ticket), None);
}

#[test]
fn an_attempt_that_is_never_answered_times_out_and_its_late_answer_is_ignored() {
    for policy in [provider(), agent()] {
        let mut driver = Driver::new(policy.with_attempts(1));
        let ticket = driver.wait();
        let attempt = driver.open[0];
        assert_eq!(driver.run_until_settled(ticket), 2 * attempt.timeout());
        let abandoned = Error::Slot(SlotError::Abandoned);
        assert_eq!(driver.outcome(ticket), Some(Err(&abandoned)));
        let late = Ok(set("late", START + HOUR));
        assert!(!driver.slot.handle_fetched(attempt, driver.now, late));
        assert!(driver.slot.is_vacant());
    }
}

#[test]
fn a_late_answer_does_not_count_for_the_next_attempt() {
    let mut driver = Driver::new(agent());
    let ticket = driver.wait();
    driver.run(secs(8));
    assert_eq!(driver.started.len(), 2);
    let late = Err(failure(Denied));
    assert!(!driver.slot.handle_fetched(driver.open[0], driver.now, late));
    assert_eq!(driver.outcome(ticket), None);
    assert!(driver.slot.is_fetching());
}

// What is fetched

#[test]
fn an_unchanged_set_is_neither_progress_nor_a_failure() {
    for policy in [provider(), agent()] {
        let mut driver = refreshing(policy.clone());
        assert_eq!(driver.slot.unchanged(), 0);
        driver.answer(Ok(set("old", START + 6 * HOUR)));
        assert_eq!(driver.ask(), ready("old"));
        assert!(driver.slot.is_resting());
        assert_eq!(
            (driver.slot.failures(), driver.slot.last_error()),
            (0, None)
        );
        driver.run(secs(1));
        assert_eq!(driver.started.len(), 3);
        driver.answer(Ok(set("old", START + 6 * HOUR)));
        assert_eq!(driver.slot.unchanged(), 2);
        assert_eq!(driver.slot.fetched_at(), Some(START), "the first time");
        driver.run(secs(2));
        let now = driver.now;
        driver.answer(Ok(set("new", now + 6 * HOUR)));
        assert_eq!(driver.slot.unchanged(), 0);
        assert_eq!(driver.slot.fetched_at(), Some(now));
    }
}

#[test]
fn an_unchanged_set_with_a_later_expiry_is_valid_until_then_and_with_an_earlier_one_as_before() {
    for policy in [provider(), agent()] {
        for (lifetime, held) in [(7 * HOUR, 7 * HOUR), (5 * HOUR, 6 * HOUR)] {
            let mut driver = Driver::holding(policy.clone(), "old", 6 * HOUR);
            driver.slot.refresh(driver.now);
            let attempt = driver.slot.poll_fetch(driver.now).unwrap();
            let same = Ok(set("old", START + lifetime));
            assert!(driver.slot.handle_fetched(attempt, driver.now, same));
            let usable = [held - secs(16), held - secs(15)]
                .map(|after| driver.slot.peek(START + after).is_some());
            assert_eq!(usable, [true, false], "{lifetime:?}");
        }
    }
}

#[test]
fn another_access_key_id_is_progress_whatever_its_expiry() {
    for policy in [provider(), agent()] {
        for lifetime in [6 * HOUR, 6 * HOUR - secs(1), 59 * secs(60)] {
            let mut driver = refreshing(policy.clone());
            let expires = (START + 6 * HOUR).min(driver.now + lifetime);
            driver.answer(Ok(set("new", expires)));
            assert_eq!(driver.ask(), ready("new"), "{lifetime:?}");
            let due = driver.slot.due_at().unwrap();
            assert!(driver.now < due && due < expires, "{lifetime:?}: {due}");
        }
    }
}

#[test]
fn a_refresh_on_demand_that_finds_nothing_newer_changes_no_pace_and_is_no_failure() {
    let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
    driver.run(HOUR);
    let due = driver.slot.due_at();
    let ticket = driver.slot.refresh(driver.now);
    let attempt = driver.slot.poll_fetch(driver.now).unwrap();
    let same = Ok(set("old", START + 6 * HOUR));
    assert!(driver.slot.handle_fetched(attempt, driver.now, same));
    assert_eq!(
        driver.slot.fetch_outcome(ticket).map(|set| set.is_ok()),
        Some(true)
    );
    assert_eq!(
        (driver.slot.failures(), driver.slot.is_resting()),
        (0, false)
    );
    assert_eq!(driver.slot.poll_timeout(), due);
}

#[test]
fn a_refresh_on_demand_that_fails_is_an_error_although_a_valid_set_is_held() {
    let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
    let ticket = driver.slot.refresh(driver.now);
    let attempt = driver.slot.poll_fetch(driver.now).unwrap();
    driver
        .slot
        .handle_fetched(attempt, driver.now, Err(failure(Denied)));
    assert_eq!(driver.outcome(ticket), Some(Ok("old")));
    let denied = Error::Service(Denied);
    assert_eq!(driver.slot.fetch_outcome(ticket), Some(Err(&denied)));
}

#[test]
fn a_valid_set_is_never_replaced_by_an_expired_one_whatever_the_clock_did() {
    for policy in [provider(), agent()] {
        let mut driver = Driver::holding(policy, "old", 6 * HOUR);
        driver.fail(Transient);
        driver.step_to(START + 24 * HOUR);
        driver.run(secs(30));
        driver.step_to(START + secs(30));
        assert_eq!(driver.ask(), ready("old"));
        driver.serve(minting(HOUR));
        driver.run(secs(61));
        assert_eq!(driver.ask(), ready("ASIA1"), "shorter, newer and valid");
    }
}

#[test]
fn a_service_that_returns_the_same_set_is_called_at_growing_intervals() {
    let mut driver = refreshing(provider());
    driver.serve(|_now| (Duration::ZERO, Ok(set("old", START + 6 * HOUR))));
    driver.run(secs(5 * 60));
    let later = driver.started.len();
    driver.run(secs(35 * 60));
    for rest in driver.pauses(later) {
        assert!(secs(30) <= rest && rest <= secs(60), "{rest:?}");
    }
    assert_eq!(driver.ask(), ready("old"));
}

#[test]
fn a_set_that_arrives_with_fifteen_seconds_left_counts_as_expired() {
    for (left, accepted) in [(0, false), (14, false), (15, false), (16, true)] {
        let mut driver = Driver::new(agent());
        let ticket = driver.wait();
        driver.answer(Ok(set("short", START + secs(left))));
        let refused = Error::Slot(SlotError::Expiring { left: secs(left) });
        let expected = if accepted { Ok("short") } else { Err(&refused) };
        assert_eq!(driver.outcome(ticket), Some(expected), "{left} s left");
    }
}

#[test]
fn a_set_with_fifteen_seconds_left_is_no_longer_served() {
    for policy in [provider(), agent()] {
        let mut driver = Driver::holding(policy, "old", HOUR);
        driver.now = START + HOUR - millis(15_001);
        assert_eq!(driver.ask(), ready("old"));
        driver.now = START + HOUR - secs(15);
        let ticket = driver.wait();
        driver.answer(Ok(set("new", START + 2 * HOUR)));
        assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    }
}

#[test]
fn every_lifetime_is_refreshed_before_it_ends_and_never_twice_within_ten_seconds() {
    for lifetime in LIFETIMES.map(secs) {
        for policy in [provider(), agent()] {
            for seed in 0..20 {
                let mut driver = Driver::seeded(policy.clone(), seed);
                driver.serve(minting(lifetime));
                driver.ask();
                driver.run(4 * lifetime);
                assert!(driver.started.len() >= 4, "{lifetime:?}");
                for pause in driver.pauses(0) {
                    assert!(pause >= secs(10), "{lifetime:?}: after {pause:?}");
                    assert!(pause < lifetime, "{lifetime:?}: after {pause:?}");
                }
            }
        }
    }
}

#[test]
fn a_set_that_the_agent_serves_has_more_than_fifteen_minutes_left_if_its_lifetime_allows() {
    for lifetime in LIFETIMES
        .map(secs)
        .into_iter()
        .filter(|all| *all > secs(1860))
    {
        for seed in 0..20 {
            let mut driver = Driver::seeded(agent(), seed);
            driver.serve(minting(lifetime));
            driver.ask();
            driver.run(secs(1));
            for _ in 0..600 {
                driver.run(lifetime / 150);
                assert!(matches!(driver.ask(), Answer::Ready(_)));
                let left = driver.slot.held().unwrap().expiration();
                let left = left.saturating_since(driver.now);
                assert!(left > secs(900), "{lifetime:?}: {left:?} left");
            }
        }
    }
}

const LIFETIMES: [u64; 20] = [
    20, 25, 30, 31, 45, 60, 120, 300, 600, 900, 1200, 1201, 1800, 1861, 3540, 3600, 5399, 5400,
    21_600, 43_200,
];

// Expired and failing

#[test]
fn an_expired_set_is_served_while_refreshing_fails_unless_fail_closed_is_set() {
    for (policy, served) in [(provider(), true), (fail_closed(), false), (agent(), false)] {
        let mut driver = Driver::holding(policy, "old", HOUR);
        driver.fail(Transient);
        driver.run(2 * HOUR);
        let ticket = driver.wait();
        driver.run_until_settled(ticket);
        assert_eq!(driver.outcome(ticket) == Some(Ok("old")), served);
        assert_eq!(
            driver.ask() == ready("old"),
            served,
            "the failure is recent"
        );
    }
}

#[test]
fn an_expired_set_is_served_for_a_second_after_a_failure_before_the_next_attempt() {
    let mut driver = Driver::holding(provider(), "old", HOUR);
    driver.fail(Transient);
    driver.run(2 * HOUR);
    let ticket = driver.wait();
    driver.run_until_settled(ticket);
    let failed = driver.now;
    let made = driver.started.len();
    assert_eq!(driver.slot.quiet_until(driver.now), Some(failed + secs(1)));
    driver.run(millis(999));
    assert_eq!(driver.ask(), ready("old"));
    assert_eq!(driver.started.len(), made);
    driver.serve(minting(HOUR));
    driver.run(millis(1));
    let ticket = driver.wait();
    driver.run_until_settled(ticket);
    assert_eq!(driver.outcome(ticket), Some(Ok("ASIA1")));
}

#[test]
fn a_failure_before_the_expiry_serves_no_expired_set() {
    let mut driver = Driver::holding(provider(), "old", HOUR);
    driver.fail(Transient);
    driver.run(HOUR - secs(30));
    assert!(driver.slot.failures() > 0);
    // The machine is suspended, or nobody runs the driver.
    driver.now = START + 3 * HOUR;
    driver.serve(minting(HOUR));
    let ticket = driver.wait();
    driver.run_until_settled(ticket);
    assert_eq!(driver.outcome(ticket), Some(Ok("ASIA1")));
}

#[test]
fn an_attempt_that_began_before_the_expiry_serves_no_expired_set() {
    let mut driver = Driver::holding(provider(), "old", HOUR);
    driver.now = START + HOUR - secs(16);
    assert_eq!(driver.ask(), ready("old"));
    driver.now = driver.now + secs(2);
    let ticket = driver.wait();
    driver.answer(Err(failure(Transient)));
    assert_eq!(driver.outcome(ticket), None, "another attempt is made");
    driver.run(secs(1));
    driver.answer(Err(failure(Transient)));
    assert_eq!(driver.outcome(ticket), Some(Ok("old")));
}

#[test]
fn an_attempt_that_was_not_carried_out_is_no_failure() {
    for policy in [provider(), agent()] {
        let mut driver = Driver::holding(policy, "old", 6 * HOUR);
        // Attempts are started, and nobody polls them.
        driver.run(24 * HOUR);
        assert_eq!(driver.slot.failures(), 0);
        driver.open.clear();
        driver.run(secs(20));
        let ticket = driver.wait();
        let expires = driver.now + 6 * HOUR;
        while driver.open.len() > 1 {
            driver.open.pop_front();
        }
        driver.answer(Ok(set("new", expires)));
        assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    }
}

#[test]
fn an_abandoned_attempt_is_repeated_and_not_counted() {
    let mut driver = Driver::holding(provider().with_attempts(1), "old", HOUR);
    driver.now = START + 2 * HOUR;
    let ticket = driver.wait();
    for _ in 0..3 {
        let attempt = driver.open.pop_front().unwrap();
        assert!(driver.slot.abandon(attempt));
        assert!(!driver.slot.abandon(attempt));
        driver.run(HOUR);
        assert_eq!(driver.slot.poll_timeout(), None, "it waits for the driver");
        driver.step_to(driver.now);
        assert_eq!(driver.open.len(), 1);
    }
    let expires = driver.now + HOUR;
    driver.answer(Ok(set("new", expires)));
    assert_eq!(driver.outcome(ticket), Some(Ok("new")));
}

#[test]
fn an_expired_set_is_refreshed_before_it_is_served() {
    for policy in [provider(), fail_closed(), agent()] {
        let mut driver = Driver::holding(policy, "old", HOUR);
        driver.now = START + 2 * HOUR;
        let ticket = driver.wait();
        assert_eq!(driver.started.len(), 2);
        driver.answer(Ok(set("new", START + 3 * HOUR)));
        assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    }
}

#[test]
fn after_a_failed_refresh_waiting_callers_get_the_expired_set_unless_it_is_gone() {
    for (policy, class, expected) in [
        (provider(), Transient, Ok("old")),
        (provider(), Denied, Ok("old")),
        (provider(), Gone, Err(&Error::Service(Gone))),
        (fail_closed(), Transient, Err(&Error::Service(Transient))),
        (agent(), Denied, Err(&Error::Service(Denied))),
    ] {
        let mut driver = Driver::holding(policy, "old", HOUR);
        driver.now = START + 2 * HOUR;
        driver.fail(class);
        let ticket = driver.wait();
        driver.run_until_settled(ticket);
        assert_eq!(driver.outcome(ticket), Some(expected), "{class:?}");
    }
}

// Invalidation

#[test]
fn a_rejected_set_is_refreshed_at_once_and_withheld_until_then() {
    for policy in [provider(), fail_closed()] {
        let mut driver = Driver::holding(policy, "old", 6 * HOUR);
        driver.slot.invalidate("old");
        driver.run(secs(0));
        assert_eq!(driver.started.len(), 2);
        let ticket = driver.wait();
        driver.answer(Ok(set("new", START + 6 * HOUR)));
        assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    }
}

#[test]
fn a_rejected_set_is_served_again_if_there_is_no_newer_one() {
    for (result, failures) in [
        (Ok(set("old", START + 6 * HOUR)), 0),
        (Err(failure(Transient)), 1),
        (Err(failure(Denied)), 1),
        (Err(failure(Gone)), 1),
    ] {
        for policy in [provider(), fail_closed()] {
            let mut driver = Driver::holding(policy, "old", 6 * HOUR);
            driver.slot.invalidate("old");
            let ticket = driver.wait();
            driver.answer(result.clone());
            assert_eq!(driver.outcome(ticket), Some(Ok("old")));
            assert_eq!(driver.ask(), ready("old"));
            assert!(driver.slot.is_rejected());
            assert_eq!(driver.slot.failures(), failures);
        }
    }
}

#[test]
fn after_a_rejection_attempts_follow_the_pace_of_a_failing_refresh() {
    let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
    driver.serve(|_now| (Duration::ZERO, Ok(set("old", START + 6 * HOUR))));
    for _ in 0..3600 {
        driver.slot.invalidate("old");
        driver.run(secs(1));
        assert_eq!(driver.ask(), ready("old"), "each second, for an hour");
    }
    let made = driver.started.len();
    assert!((15..=50).contains(&made), "{made} attempts in an hour");
    driver.serve(minting(6 * HOUR));
    driver.run(secs(601));
    assert_eq!(driver.ask(), ready("ASIA1"));
    assert!(!driver.slot.is_rejected());
}

#[test]
fn a_rejected_set_is_replaced_by_one_with_a_shorter_lifetime() {
    let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
    driver.slot.invalidate("old");
    let ticket = driver.wait();
    driver.answer(Ok(set("new", START + HOUR)));
    assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    assert_eq!(driver.ask(), ready("new"));
}

#[test]
fn the_rejection_of_another_set_than_the_held_one_changes_nothing() {
    let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
    driver.slot.invalidate("older");
    driver.run(HOUR);
    assert_eq!(driver.ask(), ready("old"));
    assert_eq!(driver.started.len(), 1);
}

#[test]
fn a_request_for_a_rejected_set_does_not_wait_for_the_end_of_a_rest() {
    let mut driver = refreshing(provider());
    driver.answer(Err(failure(Transient)));
    assert!(driver.slot.is_resting());
    driver.slot.invalidate("old");
    driver.wait();
    assert_eq!(driver.started.len(), 3);
}

#[test]
fn a_set_that_is_rejected_during_its_refresh_is_replaced_by_the_answer() {
    let mut driver = refreshing(provider());
    driver.slot.invalidate("old");
    let ticket = driver.wait();
    assert_eq!(driver.started.len(), 2, "the fetch in flight is joined");
    let expires = driver.now + 6 * HOUR;
    driver.answer(Ok(set("new", expires)));
    assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    driver.run(secs(60));
    assert_eq!(driver.started.len(), 2);
}

#[test]
fn an_attempt_that_began_before_the_rejection_says_nothing_about_it() {
    for result in [Ok(set("old", START + 6 * HOUR)), Err(failure(Transient))] {
        let mut driver = refreshing(provider());
        driver.slot.invalidate("old");
        let ticket = driver.wait();
        driver.answer(result);
        assert_eq!(driver.outcome(ticket), None);
        assert_eq!(driver.started.len(), 3);
        let expires = driver.now + 6 * HOUR;
        driver.answer(Ok(set("new", expires)));
        assert_eq!(driver.outcome(ticket), Some(Ok("new")));
    }
}

// The pace of requests

#[test]
fn a_loop_of_callers_of_a_failing_agent_causes_a_bounded_number_of_requests() {
    for class in [Gone, Denied, Throttled, Transient, Malformed] {
        for expired in [false, true] {
            let mut driver = match expired {
                true => Driver::holding(provider(), "old", HOUR),
                false => Driver::new(provider()),
            };
            driver.now = START + 2 * HOUR;
            driver.fail(class);
            let (began, before) = (driver.now, driver.started.len());
            while driver.now < began + secs(60) {
                match driver.ask() {
                    Answer::Wait(ticket) => drop(driver.run_until_settled(ticket)),
                    Answer::Ready(_) => driver.run(millis(10)),
                }
            }
            let made = driver.started.len() - before;
            assert!((25..=300).contains(&made), "{class:?}, {expired}: {made}");
        }
    }
}

#[test]
fn the_first_caller_after_a_failure_does_not_wait() {
    let mut driver = Driver::new(provider());
    driver.fail(Denied);
    for _ in 0..3 {
        let ticket = driver.wait();
        assert_eq!(driver.run_until_settled(ticket), secs(0));
    }
    driver.run(secs(10));
    let ticket = driver.wait();
    assert_eq!(driver.run_until_settled(ticket), secs(0));
    assert_eq!(driver.started.len(), 4, "each of them was an attempt");
}

#[test]
fn a_loop_of_callers_respects_the_services_hint_and_does_not_wait_for_a_long_one() {
    let mut driver = Driver::new(provider());
    driver.serve(|_now| {
        let failure = failure(Throttled).with_retry_after(Some(secs(30)));
        (Duration::ZERO, Err(failure))
    });
    let throttled = Error::Service(Throttled);
    for second in 0..20 {
        let ticket = driver.wait();
        assert_eq!(driver.run_until_settled(ticket), secs(0));
        assert_eq!(driver.outcome(ticket), Some(Err(&throttled)), "{second}");
        driver.run(secs(1));
    }
    assert_eq!(driver.started.len(), 1);
    driver.serve(minting(HOUR));
    driver.run(secs(5));
    let ticket = driver.wait();
    let waited = driver.run_until_settled(ticket);
    assert!(waited <= secs(6), "{waited:?}");
    assert_eq!(driver.outcome(ticket), Some(Ok("ASIA1")));
}

#[test]
fn a_caller_waits_for_an_attempt_that_may_begin_within_the_time_that_it_waits_at_most() {
    for (since, is_told_at_once) in [(19, true), (20, false)] {
        let mut driver = Driver::new(provider());
        let first = driver.wait();
        let hint = failure(Throttled).with_retry_after(Some(secs(30)));
        driver.answer(Err(hint));
        assert!(driver.outcome(first).is_some());
        driver.run(secs(since));
        let ticket = driver.wait();
        assert_eq!(driver.outcome(ticket).is_some(), is_told_at_once, "{since}");
    }
}

#[test]
fn a_hint_never_delays_into_the_last_minute_of_a_set() {
    for policy in [provider(), agent()] {
        let mut driver = Driver::holding(policy, "old", HOUR);
        let due = driver.slot.due_at().unwrap();
        driver.serve(move |now| {
            let failure = failure(Throttled).with_retry_after(Some(secs(3600)));
            let _ = now;
            (Duration::ZERO, Err(failure))
        });
        driver.run((START + HOUR - secs(59)).saturating_since(START));
        assert!(due < driver.now);
        let last = *driver.started.last().unwrap();
        assert!(last >= START + HOUR - secs(60), "{last}");
        driver.serve(minting(HOUR));
        driver.run(secs(6));
        assert_eq!(driver.ask(), ready("ASIA1"), "before the expiry");
    }
}

#[test]
fn after_an_outage_a_caller_gets_a_valid_set_within_two_seconds() {
    for outage in [1, 30, 60, 900, 7200].map(secs) {
        let mut driver = Driver::holding(provider(), "old", HOUR);
        driver.fail(Transient);
        driver.run(HOUR);
        let back = driver.now + outage;
        let ask = |driver: &mut Driver| match driver.ask() {
            Answer::Ready(key) => key,
            Answer::Wait(ticket) => {
                driver.run_until_settled(ticket);
                driver.outcome(ticket).unwrap().unwrap().to_owned()
            }
        };
        while driver.now < back {
            assert_eq!(ask(&mut driver), "old");
            driver.run(millis(170));
        }
        driver.serve(minting(HOUR));
        while ask(&mut driver) == "old" {
            driver.run(millis(170));
        }
        let took = driver.now.saturating_since(back);
        assert!(took <= secs(2), "after {outage:?}: {took:?}");
    }
}

#[test]
fn a_caller_whose_attempt_the_request_limit_put_off_past_the_expiry_is_told() {
    let mut driver = Driver::holding(provider(), "set 0", HOUR);
    let ticket = loop {
        let ticket = driver.slot.refresh(driver.now);
        driver.step_to(driver.now);
        if driver.open.is_empty() {
            break ticket;
        }
        let key = format!("set {}", driver.started.len());
        driver.answer(Ok(set(&key, START + HOUR)));
    };
    // Nothing is driven until long after.
    driver.now = START + 2 * HOUR;
    driver.slot.handle_timeout(driver.now);
    assert_eq!(
        driver.outcome(ticket),
        Some(Err(&Error::Slot(SlotError::NotBegun)))
    );
}

// The end of the request

fn ending(after: Duration) -> Driver {
    let slot = Slot::new(Arc::new(agent()), 7).with_end(START + after);
    let mut driver = Driver::of(slot);
    driver.ask();
    driver.answer(Ok(set("old", START + 6 * HOUR)));
    driver
}

#[test]
fn when_the_token_expires_its_set_is_dropped_and_not_refreshed() {
    let mut driver = ending(2 * HOUR);
    driver.run(2 * HOUR - millis(1));
    assert_eq!(driver.ask(), ready("old"));
    driver.run(12 * HOUR);
    assert!(driver.slot.is_vacant());
    assert_eq!(driver.started.len(), 1);
    assert_eq!(driver.slot.poll_timeout(), None);
}

#[test]
fn a_refresh_in_flight_when_the_token_expires_is_still_to_be_answered() {
    let due = ending(5 * HOUR).slot.due_at().unwrap();
    let mut driver = ending(due.saturating_since(START) + secs(1));
    driver.step_to(due);
    assert_eq!(driver.open.len(), 1);
    driver.slot.handle_timeout(due + secs(1));
    assert!(driver.slot.held().is_none() && driver.slot.is_fetching());
    driver.now = due + secs(1);
    driver.answer(Err(failure(Denied)));
    assert!(driver.slot.is_vacant());
}

#[test]
fn a_set_is_not_usable_once_its_token_has_expired() {
    let driver = ending(2 * HOUR);
    assert!(driver.slot.is_usable(START + 2 * HOUR - millis(1)));
    assert!(!driver.slot.is_usable(START + 2 * HOUR));
}

#[test]
fn a_token_that_expires_during_a_rest_ends_the_attempts() {
    let mut driver = ending(3 * HOUR);
    driver.fail(Transient);
    driver.run(12 * HOUR);
    assert!(driver.started.len() > 10);
    assert!(driver.started.last().unwrap() < &(START + 3 * HOUR));
    assert!(driver.slot.is_vacant());
}

#[test]
fn a_driver_that_sleeps_past_the_end_starts_no_attempt() {
    let mut driver = ending(4 * HOUR);
    driver.step_to(START + 5 * HOUR);
    assert_eq!(driver.started.len(), 1);
    assert!(driver.slot.is_vacant());
}

#[test]
fn a_refresh_that_was_not_started_before_the_end_is_dropped() {
    let mut driver = ending(4 * HOUR);
    let due = driver.slot.due_at().unwrap();
    driver.slot.handle_timeout(due);
    assert!(driver.slot.is_fetching());
    assert_eq!(driver.slot.poll_timeout(), Some(START + 4 * HOUR));
    driver.step_to(START + 4 * HOUR);
    assert_eq!(driver.started.len(), 1);
}

#[test]
fn a_caller_after_the_end_gets_the_services_answer_after_one_attempt() {
    let mut driver = ending(2 * HOUR);
    driver.run(3 * HOUR);
    driver.fail(Transient);
    let ticket = driver.wait();
    assert_eq!(driver.run_until_settled(ticket), secs(0));
    assert_eq!(driver.started.len(), 2);
}

// Settings

#[test]
fn times_without_end_break_nothing() {
    for policy in [
        provider(),
        fail_closed(),
        agent(),
        RefreshPolicy::cross_sdk(),
    ] {
        let policy = policy
            .with_window(Window::Fixed(Duration::MAX))
            .with_retention(Duration::MAX)
            .with_attempt_timeout(Duration::MAX)
            .with_attempts(u32::MAX)
            .with_wait(Duration::MAX)
            .with_rest(Backoff::new(Duration::MAX, Duration::MAX).with_jitter(0.5));
        let mut driver = Driver::new(policy);
        let ticket = driver.wait();
        driver.answer(Err(failure(Transient).with_retry_after(Some(Duration::MAX))));
        driver.run(HOUR);
        if driver.outcome(ticket).is_none() {
            driver.answer(Ok(set("far", Timestamp::MAX)));
        }
        driver.slot.refresh(driver.now);
        driver.serve(|_now| (Duration::ZERO, Ok(set("new", Timestamp::MAX))));
        driver.run(HOUR);
        driver.step_to(Timestamp::MAX);
        driver.step_to(Timestamp::MIN);
        driver.run(HOUR);
        assert!(!driver.started.is_empty());
    }
}

// Clock steps

#[test]
fn a_clock_stepped_back_does_not_abandon_the_attempt_in_flight() {
    for step in [millis(1), secs(9), HOUR, 24 * HOUR] {
        for policy in [provider(), agent()] {
            let mut driver = Driver::new(policy);
            let ticket = driver.wait();
            driver.step_to(START - step);
            assert_eq!(driver.started.len(), 1, "back by {step:?}");
            let expires = driver.now + HOUR;
            driver.answer(Ok(set("new", expires)));
            assert_eq!(driver.outcome(ticket), Some(Ok("new")));
        }
    }
}

#[test]
fn a_clock_stepped_back_leaves_a_lost_attempt_no_more_than_its_time() {
    let mut driver = Driver::new(agent().with_attempts(1));
    let ticket = driver.wait();
    driver.step_to(START - HOUR);
    let timeout = driver.open[0].timeout();
    assert_eq!(driver.run_until_settled(ticket), 2 * timeout);
}

#[test]
fn a_clock_stepped_back_neither_prolongs_a_rest_nor_skips_it() {
    for step in [millis(1), secs(9), HOUR] {
        let mut driver = refreshing(agent());
        let hint = failure(Throttled).with_retry_after(Some(secs(20)));
        driver.answer(Err(hint));
        driver.step_to(driver.now - step);
        assert_eq!(driver.started.len(), 2, "back by {step:?}");
        driver.run(secs(20));
        assert_eq!(driver.started.len(), 3, "back by {step:?}");
    }
}

#[test]
fn after_a_step_back_the_agent_retries_for_thirty_seconds_at_most() {
    let mut driver = Driver::new(agent());
    driver.fail(Transient);
    driver.ask();
    driver.step_to(START - HOUR);
    driver.run(secs(31));
    assert!(driver.slot.is_vacant());
}

#[test]
fn a_set_fetched_in_the_future_is_refreshed_and_served_meanwhile() {
    for policy in [provider(), agent()] {
        let mut driver = Driver::holding(policy, "old", 6 * HOUR);
        driver.step_to(START - HOUR);
        assert_eq!(driver.started.len(), 2);
        assert_eq!(driver.ask(), ready("old"));
        driver.answer(Ok(set("new", START + 7 * HOUR)));
        driver.run(HOUR);
        assert_eq!(driver.ask(), ready("new"));
        assert_eq!(driver.started.len(), 2, "once");
    }
}

#[test]
fn a_clock_correction_of_seconds_starts_no_attempt() {
    for (correction, attempts) in [(9, 1), (10, 1), (11, 2)] {
        let mut driver = Driver::holding(provider(), "old", 6 * HOUR);
        driver.step_to(START - secs(correction));
        assert_eq!(driver.started.len(), attempts, "{correction} s");
    }
}

#[test]
fn a_clock_stepped_forward_serves_no_expired_set_and_refreshes_at_once() {
    for (policy, lifetime) in [
        (agent(), 59 * 60),
        (agent(), 3 * 3600),
        (fail_closed(), 59 * 60),
    ] {
        let mut driver = Driver::holding(policy, "old", secs(lifetime));
        driver.step_to(START + 2 * HOUR);
        assert_eq!(driver.started.len(), 2, "{lifetime} s");
        let left = lifetime > 7200;
        assert_eq!(driver.ask() == ready("old"), left, "{lifetime} s");
    }
}

#[test]
fn a_clock_that_is_wrong_for_a_while_leaves_a_slot_intact() {
    for policy in [provider(), agent()] {
        for hours in [-12, -1, 1, 12, 48] {
            let error = Rc::new(Cell::new(0));
            let mut mint = minting(6 * HOUR);
            let mut driver = Driver::new(policy.clone());
            let local = Rc::clone(&error);
            driver.serve(move |now| mint(shifted(now, -local.get())));
            driver.ask();
            driver.run(HOUR);
            for hours in [hours, -hours] {
                error.set(error.get() + hours);
                driver.step_to(shifted(driver.now, hours));
                driver.run(secs(10));
            }
            assert!(matches!(driver.ask(), Answer::Ready(_)), "{hours} h");
            let before = driver.started.len();
            driver.run(12 * HOUR);
            assert!(matches!(driver.ask(), Answer::Ready(_)), "{hours} h");
            let refreshes = driver.started.len() - before;
            assert!((2..=5).contains(&refreshes), "{hours} h: {refreshes}");
        }
    }
}

fn shifted(at: Timestamp, hours: i64) -> Timestamp {
    Timestamp::from_unix_secs(at.as_unix_secs() + hours * 3600)
}

// The published behaviour; its vectors are in `vectors.rs`

#[test]
fn under_the_published_behaviour_a_caller_waits_for_a_due_refresh_and_falls_back_on_the_held_set() {
    let mut driver = refreshing(RefreshPolicy::cross_sdk());
    let ticket = driver.wait();
    driver.answer(Err(failure(Transient)));
    assert_eq!(driver.outcome(ticket), Some(Ok("old")));
    assert_eq!(driver.ask(), ready("old"));
    assert_eq!(driver.slot.poll_timeout(), Some(driver.now + secs(7 * 60)));
}

#[test]
fn under_the_published_behaviour_an_expired_set_is_returned_while_the_agent_fails() {
    let mut driver = refreshing(RefreshPolicy::cross_sdk());
    driver.answer(Err(failure(Transient)));
    driver.fail(Transient);
    driver.run(6 * HOUR);
    assert!(!driver.slot.is_usable(driver.now));
    assert_eq!(driver.ask(), ready("old"));
}

#[test]
fn under_the_published_behaviour_the_same_set_is_progress() {
    let mut driver = refreshing(RefreshPolicy::cross_sdk());
    driver.answer(Ok(set("old", START + 6 * HOUR)));
    assert_eq!(driver.slot.fetched_at(), Some(driver.now));
    assert_eq!(
        (driver.slot.unchanged(), driver.slot.is_resting()),
        (0, false)
    );
}

#[test]
fn under_the_published_behaviour_a_rejected_set_is_returned_until_the_next_attempt_is_due() {
    let mut driver = refreshing(RefreshPolicy::cross_sdk());
    driver.wait();
    driver.answer(Err(failure(Transient)));
    driver.slot.invalidate("old");
    assert_eq!(driver.ask(), ready("old"));
    assert_eq!(driver.started.len(), 2);
}

#[test]
fn under_the_published_behaviour_a_refusal_is_repeated_for_five_seconds() {
    let mut driver = refreshing(RefreshPolicy::cross_sdk());
    driver.wait();
    driver.answer(Err(failure(Denied)));
    driver.run(millis(4999));
    let repeated = driver.wait();
    assert_eq!(driver.outcome(repeated), Some(Err(&Error::Service(Denied))));
    assert_eq!(driver.started.len(), 2);
    driver.run(millis(1));
    let anew = driver.wait();
    assert_eq!(driver.outcome(anew), None);
}

#[test]
fn under_the_published_behaviour_a_refusal_without_a_held_set_is_not_retried_in_the_background() {
    let mut driver = Driver::new(RefreshPolicy::cross_sdk());
    driver.fail(Denied);
    driver.ask();
    driver.run(HOUR);
    assert_eq!(driver.started.len(), 1);
}
