//! A cache of slots, in virtual time.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use crate::support::cache::{Answer, CacheDriver, Request, source};
use crate::support::{Error, HOUR, START, failure, millis, secs, set};
use pod_identity_core::FailureClass::{Denied, Gone, Transient};
use pod_identity_core::{Asked, CacheAttempt, CacheLimits, Found, Merge, RefreshPolicy};

type Driver = CacheDriver<u32>;

fn agent() -> RefreshPolicy {
    RefreshPolicy::agent()
}

fn limits(change: impl FnOnce(&mut CacheLimits)) -> CacheLimits {
    let mut limits = CacheLimits::default();
    change(&mut limits);
    limits
}

fn ready(key: &str) -> Answer {
    Answer::Ready(key.to_owned())
}

/// A driver that holds a set of six hours for each of these keys.
fn holding(limits: CacheLimits, keys: std::ops::Range<u32>) -> Driver {
    let mut driver = Driver::new(agent(), limits);
    driver.mint(6 * HOUR);
    for key in keys {
        assert_eq!(driver.ask_from(source(key), key), Answer::Wait);
    }
    driver
}

fn begin_refresh(driver: &mut Driver) -> CacheAttempt<u32> {
    driver.hold_back();
    driver.look_at(driver.cache.poll_timeout().expect("a refresh must be due"));
    driver.mint(6 * HOUR);
    driver.open.pop_front().expect("a refresh must be due")
}

// Held sets are bounded by use

#[test]
fn the_least_recently_used_slot_is_evicted() {
    let mut driver = holding(limits(|limits| limits.held = 2), 1..3);
    assert_eq!(driver.ask(1), ready("1"));
    driver.ask(3);
    let held = [1, 2, 3].map(|key| driver.is_held(key));
    assert_eq!(held, [true, false, true]);
    assert_eq!((driver.cache.held_len(), driver.cache.evicted()), (2, 1));
}

#[test]
fn debug_tells_how_full_a_cache_is_and_nothing_of_its_sets() {
    let mut driver = holding(CacheLimits::default(), 771..773);
    driver.hold_back();
    driver.ask(774);
    let debug = format!("{:?}", driver.cache);
    assert!(debug.contains("held: 2, empty: 1, evicted: 0"), "{debug}");
    assert!(!debug.contains("77"), "{debug}");
}

#[test]
fn a_usable_set_is_returned_and_starts_no_fetch() {
    let mut driver = holding(limits(|limits| limits.held = 2), 1..3);
    let (now, end) = (driver.now, driver.end);
    let found = driver.cache.find(now, 1, |request, found| {
        assert_eq!(request.0, end);
        matches!(found, Found::Ready(held) if held.access_key_id() == "1")
    });
    assert_eq!(found, Some(true));
    driver.ask(3);
    let held = [1, 2, 3].map(|key| driver.is_held(key));
    assert_eq!(held, [true, false, true]);
    assert_eq!(driver.started.len(), 3);
}

#[test]
fn a_usable_set_past_its_deadline_is_reported_as_overdue() {
    let mut driver = holding(CacheLimits::default(), 1..2);
    let due = driver.cache.poll_timeout().unwrap();
    for (now, is_overdue) in [(due - secs(1), false), (due, true)] {
        let found = driver.cache.find(now, 1, |_request, found| match found {
            Found::Ready(_) => false,
            Found::Overdue(_) => true,
            other => panic!("{other:?}"),
        });
        assert_eq!(found, Some(is_overdue));
    }
    driver.drain();
    assert_eq!(driver.started.len(), 2, "the refresh was wanted at once");
}

#[test]
fn a_lookup_without_a_usable_set_starts_no_fetch() {
    let mut driver = holding(CacheLimits::default(), 1..2);
    assert_eq!(driver.find(2), None, "unknown");
    driver.hold_back();
    driver.now = START + 7 * HOUR;
    assert_eq!(driver.find(1), Some(Answer::Wait), "its refresh is overdue");
    driver.drain();
    let attempt = driver.open.pop_front().unwrap();
    driver.answer(attempt, Err(failure(Denied)));
    assert_eq!(driver.cache.last_error(&1), Some(&Error::Service(Denied)));
    assert_eq!(driver.cache.last_error(&2), None);
    assert_eq!(driver.find(1), None, "it has failed for good");
    driver.drain();
    assert!(driver.open.is_empty());
    assert_eq!(driver.ask(1), Answer::Wait);
    assert_eq!(driver.open.len(), 1);
}

