//! The refresh rules, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Notes, START, Script, Step, VirtualClock, hours, minutes};
use pod_identity_provider::{Clock, Event, FetchError, PodIdentityProvider, RefreshPolicy};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

async fn key(provider: &PodIdentityProvider) -> String {
    provider
        .credentials()
        .await
        .unwrap()
        .access_key_id()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn credentials_are_refreshed_in_the_background_without_a_caller() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(hours(6) - minutes(78)).await;
    assert_eq!(script.calls(), 1);
    sleep(minutes(15)).await;
    assert_eq!(script.calls(), 2, "65 to 77 min before the expiry");
    assert_eq!(provider.snapshot().unwrap().access_key_id(), "ASIA2");
    sleep(hours(24)).await;
    assert!((6..=7).contains(&script.calls()), "{}", script.calls());
}

#[tokio::test(start_paused = true)]
async fn no_caller_waits_while_a_valid_set_is_held() {
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
async fn an_error_is_not_cached() {
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
async fn an_unchanged_set_is_no_progress_and_no_failure() {
    let clock = VirtualClock::start();
    let expiry = START + hours(1);
    let time = clock.clone();
    let script = Script::new(&clock, move |call| match call {
        1 => Step::Set("ASIAFIRST", expiry),
        _ if time.now() < START + minutes(50) => Step::Set("ASIAFIRST", expiry),
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
    assert_eq!(provider.state().consecutive_failures, 0);
    sleep(minutes(2)).await;
    assert_ne!(key(&provider).await, "ASIAFIRST");
    let no_progress = notes.count(|event| matches!(event, Event::NoProgress { .. }));
    assert!(no_progress >= same);
    assert_eq!(
        notes.count(|event| matches!(event, Event::NoProgress { times: 1, .. })),
        1,
        "it is a warning once"
    );
    assert_eq!(
        notes.count(|event| matches!(event, Event::Failed { .. })),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_to_a_role_with_shorter_lifetimes_arrives_with_the_first_refresh() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(hours(6)),
        _ => Step::Fresh(minutes(59)),
    });
    let provider = script.provider();
    assert_eq!(key(&provider).await, "ASIA1");
    assert_eq!(
        provider.refresh_now().await.unwrap().access_key_id(),
        "ASIA2"
    );
    assert_eq!(key(&provider).await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn refresh_now_that_finds_nothing_newer_is_no_failure_and_keeps_the_pace() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Set("ASIAONLY", START + hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(minutes(1)).await;
    let next = provider.state().next_refresh;
    for _ in 0..3 {
        let set = provider.refresh_now().await.unwrap();
        assert_eq!(set.access_key_id(), "ASIAONLY");
    }
    let state = provider.state();
    assert_eq!((state.consecutive_failures, state.next_refresh), (0, next));
    assert_eq!(script.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_attempt_an_expired_set_is_served_with_seconds_to_live() {
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
        let (asked, before) = (Instant::now(), script.calls());
        let credentials = provider.credentials().await.unwrap();
        assert!(asked.elapsed() <= Duration::from_millis(10), "one attempt");
        assert_eq!(credentials.access_key_id(), "ASIA1");
        assert_eq!(credentials.account_id(), Some("111122223333"));
        let left = credentials.expiration().saturating_since(clock.now());
        assert!(
            left >= Duration::from_secs(15) && left <= Duration::from_secs(20),
            "{left:?}"
        );
        assert!(script.calls() <= before + 1);
        let again = provider.credentials().await.unwrap();
        assert_eq!(again.access_key_id(), "ASIA1");
        assert!(script.calls() <= before + 1, "the failure is a moment ago");
    }
    let warnings = notes.count(|event| matches!(event, Event::ServingExpired { .. }));
    let failures = notes.count(|event| matches!(event, Event::Failed { .. }));
    assert!(
        warnings > 5 && warnings <= failures,
        "{warnings} of {failures}: once for each failed attempt"
    );
}

#[tokio::test(start_paused = true)]
async fn that_an_expired_set_is_served_is_told_once_though_the_next_attempt_is_in_flight() {
    for seed in 0..20 {
        let clock = VirtualClock::start();
        let script = Script::new(&clock, |call| match call {
            1 => Step::Fresh(hours(6)),
            _ => Step::Broken,
        });
        let notes = Notes::new();
        let builder = script.builder().seed(seed).observer(notes.clone());
        let provider = builder.build().unwrap();
        provider.warm_up().await.unwrap();
        clock.suspend(hours(7));
        provider.credentials().await.unwrap();
        sleep(Duration::from_millis(980)).await;
        let failed = notes.count(|event| matches!(event, Event::Failed { .. }));
        let told = notes.count(|event| matches!(event, Event::ServingExpired { .. }));
        assert!(told > 0 && told <= failed, "{told} times of {failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn fail_closed_serves_no_expired_set() {
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
async fn a_rejected_set_is_withheld_until_it_is_replaced() {
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
async fn a_rejected_set_that_the_agent_keeps_is_served_again_and_logged_once() {
    let clock = VirtualClock::start();
    let time = clock.clone();
    let script = Script::new(&clock, move |_| match time.now() < START + hours(2) {
        true => Step::Set("ASIAKEPT", START + hours(6)),
        false => Step::Set("ASIANEW", START + hours(8)),
    });
    let notes = Notes::new();
    let provider = script.builder().observer(notes.clone()).build().unwrap();
    provider.warm_up().await.unwrap();
    while clock.now() < START + hours(2) {
        provider.invalidate("ASIAKEPT");
        assert_eq!(key(&provider).await, "ASIAKEPT");
        sleep(Duration::from_secs(3)).await;
    }
    assert!(script.calls() < 60, "{} requests in 2 h", script.calls());
    let said = |times| {
        notes.count(|event| {
            matches!(event, Event::NoProgress { times: t, rejected: true, .. } if *t == times)
        })
    };
    assert_eq!((said(1), said(2)), (1, 1));
    sleep(minutes(10)).await;
    assert_eq!(key(&provider).await, "ASIANEW");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_set_is_replaced_without_a_caller() {
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
async fn a_set_that_expired_during_suspend_is_replaced_before_it_is_served() {
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
async fn a_suspend_of_the_machine_is_noticed_within_five_minutes_without_a_caller() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(minutes(50)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(minutes(1)).await;
    clock.suspend(hours(1));
    sleep(minutes(5)).await;
    assert_eq!(script.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_stepped_forward_fails_no_caller() {
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
async fn a_clock_stepped_back_delays_nothing() {
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
async fn a_429_is_retried_after_its_retry_after() {
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
async fn a_valid_set_outlives_its_association_and_an_expired_one_does_not() {
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
    assert_eq!(key(&provider).await, "ASIA1");
    let error = provider.refresh_now().await.unwrap_err();
    assert!(error.to_string().contains("no association"), "{error}");
    assert_eq!(key(&provider).await, "ASIA1");
    sleep(hours(1)).await;
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
async fn refresh_now_returns_the_failure_although_a_valid_set_is_held() {
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
async fn a_panicking_attempt_is_a_failure_like_any_other() {
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
async fn the_state_describes_the_progress() {
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
    assert!(due >= minutes(65) && due <= minutes(77), "{due:?}");
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
async fn under_the_published_behaviour_a_caller_waits_for_a_due_refresh() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(minutes(10)));
    let provider = script
        .builder()
        .policy(RefreshPolicy::cross_sdk())
        .build()
        .unwrap();
    assert_eq!(key(&provider).await, "ASIA1");
    clock.step(6 * 60);
    assert_eq!(key(&provider).await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn thirty_days_with_restarts_and_an_outage_fail_no_caller() {
    let clock = VirtualClock::start();
    let time = clock.clone();
    let elapsed = move || time.true_time().saturating_since(START);
    let outage = hours(10 * 24)..hours(10 * 24 + 2);
    let (age, is_out) = (elapsed.clone(), outage.clone());
    let script = Script::new(&clock, move |_| {
        let restarting = age().as_secs() % (6 * 3600) < 5;
        match (age() > hours(1), restarting, is_out.contains(&age())) {
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
        let took = asked.elapsed();
        assert!(took <= Duration::from_millis(10), "one attempt: {took:?}");
        waited += u32::from(took > Duration::ZERO && !outage.contains(&elapsed()));
    }
    assert!(calls > 70_000, "{calls}");
    assert!(
        waited <= 1,
        "{waited}: only the first caller after the outage"
    );
    assert_eq!(script.most_in_flight(), 1);
    let fetches = script.calls();
    assert!((120..400).contains(&fetches), "{fetches}");
}

#[tokio::test(start_paused = true)]
async fn after_an_old_failure_and_a_sleep_past_the_expiry_the_first_caller_gets_the_new_set() {
    let clock = VirtualClock::start();
    let time = clock.clone();
    let script = Script::new(&clock, move |call| match call {
        2.. if time.now() < START + hours(1) => Step::Broken,
        _ => Step::Fresh(hours(1)),
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    while provider.state().consecutive_failures == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    clock.suspend(hours(2));
    let credentials = provider.credentials().await.unwrap();
    assert_ne!(credentials.access_key_id(), "ASIA1");
    assert!(credentials.expiration() > clock.now() + minutes(50));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_polled_after_the_expiry_gets_a_new_set() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(1)));
    let provider = script.provider();
    let mut late = std::pin::pin!(provider.credentials());
    assert!(timeout(Duration::ZERO, late.as_mut()).await.is_err());
    provider.warm_up().await.unwrap();
    clock.suspend(hours(2));
    assert_eq!(late.await.unwrap().access_key_id(), "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_timers_ran_while_nothing_was_polled_is_no_failure() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Hang,
        _ => Step::Fresh(hours(6)),
    });
    let notes = Notes::new();
    let provider = script.builder().observer(notes.clone()).build().unwrap();
    let (set, ()) = tokio::join!(provider.credentials(), async {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(script.calls(), 1);
        advance(Duration::from_secs(6)).await;
    });
    let set = set.unwrap();
    assert_eq!(set.access_key_id(), "ASIA2");
    let failed = notes.count(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(failed, 0, "{}", notes.text());
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_failing_calls_causes_a_bounded_number_of_requests() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Status(400, "no"));
    let provider = script.provider();
    let began = Instant::now();
    while began.elapsed() < minutes(1) {
        provider.credentials().await.unwrap_err();
    }
    assert!((200..=300).contains(&script.calls()), "{}", script.calls());
}

#[tokio::test(start_paused = true)]
async fn a_set_is_refreshed_in_time_by_a_clock_that_is_an_hour_slow() {
    let clock = VirtualClock::start();
    clock.step(-3600);
    for lifetime in [minutes(59), hours(2), hours(6)] {
        let script = Script::new(&clock, move |_| Step::Fresh(lifetime));
        let provider = script.provider();
        let began = clock.true_time();
        while clock.true_time() < began + hours(24) {
            let set = provider.credentials().await.unwrap();
            assert!(set.expiration() > clock.true_time(), "{lifetime:?}");
            sleep(minutes(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_does_not_extend_into_the_last_minute() {
    let clock = VirtualClock::start();
    let time = clock.clone();
    let script = Script::new(&clock, move |call| match call {
        1 => Step::Fresh(hours(1)),
        _ if time.now() < START + minutes(59) => Step::RetryAfter(429, 3600),
        _ => Step::Fresh(hours(1)),
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    while clock.now() < START + hours(2) {
        let asked = Instant::now();
        let set = provider.credentials().await.unwrap();
        assert!(set.expiration() > clock.now() && asked.elapsed() == Duration::ZERO);
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_is_an_event_only_if_it_changes_something() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, move |_| Step::Set("ASIAONLY", START + hours(6)));
    let notes = Notes::new();
    let provider = script.builder().observer(notes.clone()).build().unwrap();
    provider.warm_up().await.unwrap();
    provider.invalidate("ASIAOTHER");
    for _call in 0..3 {
        provider.invalidate("ASIAONLY");
        provider.invalidate("ASIAONLY");
        provider.credentials().await.unwrap();
    }
    let invalidated = notes.count(|event| matches!(event, Event::Invalidated { .. }));
    assert_eq!(invalidated, 1, "{}", notes.text());
}
