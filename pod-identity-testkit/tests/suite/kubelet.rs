//! When kubelet refreshes a pod's token.

use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Clock, Secret, ServiceAccountToken, Timestamp, TokenFile};
use pod_identity_testkit::{
    Issuer, MockAgent, PodToken, ProjectedVolume, SettableClock, TokenPolicy,
};

use crate::common::NOW;
use crate::raw::{ask, at_rest};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn lasting(lifetime: Duration) -> PodToken {
    let builder = Issuer::new().token("shop", "cart").lifetime(lifetime);
    PodToken::project(builder, NOW).unwrap()
}

fn issued(token: &PodToken) -> Timestamp {
    let current = token.current();
    let parsed = ServiceAccountToken::parse(current.expose()).unwrap();
    parsed.claims().issued_at.unwrap()
}

#[test]
fn a_token_is_refreshed_after_four_fifths_of_its_lifetime_or_a_day() {
    for (lifetime, latest) in [
        (600 * SECOND, 480 * SECOND),
        (3600 * SECOND, 2880 * SECOND),
        (24 * HOUR, 69_120 * SECOND),
        (30 * HOUR, 24 * HOUR),
        (7 * 24 * HOUR, 24 * HOUR),
    ] {
        let token = lasting(lifetime);
        let due = token.refresh_at();
        let latest = NOW + latest;
        assert!(
            due <= latest && due > latest - 10 * SECOND,
            "{lifetime:?}: {due}"
        );
        let before = due - Duration::from_millis(1);
        assert_eq!(token.refresh(before).unwrap(), None, "{lifetime:?}");
        let refreshed = token.refresh(due).unwrap();
        assert_eq!(refreshed, Some(token.current()), "{lifetime:?}");
        assert!(token.refresh_at() > due + lifetime / 2 || lifetime > 24 * HOUR);
        assert_eq!(token.refresh(due).unwrap(), None, "not twice");
    }
}

#[test]
fn a_seed_determines_the_jitter_of_the_refresh() {
    let token = lasting(24 * HOUR);
    let due_by = |seed| {
        token.set_seed(seed);
        token.refresh_at()
    };
    let mut early: Vec<Timestamp> = (0..20).map(due_by).collect();
    assert_eq!(early, (0..20).map(due_by).collect::<Vec<_>>());
    assert_eq!(lasting(24 * HOUR).refresh_at(), early[0]);
    early.sort();
    early.dedup();
    assert!(early.len() > 15, "pods differ: {early:?}");

    let one = lasting(24 * HOUR);
    let other = lasting(24 * HOUR);
    for token in [&one, &other] {
        token.set_seed(7);
        token.rotate(NOW + HOUR).unwrap();
    }
    assert_eq!(one.refresh_at(), other.refresh_at());
}

#[test]
fn the_file_changes_with_the_clock_and_before_the_clock_returns() {
    let clock = SettableClock::at(NOW);
    let token = lasting(24 * HOUR);
    token.follow(&clock);
    let file = TokenFile::new(token.volume().token_path());
    let mut rotations = Vec::new();
    let mut last = token.current();
    for minute in 1..=5 * 24 * 60 {
        clock.set(NOW + minute * 60 * SECOND);
        let now = Secret::from(file.read().unwrap());
        assert_eq!(now, token.current());
        if now != last {
            assert_eq!(issued(&token), clock.now());
            rotations.push(minute);
            last = now;
        }
    }
    // 19 h 12 min each, less 0 to 10 s, checked every minute.
    assert_eq!(rotations.len(), 6, "{rotations:?}");
    assert_eq!(token.all().len(), 7);
    for (count, minute) in (1..).zip(&rotations) {
        assert_eq!(*minute, count * 1152, "{rotations:?}");
    }
}

#[test]
fn a_jump_of_the_clock_brings_one_new_token() {
    let clock = SettableClock::at(NOW);
    let token = lasting(HOUR);
    token.follow(&clock);
    clock.advance(1000 * HOUR);
    assert_eq!(token.all().len(), 2);
    assert_eq!(issued(&token), clock.now());
    clock.set(Timestamp::MAX);
    assert_eq!(token.all().len(), 3);
}

#[test]
fn a_clock_stepped_back_leaves_no_token_from_the_future() {
    let clock = SettableClock::at(NOW);
    let token = lasting(24 * HOUR);
    token.follow(&clock);
    clock.advance(10 * HOUR);
    clock.set(NOW);
    assert_eq!(token.all().len(), 1, "it was issued by then");
    clock.set(NOW - HOUR);
    assert_eq!(token.all().len(), 2);
    assert_eq!(issued(&token), NOW - HOUR);
}

#[test]
fn a_token_followed_late_catches_up_and_a_dropped_one_is_forgotten() {
    let clock = SettableClock::at(NOW + 20 * HOUR);
    let token = lasting(24 * HOUR);
    token.follow(&clock);
    assert_eq!(token.all().len(), 2);
    let directory = token.volume().directory().to_owned();
    drop(token);
    clock.advance(48 * HOUR);
    assert!(!directory.exists());
}

#[test]
fn a_defective_volume_is_repaired_by_the_next_refresh() {
    use pod_identity_testkit::TokenDefect;

    let clock = SettableClock::at(NOW);
    let volume = ProjectedVolume::new().unwrap();
    let builder = Issuer::new().token("shop", "cart");
    let token = PodToken::project_into(volume, builder, NOW).unwrap();
    token.follow(&clock);
    let file = TokenFile::new(token.volume().token_path());
    for defect in TokenDefect::ALL {
        token.volume().spoil(defect).unwrap();
        clock.advance(20 * HOUR);
        let read = file.read().unwrap();
        assert_eq!(read.as_secret(), &token.current(), "{defect:?}");
    }
}

#[tokio::test]
async fn an_agents_token_follows_its_clock() {
    let (builder, clock): (_, Arc<SettableClock>) = at_rest();
    let policy = TokenPolicy::CurrentOrPrevious;
    let agent: MockAgent = builder.token_policy(policy).start().await.unwrap();
    agent.expect().times(3).token_reread();
    agent.pod_token().follow(&clock);
    for day in 0..3 {
        clock.set(NOW + day * 24 * HOUR);
        assert_eq!(ask(&agent).await.status(), 200);
    }
    let requests = agent.requests();
    assert_eq!(requests[2].at, NOW + 48 * HOUR);
    assert_ne!(requests[0].token, requests[1].token);
    assert_ne!(requests[1].token, requests[2].token);
}

/// Refreshes the token as a test with flowing time does.
#[tokio::test(start_paused = true)]
async fn tokios_paused_time_drives_the_refresh_too() {
    let start = tokio::time::Instant::now();
    let now = || NOW + start.elapsed();
    let token = lasting(600 * SECOND);
    let mut looks = tokio::time::interval(60 * SECOND);
    for _minute in 0..=24 {
        looks.tick().await;
        token.refresh(now()).unwrap();
    }
    assert_eq!(token.all().len(), 4, "each lives for 8 minutes of its 10");
}