#[test]
fn keys_are_those_of_all_slots_and_a_forgotten_one_is_none_of_them() {
    let mut driver = holding(CacheLimits::default(), 1..3);
    driver.hold_back();
    driver.ask(3);
    let keys = |driver: &Driver| driver.cache.keys().copied().collect::<BTreeSet<u32>>();
    assert_eq!(keys(&driver), BTreeSet::from([1, 2, 3]));
    for key in [1, 3] {
        let request = driver.cache.forget(&key).map(|request| request.0);
        assert_eq!(request, Some(driver.end));
        assert!(driver.cache.forget(&key).is_none());
    }
    assert_eq!(keys(&driver), BTreeSet::from([2]));
    let attempt = driver.open.pop_front().unwrap();
    let late = Ok(set("3", driver.now + HOUR));
    assert!(!driver.answer(attempt, late), "its result is ignored");
    assert_eq!(driver.cache.evicted(), 0);
}

#[test]
fn an_attempt_may_take_as_long_as_the_policy_says() {
    let policy = agent().with_attempt_timeout(secs(2));
    let mut driver = Driver::new(policy, CacheLimits::default());
    driver.ask(1);
    assert_eq!(driver.open[0].timeout(), secs(2));
}

#[test]
fn a_refresh_is_not_a_use() {
    let mut driver = holding(limits(|limits| limits.held = 2), 1..2);
    driver.run(secs(1));
    driver.ask(2);
    driver.run(4 * HOUR);
    let mut refreshed: Vec<u32> = driver.started.iter().skip(2).map(|(_, key)| *key).collect();
    refreshed.sort_unstable();
    assert_eq!(refreshed, [1, 2]);
    let order: Vec<u32> = driver.cache.iter_held().map(|(key, _)| *key).collect();
    assert_eq!(order, [1, 2], "the least recently used first");
}

#[test]
fn a_hot_key_survives_a_flood_of_two_thousand_others() {
    let mut driver = holding(CacheLimits::default(), 0..1);
    for key in 1..=3000 {
        driver.ask_from(source(key), key);
        if key % 100 == 0 {
            assert_eq!(driver.ask(0), ready("0"));
        }
    }
    assert_eq!(driver.cache.held_len(), 2000);
    assert_eq!(driver.cache.evicted(), 1001);
}

#[test]
fn with_a_capacity_of_zero_waiting_callers_get_their_result_and_nothing_is_kept() {
    let mut driver = holding(limits(|limits| limits.held = 0), 1..2);
    assert_eq!(driver.told, [(1, Ok("1".to_owned()))]);
    assert_eq!((driver.cache.held_len(), driver.cache.empty_len()), (0, 0));
    assert_eq!(driver.ask(1), Answer::Wait);
    assert_eq!(driver.started.len(), 2);
    assert_eq!(driver.cache.poll_timeout(), None);
}

#[test]
fn the_late_answer_of_an_evicted_slot_is_discarded() {
    let mut driver = holding(limits(|limits| limits.held = 1), 1..2);
    let late = begin_refresh(&mut driver);
    driver.ask(2);
    assert!(driver.cache.peek(&1).is_none());
    assert!(!driver.answer(late, Ok(set("late", driver.now + HOUR))));
    assert!(driver.cache.peek(&1).is_none());
}

#[test]
fn a_late_answer_does_not_reach_a_new_slot_under_the_same_key() {
    let mut driver = holding(limits(|limits| limits.held = 1), 1..2);
    let late = begin_refresh(&mut driver);
    driver.ask(2);
    driver.hold_back();
    driver.ask(1);
    let current = driver.open.pop_front().unwrap();
    assert!(!driver.answer(late, Err(failure(Denied))));
    assert!(driver.is_waiting());
    let fetched = Ok(set("new", driver.now + 6 * HOUR));
    assert!(driver.answer(current, fetched));
    assert_eq!(driver.told.last(), Some(&(1, Ok("new".to_owned()))));
}

#[test]
fn callers_of_an_evicted_slot_share_the_result_of_the_next_one() {
    let mut driver = holding(limits(|limits| limits.held = 1), 1..2);
    driver.run(4 * HOUR);
    driver.hold_back();
    driver.now = START + 24 * HOUR;
    let asked = driver
        .cache
        .ask(driver.now, 1, source(1), || unreachable!());
    let Asked::Pending(ticket) = asked else {
        panic!("{asked:?}")
    };
    driver.drain();
    driver.mint(6 * HOUR);
    driver.ask(2);
    assert!(driver.cache.peek(&1).is_none());
    driver.ask(1);
    assert!(driver.cache.outcome(&1, ticket).is_some());
}

// Slots that hold nothing have a table of their own

#[test]
fn a_flood_of_unknown_keys_evicts_no_held_set() {
    let mut driver = holding(CacheLimits::default(), 0..100);
    driver.hold_back();
    for key in 100..3_100 {
        driver.ask_from(source(key % 1000), key);
        assert!(driver.cache.empty_len() <= 1024);
    }
    for key in 0..100 {
        assert_eq!(driver.ask(key), ready(&key.to_string()));
    }
}

