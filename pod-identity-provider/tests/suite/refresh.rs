//! The refresh rules of `design.md`, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Notes, START, Script, Step, VirtualClock, hours, minutes};
use pod_identity_provider::{Clock, Event, FetchError, PodIdentityProvider, RefreshPolicy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

async fn key(provider: &PodIdentityProvider) -> String {
    provider
        .credentials()
        .await
        .unwrap()
        .access_key_id()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn credentials_are_refreshed_in_the_background_though_nobody_asks() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(hours(5) - minutes(1)).await;
    assert_eq!(script.calls(), 1);
    sleep(minutes(15)).await;
    assert_eq!(script.calls(), 2, "within the first fifth of the last hour");
    assert_eq!(provider.snapshot().unwrap().access_key_id(), "ASIA2");
    sleep(hours(24)).await;
    assert!((6..=7).contains(&script.calls()), "{}", script.calls());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_while_a_valid_set_is_held() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| {
        if call == 1 {
            Step::Fresh(hours(6))
        } else {
            Step::Hang
        }
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    for _ in 0..500 {
        sleep(Duration::from_secs(43)).await;
        let asked = Instant::now();
        assert_eq!(key(&provider).await, "ASIA1");
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
    assert!(script.calls() > 10, "the refresh was tried again and again");
    assert_eq!(script.most_in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_one_fetch() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let provider = provider.clone();
        callers.spawn(async move { key(&provider).await });
    }
    assert!(callers.join_all().await.iter().all(|key| key == "ASIA1"));
    assert_eq!(script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_failing_agent_are_answered_within_the_budget() {
    let steps: [(fn() -> Step, usize); 4] = [
        (|| Step::Broken, 5),
        (|| Step::Status(503, "down"), 5),
        (|| Step::Hang, 2),
        (|| Step::Panic, 5),
    ];
    for (failing, attempts) in steps {
        let clock = VirtualClock::start();
        let script = Script::new(&clock, move |_| failing());
        let provider = script.provider();
        let asked = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..1000 {
            let provider = provider.clone();
            callers.spawn(async move { provider.credentials().await });
        }
        let answers = callers.join_all().await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.as_ref().is_err_and(FetchError::is_retryable))
        );
        assert!(
            asked.elapsed() <= Duration::from_secs(11),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(script.most_in_flight(), 1);
        assert_eq!(script.calls(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_not_remembered() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Status(400, "no"),
        _ => Step::Fresh(hours(6)),
    });
    let provider = script.provider();
    assert!(matches!(
        provider.credentials().await,
        Err(FetchError::Refused { .. })
    ));
    assert_eq!(key(&provider).await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_cancel_the_fetch() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    timeout(Duration::from_millis(1), provider.credentials())
        .await
        .unwrap_err();
    sleep(Duration::from_millis(20)).await;
    assert_eq!(provider.snapshot().unwrap().access_key_id(), "ASIA1");
    assert_eq!(script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_expiry_is_no_progress_and_the_held_set_is_kept() {
    let clock = VirtualClock::start();
    let expiry = START + hours(1);
    let time = clock.clone();
    let script = Script::new(&clock, move |call| match call {
        1 => Step::Set("ASIAFIRST", expiry),
        _ if time.now() < START + minutes(50) => Step::Set("ASIASAME", expiry),
        _ => Step::Fresh(hours(1)),
    });
    let notes = Notes::new();
    let provider = script.builder().observer(notes.clone()).build().unwrap();
    provider.warm_up().await.unwrap();
    sleep(minutes(49)).await;
    assert_eq!(key(&provider).await, "ASIAFIRST");
    let same = script.calls() - 1;
    assert!(
        (3..12).contains(&same),
        "{same} attempts: there are rests between them"
    );
    sleep(minutes(2)).await;
    assert_ne!(key(&provider).await, "ASIAFIRST");
    let no_progress = notes.count(|event| matches!(event, Event::NoProgress { .. }));
    assert!(no_progress >= same);
    assert_eq!(
        notes.count(|event| matches!(
            event,
            Event::Refreshed {
                recovered_from: 1..,
                ..
            }
        )),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_set_is_handed_out_with_a_minute_to_live_while_refreshing_fails() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(minutes(20)),
        _ => Step::Status(503, "down"),
    });
    let notes = Notes::new();
    let provider = script.builder().observer(notes.clone()).build().unwrap();
    provider.warm_up().await.unwrap();
    sleep(minutes(20)).await;
    for _ in 0..600 {
        sleep(Duration::from_secs(7)).await;
        let asked = Instant::now();
        let credentials = provider.credentials().await.unwrap();
        assert_eq!(asked.elapsed(), Duration::ZERO);
        assert_eq!(credentials.access_key_id(), "ASIA1");
        assert_eq!(credentials.account_id(), Some("111122223333"));
        let left = credentials.expiration().saturating_since(clock.now());
        assert!(
            left > Duration::from_secs(14) && left <= Duration::from_secs(60),
            "{left:?}"
        );
    }
    let warnings = notes.count(|event| matches!(event, Event::ServingExpired { .. }));
    let failures = notes.count(|event| matches!(event, Event::Failed { .. }));
    assert!(
        warnings > 5 && warnings <= failures,
        "{warnings} of {failures}: once per rest"
    );
}

#[tokio::test(start_paused = true)]
async fn fail_closed_hands_out_nothing_that_has_expired() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(minutes(20)),
        _ => Step::Status(503, "down"),
    });
    let provider = script.builder().fail_closed(true).build().unwrap();
    provider.warm_up().await.unwrap();
    sleep(minutes(20) - Duration::from_secs(16)).await;
    assert_eq!(key(&provider).await, "ASIA1");
    sleep(Duration::from_secs(2)).await;
    assert!(
        provider.snapshot().is_none(),
        "less than 15 s of life is treated as expired"
    );
    let error = provider.credentials().await.unwrap_err();
    assert_eq!(error.to_string(), "169.254.170.23 refused: HTTP 503: down");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_set_is_replaced_and_not_handed_out_again() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    assert_eq!(key(&provider).await, "ASIA1");
    provider.invalidate("ASIAOTHER");
    assert_eq!(key(&provider).await, "ASIA1");
    sleep(Duration::from_millis(1)).await;
    provider.invalidate("ASIA1");
    assert!(provider.snapshot().is_none());
    assert_eq!(key(&provider).await, "ASIA2");
    assert_eq!(script.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_set_is_replaced_though_nobody_asks() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    // Between two looks at the wall clock.
    sleep(Duration::from_secs(90)).await;
    let remote = provider.clone();
    std::thread::spawn(move || remote.invalidate("ASIA1"))
        .join()
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(provider.snapshot().unwrap().access_key_id(), "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_expired_while_the_machine_slept_is_replaced_before_it_is_handed_out() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(minutes(50)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    clock.suspend(hours(1));
    assert_eq!(key(&provider).await, "ASIA2");
    sleep(minutes(10)).await;
    assert_eq!(script.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_sleep_of_the_machine_is_noticed_within_a_minute_though_nobody_asks() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(minutes(50)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(minutes(1)).await;
    clock.suspend(hours(1));
    sleep(minutes(1) + Duration::from_secs(1)).await;
    assert_eq!(script.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_stepped_forward_fails_nobody() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(minutes(50)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    clock.step(3600);
    let credentials = provider.credentials().await.unwrap();
    assert!(
        credentials.expiration() > clock.now(),
        "by the stepped clock every set has expired"
    );
    clock.step(-3600);
    sleep(minutes(3)).await;
    assert!(provider.credentials().await.unwrap().expiration() > clock.now() + minutes(40));
    assert_eq!(provider.state().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_stepped_back_delays_nothing() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    clock.step(-3600);
    let asked = Instant::now();
    assert_eq!(key(&provider).await, "ASIA1", "it is still valid");
    assert_eq!(asked.elapsed(), Duration::ZERO);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        script.calls(),
        2,
        "and replaced, because nobody knows what time it was fetched"
    );
}

#[tokio::test(start_paused = true)]
async fn a_429_is_retried_after_the_time_it_asks_for() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::RetryAfter(429, 3),
        2 => Step::Status(429, "Too Many Requests"),
        _ => Step::Fresh(hours(6)),
    });
    let provider = script.provider();
    let asked = Instant::now();
    assert_eq!(key(&provider).await, "ASIA3");
    assert!(asked.elapsed() >= Duration::from_secs(3) && asked.elapsed() < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn an_association_that_is_gone_takes_the_held_set_with_it() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(hours(6)),
        _ => Step::Status(
            404,
            "[1-2]: (ResourceNotFoundException): no association, fault: client",
        ),
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(hours(5) + minutes(13)).await;
    assert!(provider.snapshot().is_none());
    let error = provider.credentials().await.unwrap_err();
    assert!(error.to_string().contains("no association"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_keeps_the_held_set() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(hours(6)),
        _ => Step::Status(
            400,
            "[1-2]: (AccessDeniedException): not now, fault: client",
        ),
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(hours(5) + minutes(30)).await;
    assert_eq!(key(&provider).await, "ASIA1");
    assert!(script.calls() > 2);
}

#[tokio::test(start_paused = true)]
async fn refresh_now_tells_the_failure_although_a_valid_set_is_held() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 | 3 => Step::Fresh(hours(call as u64 + 1)),
        _ => Step::Status(403, "not you"),
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    assert!(matches!(
        provider.refresh_now().await,
        Err(FetchError::Refused { .. })
    ));
    assert_eq!(key(&provider).await, "ASIA1");
    assert_eq!(
        provider.refresh_now().await.unwrap().access_key_id(),
        "ASIA3"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panicking_attempt_is_a_failure_like_another() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| {
        if call == 1 {
            Step::Panic
        } else {
            Step::Fresh(hours(6))
        }
    });
    let provider = script.provider();
    assert_eq!(key(&provider).await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn the_tasks_end_with_the_last_clone() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| {
        if call == 1 {
            Step::Fresh(minutes(1))
        } else {
            Step::Hang
        }
    });
    let provider = script.provider();
    let clone = provider.clone();
    provider.warm_up().await.unwrap();
    while script.calls() < 2 {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(script.in_flight(), 1);
    drop(provider);
    assert!(clone.snapshot().is_some());
    drop(clone);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        Arc::strong_count(&script),
        1,
        "neither attempt nor background task is left"
    );
}

#[tokio::test(start_paused = true)]
async fn the_state_says_how_it_is_going() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Status(503, "down"),
        2 => Step::Fresh(hours(6)),
        _ => Step::Status(503, "down"),
    });
    let provider = script.provider();
    let state = provider.state();
    assert!(!state.ready && state.next_refresh.is_none() && state.last_error.is_none());
    provider.warm_up().await.unwrap();
    sleep(minutes(10)).await;
    let state = provider.state();
    assert!(state.ready);
    assert_eq!(state.access_key_id.as_deref(), Some("ASIA2"));
    assert_eq!(state.age.unwrap().as_secs(), 600);
    assert_eq!(state.consecutive_failures, 0);
    let due = state
        .expiration
        .unwrap()
        .saturating_since(state.next_refresh.unwrap());
    assert!(due >= minutes(48) && due <= hours(1), "{due:?}");
    sleep(hours(5) + minutes(20)).await;
    let state = provider.state();
    assert!(state.ready && state.consecutive_failures > 3);
    assert_eq!(
        state.last_error.unwrap().to_string(),
        "169.254.170.23 refused: HTTP 503: down"
    );
    assert!(state.next_refresh.unwrap() > clock.now());
}

#[tokio::test(start_paused = true)]
async fn under_sep_a_due_refresh_is_waited_for() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(minutes(10)));
    let provider = script
        .builder()
        .policy(RefreshPolicy::sep())
        .build()
        .unwrap();
    assert_eq!(key(&provider).await, "ASIA1");
    clock.step(6 * 60);
    assert_eq!(key(&provider).await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn thirty_days_with_restarts_and_an_outage_cost_nobody_an_error() {
    let clock = VirtualClock::start();
    let time = clock.clone();
    let elapsed = move || time.true_time().saturating_since(START);
    let outage = hours(10 * 24)..hours(10 * 24 + 2);
    let age = elapsed.clone();
    let script = Script::new(&clock, move |_| {
        let restarting = age().as_secs() % (6 * 3600) < 5;
        match (age() > hours(1), restarting, outage.contains(&age())) {
            (true, true, _) => Step::Broken,
            (true, _, true) => {
                Step::Status(500, "[1-2]: (InternalServerException): no, fault: server")
            }
            _ => Step::Fresh(hours(6)),
        }
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    let (mut calls, mut waited) = (0, 0);
    while elapsed() < hours(30 * 24) {
        sleep(Duration::from_secs(37)).await;
        let asked = Instant::now();
        let credentials = provider.credentials().await.unwrap();
        assert!(credentials.expiration() > clock.now());
        calls += 1;
        waited += u32::from(asked.elapsed() > Duration::ZERO);
    }
    assert_eq!((calls > 70_000, waited), (true, 0));
    assert_eq!(script.most_in_flight(), 1);
    let fetches = script.calls();
    assert!((120..400).contains(&fetches), "{fetches}");
}