#[test]
fn a_source_has_a_share_and_leaves_the_rest_to_others() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    for key in 0..256 {
        assert_eq!(driver.ask_from(source(1), key), Answer::Wait);
    }
    assert_eq!(driver.ask_from(source(1), 256), Answer::Full);
    assert_eq!(driver.ask_from(source(1), 0), Answer::Wait, "no newcomer");
    assert_eq!(driver.ask_from(source(2), 257), Answer::Wait);
}

/// A driver with this many places for slots without a set, whose fetches are not started.
fn in_line(places: usize) -> Driver {
    let mut driver = Driver::new(agent(), limits(|limits| limits.empty = places));
    driver.at_once = 0;
    driver
}

fn known<const N: usize>(driver: &Driver, keys: [u32; N]) -> [bool; N] {
    keys.map(|key| driver.cache.peek(&key).is_some())
}

#[test]
fn in_a_full_table_a_new_slot_replaces_the_newest_of_the_largest_source() {
    let mut driver = in_line(4);
    for (from, key) in [(1, 1), (1, 2), (1, 3), (2, 4)] {
        driver.ask_from(source(from), key);
    }
    assert_eq!(driver.ask_from(source(3), 5), Answer::Wait);
    let known = known(&driver, [1, 2, 3, 4, 5]);
    assert_eq!(known, [true, true, false, true, true]);
    assert_eq!(driver.cache.evicted(), 1);
}

#[test]
fn in_a_full_table_no_slot_with_an_attempt_in_flight_is_replaced() {
    let mut driver = in_line(4);
    driver.at_once = 2;
    for (from, key) in [(1, 1), (1, 2), (1, 3), (1, 4)] {
        driver.ask_from(source(from), key);
    }
    for (from, answer) in [(2, Answer::Wait), (3, Answer::Wait), (4, Answer::Full)] {
        assert_eq!(driver.ask_from(source(from), 10 + from), answer);
    }
    assert_eq!(known(&driver, [1, 2, 3, 4]), [true, true, false, false]);
    // The place of one whose attempt has failed can be taken until the next attempt.
    let attempt = driver.open.pop_front().unwrap();
    driver.at_once = 1;
    assert!(driver.answer(attempt, Err(failure(Transient))));
    assert_eq!(driver.ask_from(source(4), 14), Answer::Wait);
    assert_eq!(known(&driver, [1, 2, 14]), [false, true, true]);
    let attempt = driver.open.pop_front().unwrap();
    assert!(driver.answer(attempt, Ok(set("2", START + HOUR))));
}

#[test]
fn in_a_full_table_the_only_slot_of_a_source_is_kept() {
    let mut driver = in_line(4);
    for from in 1..=4 {
        assert_eq!(driver.ask_from(source(from), from), Answer::Wait);
    }
    for from in [4, 5, 6] {
        assert_eq!(driver.ask_from(source(from), 10 + from), Answer::Full);
    }
    assert_eq!(known(&driver, [1, 2, 3, 4]), [true; 4]);
    driver.at_once = 1;
    driver.drain();
    driver.mint(HOUR);
    let attempt = driver.open.pop_front().unwrap();
    driver.answer(attempt, Ok(set("1", START + HOUR)));
    assert_eq!(driver.ask_from(source(5), 15), Answer::Wait);
}

#[test]
fn in_a_full_table_a_slot_that_has_nothing_left_to_do_gives_way_first() {
    let mut driver = in_line(3);
    for (from, key) in [(1, 1), (1, 2), (2, 3)] {
        driver.ask_from(source(from), key);
    }
    let (attempt, _) = driver.cache.poll_fetch(START, |_any| true).unwrap();
    let refused = Err(failure(Denied));
    assert!(driver.cache.handle_fetched(attempt, START, refused));
    assert_eq!(driver.ask_from(source(3), 4), Answer::Wait);
    assert_eq!(known(&driver, [1, 2, 3, 4]), [false, true, true, true]);
    assert_eq!(driver.cache.evicted(), 0);
}

#[test]
fn in_a_full_table_no_source_replaces_a_slot_of_one_that_has_no_more_than_it() {
    let mut driver = Driver::new(agent(), limits(|limits| limits.empty = 4));
    for (from, key) in [(1, 1), (1, 2), (2, 3), (2, 4)] {
        driver.ask_from(source(from), key);
    }
    assert_eq!(driver.ask_from(source(1), 5), Answer::Full);
    let attempt = driver.open[0];
    driver.answer(attempt, Err(failure(Denied)));
    assert_eq!(driver.ask_from(source(1), 5), Answer::Wait);
}

#[test]
fn in_a_full_table_a_source_replaces_a_slot_of_one_that_has_at_least_two_more() {
    for (most, expected) in [(2, Answer::Full), (3, Answer::Wait), (5, Answer::Wait)] {
        let mut driver = in_line(most + 1);
        driver.ask_from(source(2), 0);
        for key in 1..=most as u32 {
            driver.ask_from(source(1), key);
        }
        assert_eq!(driver.ask_from(source(2), 9), expected, "1 beside {most}");
    }
}

#[test]
fn more_sources_than_places_are_served_with_one_attempt_each() {
    const SOURCES: u32 = 300;
    let mut driver = in_line(100);
    driver.at_once = 8;
    let mut rounds = 0;
    while driver.cache.held_len() < SOURCES as usize {
        for key in (0..SOURCES)
            .filter(|key| !driver.is_held(*key))
            .collect::<Vec<_>>()
        {
            driver.ask_from(source(key), key);
        }
        for attempt in std::mem::take(&mut driver.open) {
            let fetched = set("any", driver.now + HOUR);
            assert!(
                driver
                    .cache
                    .handle_fetched(attempt, driver.now, Ok(fetched))
            );
        }
        driver.drain();
        driver.now = driver.now + millis(50);
        rounds += 1;
        assert!(rounds <= SOURCES.div_ceil(8), "{:?}", driver.cache);
    }
    assert_eq!(driver.started.len(), SOURCES as usize);
    assert_eq!(driver.cache.evicted(), 0);
}

#[test]
fn a_source_is_served_although_others_fill_the_table_again_and_again() {
    let mut driver = in_line(12);
    driver.at_once = 2;
    let mut invented = 1000..;
    let flood = |driver: &mut Driver, keys: &mut std::ops::RangeFrom<u32>| {
        for (from, key) in (0..60).zip(keys) {
            driver.ask_from(source(1 + from % 3), key);
        }
    };
    flood(&mut driver, &mut invented);
    assert_eq!(driver.ask_from(source(9), 9), Answer::Wait);
    // One attempt of each other source precedes it.
    for _attempt in 0..4 {
        assert!(driver.open.iter().all(|attempt| attempt.key() != 9));
        flood(&mut driver, &mut invented);
        let attempt = driver.open.pop_front().unwrap();
        driver.answer(attempt, Err(failure(Denied)));
    }
    assert!(driver.open.iter().any(|attempt| attempt.key() == 9));
}

#[test]
fn the_sources_of_first_fetches_take_turns() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    for (from, key) in [
        (1, 10),
        (1, 11),
        (1, 12),
        (1, 13),
        (2, 20),
        (2, 21),
        (3, 30),
    ] {
        let asked = driver
            .cache
            .ask(START, key, source(from), || Request(START + HOUR));
        assert!(matches!(asked, Asked::Pending(_)));
    }
    let order: Vec<u32> = std::iter::from_fn(|| {
        let (attempt, _) = driver.cache.poll_fetch(START, |_any| true)?;
        Some(attempt.key())
    })
    .collect();
    assert_eq!(order, [10, 20, 30, 11, 21, 12, 13]);
}

#[test]
fn a_source_over_its_budget_waits_and_blocks_no_other() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    for (from, key) in [(1, 10), (2, 20), (2, 21)] {
        let asked = driver
            .cache
            .ask(START, key, source(from), || Request(START + HOUR));
        assert!(matches!(asked, Asked::Pending(_)));
    }
    let fetched = |cache: &mut pod_identity_core::SlotCache<_, _, _, _>, allowed: &[u32]| {
        let may_fetch = |from| allowed.iter().any(|number| source(*number) == from);
        cache
            .poll_fetch(START, may_fetch)
            .map(|(attempt, _)| attempt.key())
    };
    assert_eq!(fetched(&mut driver.cache, &[]), None);
    assert_eq!(fetched(&mut driver.cache, &[2]), Some(20));
    assert!(driver.cache.is_waiting(&10) && !driver.cache.is_waiting(&20));
    let waiting = [1, 2, 3].map(|from| driver.cache.waiting_of(source(from)));
    assert_eq!(waiting, [1, 1, 0]);
    assert_eq!(fetched(&mut driver.cache, &[1, 2]), Some(10));
    assert_eq!(fetched(&mut driver.cache, &[1, 2]), Some(21));
    assert_eq!(fetched(&mut driver.cache, &[1, 2]), None);
}

#[test]
fn a_fetch_that_cannot_start_is_abandoned_half_a_minute_after_the_last_request() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    let ask = |driver: &mut Driver| {
        let (now, end) = (driver.now, driver.end);
        match driver.cache.ask(now, 1, source(1), || Request(end)) {
            Asked::Pending(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    };
    ask(&mut driver);
    driver.now = START + secs(20);
    let ticket = ask(&mut driver);
    assert_eq!(driver.cache.poll_timeout(), Some(START + secs(50)));
    driver.cache.handle_timeout(START + secs(49));
    assert!(driver.cache.is_waiting(&1));
    assert_eq!(driver.cache.handle_timeout(START + secs(50)), [1]);
    let outcome = driver.cache.outcome(&1, ticket).map(|told| told.is_ok());
    assert_eq!(outcome, Some(false));
    driver.now = START + secs(50);
    driver.drain();
    assert!(driver.started.is_empty() && driver.cache.peek(&1).is_none());
}

#[test]
fn retries_take_turns_with_first_fetches_of_their_source() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    for key in 0..3 {
        driver.ask_from(source(1), key);
    }
    while let Some(attempt) = driver.open.pop_front() {
        driver.answer(attempt, Err(failure(Transient)));
    }
    driver.now = driver.now + secs(30);
    driver.cache.handle_timeout(driver.now);
    for key in 10..12 {
        let end = driver.end;
        let asked = driver
            .cache
            .ask(driver.now, key, source(1), || Request(end));
        assert!(matches!(asked, Asked::Pending(_)));
    }
    driver.started.clear();
    driver.drain();
    let mut order: Vec<u32> = driver.started.iter().map(|(_, key)| *key).collect();
    assert_eq!((order[0], order[2]), (10, 11), "{order:?}");
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2, 10, 11]);
}

#[test]
fn a_caller_whose_set_has_expired_does_not_wait_behind_retries_of_its_source() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.mint(6 * HOUR);
    driver.ask_from(source(1), 5);
    driver.hold_back();
    driver.now = START + 7 * HOUR;
    for key in 0..2 {
        driver.ask_from(source(1), key);
    }
    while let Some(attempt) = driver.open.pop_front() {
        driver.answer(attempt, Err(failure(Transient)));
    }
    driver.now = driver.now + secs(10);
    driver.cache.handle_timeout(driver.now);
    let end = driver.end;
    let asked = driver.cache.ask(driver.now, 5, source(1), || Request(end));
    assert!(matches!(asked, Asked::Pending(_)));
    driver.started.clear();
    driver.drain();
    let order: Vec<u32> = driver.started.iter().map(|(_, key)| *key).collect();
    assert_eq!((order[0], order.len()), (5, 3), "{order:?}");
}

#[test]
fn a_slot_whose_fetch_failed_is_removed_once_its_callers_are_answered() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.serve(|_key, _now| Err(failure(Denied)));
    driver.ask(1);
    let refused = Err(Error::Service(Denied));
    assert_eq!(driver.told, [(1, refused)]);
    assert!(driver.cache.peek(&1).is_none());
    driver.ask(1);
    assert_eq!(driver.started.len(), 2, "no negative cache");
}

#[test]
fn a_held_set_that_is_gone_upstream_is_removed() {
    let mut driver = holding(CacheLimits::default(), 1..2);
    driver.serve(|_key, _now| Err(failure(Gone)));
    driver.run(24 * HOUR);
    assert_eq!(driver.started.len(), 2);
    assert_eq!((driver.cache.held_len(), driver.cache.empty_len()), (0, 0));
    assert_eq!(driver.cache.poll_timeout(), None);
}

#[test]
fn one_key_from_two_sources_is_one_fetch() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.ask_from(source(1), 1);
    driver.ask_from(source(2), 1);
    assert_eq!(driver.started.len(), 1);
    let attempt = driver.open[0];
    driver.answer(attempt, Ok(set("one", START + HOUR)));
    assert_eq!(driver.told.len(), 2);
}

// The pace

/// Sixty sets whose refreshes are due at once; the higher the key, the earlier the expiry.
fn sixty_due(limits: CacheLimits) -> Driver {
    let mut driver = Driver::new(agent().with_retention(secs(30)), limits);
    driver.serve(|key, now| Ok(set(&key.to_string(), now + 6 * HOUR - secs(key.into()))));
    for key in 0..60 {
        driver.ask_from(source(key), key);
    }
    driver.mint(12 * HOUR);
    driver.started.clear();
    driver.look_at(START + secs(31));
    driver
}

#[test]
fn sixty_refreshes_that_are_due_at_once_take_twenty_seconds_in_the_order_of_expiry() {
    let mut driver = sixty_due(CacheLimits::default());
    driver.run(secs(26));
    let keys: Vec<u32> = driver
        .started
        .iter()
        .map(|(_, key)| *key)
        .take(60)
        .collect();
    assert!(keys.iter().copied().eq((0..60).rev()), "{keys:?}");
    let last = driver.started[59].0.saturating_since(START + secs(31));
    assert!(secs(19) < last && last < secs(20), "{last:?}");
}

#[test]
fn the_refresh_pace_follows_the_limits() {
    for (per_second, started) in [
        (0.0, 1..=1),
        (-1.0, 1..=1),
        (f64::NAN, 1..=1),
        (0.5, 5..=6),
        (3.0, 30..=31),
        (1e9, 60..=60),
        (f64::INFINITY, 60..=60),
    ] {
        let mut driver = sixty_due(limits(|limits| limits.refreshes_per_second = per_second));
        driver.run(secs(10));
        let made = driver.started.len();
        assert!(started.contains(&made), "{per_second}: {made}");
    }
}

#[test]
fn in_an_outage_one_refresh_at_a_time_finds_out_whether_the_service_is_back() {
    let mut driver = sixty_due(CacheLimits::default());
    driver.serve(|_key, _now| Err(failure(Transient)));
    driver.started.clear();
    driver.run(HOUR);
    // A pause takes 10 to 20 s once the first have grown to that.
    let started = driver.started.len();
    assert!((180..360).contains(&started), "{started}");
    driver.mint(12 * HOUR);
    let back = driver.now;
    driver.started.clear();
    driver.run(secs(60));
    let first = driver.started[0].0.saturating_since(back);
    assert!(first <= secs(20), "{first:?}");
    // They follow at the usual pace; what rests after its own failure does when the rest is over.
    let refreshed: BTreeSet<u32> = driver.started.iter().map(|(_, key)| *key).collect();
    assert_eq!(refreshed.len(), 60);
}

#[test]
fn a_lone_set_is_tried_at_least_every_30_seconds_in_an_outage() {
    let mut driver = holding(CacheLimits::default(), 1..2);
    driver.serve(|_key, _now| Err(failure(Transient)));
    driver.started.clear();
    driver.run(4 * HOUR);
    let started = driver.started.iter().map(|(at, _)| *at);
    let pauses = started.clone().zip(started.skip(1));
    let longest = pauses.map(|(one, next)| next.saturating_since(one)).max();
    assert!(
        longest.is_some_and(|pause| pause <= secs(30)),
        "{longest:?}"
    );
}

#[test]
fn a_refresh_that_hangs_in_an_outage_is_followed_by_another_only_after_a_pause() {
    let mut driver = sixty_due(CacheLimits::default());
    driver.serve(|_key, _now| Err(failure(Transient)));
    driver.run(secs(300));
    driver.hold_back();
    driver.started.clear();
    driver.run(secs(60));
    assert!(driver.started.len() <= 6, "{:?}", driver.started);
}

#[test]
fn one_set_that_cannot_be_refreshed_does_not_slow_down_the_others() {
    let mut driver = sixty_due(CacheLimits::default());
    driver.serve(|key, now| match key {
        30 => Err(failure(Transient)),
        _ => Ok(set(&key.to_string(), now + 12 * HOUR)),
    });
    driver.run(secs(30));
    let others = driver.started.iter().map(|(_, key)| *key);
    let others: BTreeSet<u32> = others.filter(|key| *key != 30).collect();
    assert_eq!(others.len(), 59);
}

#[test]
fn a_first_fetch_that_fails_does_not_delay_refreshes() {
    let mut driver = holding(CacheLimits::default(), 1..2);
    let due = driver.cache.poll_timeout().unwrap();
    driver.now = due - secs(1);
    driver.hold_back();
    driver.ask(9);
    let attempt = driver.open.pop_front().unwrap();
    assert!(driver.answer(attempt, Err(failure(Transient))));
    driver.look_at(due);
    assert_eq!(driver.started.last(), Some(&(due, 1)));
}

#[test]
fn refusals_are_answers_and_no_outage() {
    let mut driver = sixty_due(CacheLimits::default());
    driver.serve(|_key, _now| Err(failure(Denied)));
    driver.run(secs(20));
    assert!(driver.started.len() >= 59, "{}", driver.started.len());
}

#[test]
fn a_first_fetch_is_not_paced_and_goes_before_any_refresh() {
    let mut driver = sixty_due(CacheLimits::default());
    driver.started.clear();
    for key in 100..200 {
        driver.ask_from(source(key), key);
    }
    let first: Vec<u32> = driver.started.iter().map(|(_, key)| *key).collect();
    assert!(first.into_iter().eq(100..200));
}

#[test]
fn a_slot_that_is_not_needed_is_dropped_when_its_refresh_is_due_unless_somebody_waits() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.mint(6 * HOUR);
    let ended = START + 24 * HOUR;
    driver.end = ended;
    driver.ask(1);
    driver.end = START + 48 * HOUR;
    driver.ask(2);
    let is_unneeded = |request: &Request| request.0 == ended;
    assert_eq!(driver.cache.drop_unneeded(is_unneeded), 0, "it is not due");
    driver.now = START + 5 * HOUR;
    driver.cache.handle_timeout(driver.now);
    assert_eq!(driver.cache.drop_unneeded(is_unneeded), 1);
    assert_eq!([1, 2].map(|key| driver.is_held(key)), [false, true]);
    driver.drain();
    assert_eq!(driver.started.last(), Some(&(driver.now, 2)));
    assert_eq!(driver.cache.evicted(), 0);

    driver.hold_back();
    assert_eq!(driver.ask(1), Answer::Wait);
    assert_eq!(driver.cache.drop_unneeded(|_any| true), 0, "a caller waits");
}

#[test]
fn where_few_attempts_are_started_every_fourth_is_a_refresh_while_one_is_due() {
    let mut driver = sixty_due(CacheLimits::default());
    for key in 100..160 {
        let request = || Request(driver.end);
        let asked = driver.cache.ask(driver.now, key, source(key), request);
        assert!(matches!(asked, Asked::Pending(_)));
    }
    let mut refreshes = Vec::new();
    for attempt in 1..=40 {
        driver.now = driver.now + secs(1);
        let (started, _) = driver.cache.poll_fetch(driver.now, |_any| true).unwrap();
        if started.key() < 100 {
            refreshes.push(attempt);
        }
    }
    assert_eq!(refreshes, [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]);
}

#[test]
fn a_set_in_the_refresh_backlog_is_served_at_once() {
    let mut driver = sixty_due(CacheLimits::default());
    assert_eq!(driver.ask(0), ready("0"));
    assert_eq!(driver.started.len(), 1);
}

#[test]
fn a_set_that_expires_in_the_backlog_is_fetched_without_the_pace() {
    let mut driver = sixty_due(limits(|limits| limits.refreshes_per_second = 0.0));
    driver.look_at(START + 7 * HOUR);
    driver.started.clear();
    assert_eq!(driver.ask(0), Answer::Wait);
    assert_eq!(driver.started, [(driver.now, 0)]);
}

// The end of a request

#[test]
fn an_entry_with_an_expired_token_is_removed_without_another_attempt() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.end = START + 2 * HOUR;
    driver.mint(6 * HOUR);
    driver.ask(1);
    driver.run(24 * HOUR);
    assert_eq!(driver.started.len(), 1);
    assert_eq!((driver.cache.held_len(), driver.cache.empty_len()), (0, 0));
    assert_eq!(driver.cache.poll_timeout(), None);
}

#[test]
fn a_refresh_that_waited_for_the_pace_until_its_token_expired_is_not_made() {
    let mut driver = Driver::new(
        agent(),
        limits(|limits| limits.refreshes_per_second = 1.0 / 600.0),
    );
    driver.end = START + 3 * HOUR + secs(1000);
    driver.mint(6 * HOUR);
    for key in 0..10 {
        driver.ask(key);
    }
    driver.started.clear();
    driver.look_at(START + 3 * HOUR);
    driver.run(24 * HOUR);
    assert_eq!(driver.started.len(), 2, "at once, and after 600 s");
    assert_eq!((driver.cache.held_len(), driver.cache.empty_len()), (0, 0));
}

#[test]
fn a_refresh_that_fails_until_its_token_expires_does_not_loop() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.end = START + 4 * HOUR;
    driver.mint(6 * HOUR);
    driver.ask(1);
    driver.serve(|_key, _now| Err(failure(Transient)));
    driver.run(24 * HOUR);
    assert_eq!(driver.cache.poll_timeout(), None);
    assert!(driver.started.last().unwrap().0 < driver.end);
}

#[test]
fn a_request_that_is_replaced_by_one_with_a_later_end_is_refreshed_until_then() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.end = START + 2 * HOUR;
    driver.mint(6 * HOUR);
    driver.ask(1);
    let end = START + 48 * HOUR;
    driver
        .cache
        .update_request(driver.now, 1, |request| request.0 = end);
    driver.run(24 * HOUR);
    assert!(driver.is_held(1));
    assert!(driver.started.len() > 4, "{:?}", driver.started);
}

// Two keys of one thing

#[test]
fn a_slot_is_moved_to_the_key_it_is_merged_into() {
    let mut driver = holding(CacheLimits::default(), 1..2);
    let merged = driver.cache.merge(driver.now, &1, 2);
    assert!(matches!(merged, Merge::Done(None)));
    assert_eq!((driver.find(1), driver.find(2)), (None, Some(ready("1"))));
    assert_eq!((driver.cache.held_len(), driver.cache.empty_len()), (1, 0));
}

#[test]
fn of_two_slots_the_one_with_a_usable_set_is_kept() {
    for (from, to, kept) in [(1, 3, "1"), (3, 1, "1"), (1, 2, "2")] {
        let mut driver = holding(CacheLimits::default(), 1..3);
        driver.hold_back();
        driver.ask(3);
        let late = driver.open.pop_front().unwrap();
        let merged = driver.cache.merge(driver.now, &from, to);
        assert!(matches!(merged, Merge::Done(Some(_))), "{from} into {to}");
        assert_eq!(
            (driver.find(from), driver.find(to)),
            (None, Some(ready(kept)))
        );
        let has_third = from == 1 && to == 2;
        let fetched = Ok(set("late", START + 6 * HOUR));
        assert_eq!(driver.answer(late, fetched), has_third);
        assert_eq!(driver.find(to), Some(ready(kept)));
    }
}

#[test]
fn nothing_is_merged_while_a_fetch_would_be_lost() {
    let mut driver = Driver::new(agent(), CacheLimits::default());
    driver.ask(1);
    let merged = driver.cache.merge(driver.now, &1, 2);
    assert!(matches!(merged, Merge::InFlight));
    let attempt = driver.open.pop_front().unwrap();
    assert!(driver.answer(attempt, Ok(set("1", START + 6 * HOUR))));
    assert_eq!((driver.find(1), driver.find(2)), (Some(ready("1")), None));
}

// Clock steps

#[test]
fn after_a_step_back_no_deadline_is_too_far_in_the_future() {
    let mut driver = sixty_due(limits(|limits| limits.refreshes_per_second = 0.1));
    driver.hold_back();
    driver.ask_from(source(100), 100);
    driver.run(secs(1));
    driver.look_at(driver.now - 12 * HOUR);
    let next = driver.cache.poll_timeout().unwrap();
    assert!(
        next <= driver.now + secs(10),
        "{next} is long after {}",
        driver.now
    );
}

#[test]
fn after_a_step_back_everything_is_refreshed_at_the_pace() {
    let mut driver = holding(CacheLimits::default(), 0..30);
    driver.mint(24 * HOUR);
    driver.started.clear();
    driver.look_at(START - HOUR);
    driver.run(secs(11));
    let mut keys: Vec<u32> = driver.started.iter().map(|(_, key)| *key).collect();
    assert!(driver.started[29].0 >= START - HOUR + secs(9));
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..30));
}

#[test]
fn a_lookup_after_a_correction_of_the_clock_does_not_prolong_a_rest() {
    let mut driver = holding(CacheLimits::default(), 0..1);
    let attempt = begin_refresh(&mut driver);
    driver.answer(attempt, Err(failure(Transient)));
    driver.now = driver.now - secs(9);
    assert_eq!(driver.find(0), Some(ready("0")));
    let next = driver.cache.peek(&0).and_then(|slot| slot.poll_timeout());
    assert!(next.unwrap() <= driver.now + secs(1), "{next:?}");
}

#[test]
fn a_clock_correction_of_ten_seconds_is_no_step_for_a_cache() {
    for (correction, refreshes) in [(10, 0), (11, 1)] {
        let mut driver = holding(CacheLimits::default(), 0..1);
        driver.hold_back();
        driver.look_at(START - secs(correction));
        assert_eq!(driver.open.len(), refreshes, "{correction} s");
    }
}

#[test]
fn after_a_step_forward_no_expired_set_is_served() {
    let mut driver = holding(CacheLimits::default(), 0..3);
    driver.look_at(START + 7 * HOUR);
    assert_eq!(driver.started.len(), 4, "the first refresh begins at once");
    driver.hold_back();
    assert_eq!(driver.ask(0), ready("0"), "refreshed");
    assert_eq!(driver.ask(1), Answer::Wait);
}

// Size

#[test]
fn a_hundred_thousand_slots_cost_no_scan_per_event() {
    const SLOTS: u32 = 100_000;
    const EVENTS: u32 = 5_000;
    let mut driver = CacheDriver::<Counted>::new(
        agent(),
        limits(|limits| {
            limits.held = 100_000;
            limits.refreshes_per_second = 1e9;
        }),
    );
    driver.mint(6 * HOUR);
    for key in 0..SLOTS {
        driver.ask_from(source(key), Counted(key));
        driver.now = driver.now + millis(50);
    }
    assert_eq!(driver.cache.held_len(), 100_000);
    TOUCHES.set(0);
    driver.started.clear();
    for key in 0..EVENTS {
        let next = driver.cache.poll_timeout().unwrap();
        driver.run(next.saturating_since(driver.now));
        driver.ask(Counted(key * 97 % SLOTS));
    }
    assert!(driver.started.len() >= EVENTS as usize);
    let touches = TOUCHES.get() / u64::from(EVENTS);
    assert!(touches < 200, "an event touches {touches} keys");
}

thread_local! {
    static TOUCHES: Cell<u64> = const { Cell::new(0) };
}

/// A key that counts how often any of its kind is hashed or compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted(u32);

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        TOUCHES.set(TOUCHES.get() + 1);
        self.0.hash(state);
    }
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        TOUCHES.set(TOUCHES.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
