//! A provider outlives the runtime that it was built on, and needs no live task.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use crate::support::{Notes, Script, Step, VirtualClock, hours, minutes};
use pod_identity_core::SystemClock;
use pod_identity_provider::{Clock, Event, FetchError, PodIdentityProvider};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::sleep;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn scripted(
    step: impl Fn(usize) -> Step + Send + Sync + 'static,
) -> (Arc<Script>, PodIdentityProvider) {
    let script = Script::new(&VirtualClock::start(), step);
    let provider = script
        .builder()
        .clock(Arc::new(SystemClock))
        .build()
        .unwrap();
    (script, provider)
}

/// Sets that outlive the present, whenever that is.
fn for_a_century(_call: usize) -> Step {
    Step::Fresh(hours(24 * 365 * 100))
}

#[test]
fn credentials_survive_their_runtime_and_are_read_without_one() {
    let (script, provider) = scripted(for_a_century);
    runtime().block_on(provider.warm_up()).unwrap();
    assert_eq!(provider.snapshot().unwrap().access_key_id(), "ASIA1");
    runtime().block_on(async {
        assert_eq!(
            provider.credentials().await.unwrap().access_key_id(),
            "ASIA1"
        );
        assert_eq!(
            provider.refresh_now().await.unwrap().access_key_id(),
            "ASIA2"
        );
    });
    assert_eq!(script.calls(), 2);
}

#[test]
fn the_background_task_is_restarted_on_another_runtime() {
    let first = paused();
    let (script, provider) = first.block_on(async {
        let script = Script::new(&VirtualClock::start(), |_| Step::Fresh(hours(6)));
        let provider = script.provider();
        provider.warm_up().await.unwrap();
        (script, provider)
    });
    drop(first);
    paused().block_on(async {
        sleep(hours(5) + minutes(30)).await;
        assert_eq!(script.calls(), 1, "nobody asked, and there is no task");
        assert_eq!(
            provider.credentials().await.unwrap().access_key_id(),
            "ASIA1"
        );
        sleep(minutes(1)).await;
        assert_eq!(script.calls(), 2);
        sleep(hours(6)).await;
        assert_eq!(script.calls(), 3, "though nobody asked");
    });
}

#[test]
fn the_next_runtime_has_a_background_task_though_it_asks_only_while_the_set_is_new() {
    let (script, provider, _clock) = paused().block_on(warmed_up());
    paused().block_on(async {
        provider.credentials().await.unwrap();
        sleep(hours(5) + minutes(59)).await;
        assert_eq!(script.calls(), 2);
    });
}

#[test]
fn a_fetch_that_ended_with_its_runtime_is_restarted_on_the_next() {
    let script = Script::new(&VirtualClock::start(), |call| match call {
        1 => Step::Hang,
        _ => for_a_century(call),
    });
    let notes = Notes::new();
    let builder = script.builder().clock(Arc::new(SystemClock));
    let provider = builder.observer(notes.clone()).build().unwrap();
    let first = runtime();
    first.block_on(async {
        tokio::time::timeout(Duration::from_millis(30), provider.credentials())
            .await
            .unwrap_err();
    });
    drop(first);
    assert!(matches!(
        provider.state().last_error,
        Some(FetchError::Interrupted)
    ));
    let failed = notes.count(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(failed, 0, "the agent did not fail");
    assert_eq!(
        runtime()
            .block_on(provider.credentials())
            .unwrap()
            .access_key_id(),
        "ASIA2"
    );
    assert_eq!(script.calls(), 2);
}

#[test]
fn two_runtimes_share_one_fetch_and_one_outlives_the_other() {
    let (script, provider) = scripted(|call| {
        if call == 1 {
            Step::Hang
        } else {
            for_a_century(call)
        }
    });
    let first = runtime();
    let (started, has_started) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn({
        let provider = provider.clone();
        move || {
            has_started.recv().unwrap();
            runtime().block_on(provider.credentials())
        }
    });
    first.block_on(async {
        tokio::time::timeout(Duration::from_millis(30), provider.credentials())
            .await
            .unwrap_err();
        started.send(()).unwrap();
        tokio::task::yield_now().await;
    });
    drop(first);
    assert_eq!(waiting.join().unwrap().unwrap().access_key_id(), "ASIA2");
    assert_eq!(script.most_in_flight(), 1);
}

#[test]
fn an_idle_runtime_does_not_block_callers_for_long() {
    let script = Script::new(&VirtualClock::start(), |call| {
        if call == 1 {
            Step::Hang
        } else {
            for_a_century(call)
        }
    });
    let builder = script
        .builder()
        .clock(Arc::new(SystemClock))
        .attempt_timeout(Duration::from_millis(100));
    let provider = builder.build().unwrap();
    let parked = runtime();
    parked.block_on(async {
        tokio::time::timeout(Duration::from_millis(5), provider.credentials())
            .await
            .unwrap_err();
    });
    // Nothing polls the attempt any more, and nothing drops it: it is given up after twice its timeout.
    assert_eq!(
        runtime()
            .block_on(provider.credentials())
            .unwrap()
            .access_key_id(),
        "ASIA2"
    );
    assert_eq!(script.calls(), 2);
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let (script, provider) = scripted(for_a_century);
    assert!(provider.snapshot().is_none());
    provider.invalidate("ASIA1");
    let mut future = std::pin::pin!(provider.credentials());
    let poll = future
        .as_mut()
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(
        poll,
        std::task::Poll::Ready(Err(FetchError::NoRuntime))
    ));
    assert_eq!(script.calls(), 0);
    runtime().block_on(provider.warm_up()).unwrap();
}

#[test]
fn on_a_runtime_that_was_shut_down_there_is_an_error_and_no_panic() {
    let multi_thread = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    for runtime in [runtime, multi_thread] {
        let (script, provider) = scripted(for_a_century);
        let ended = runtime().handle().clone();
        for result in [
            ended.block_on(provider.credentials()),
            ended.block_on(provider.refresh_now()),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, FetchError::RuntimeShutDown), "{error:?}");
            assert!(!error.is_retryable());
        }
        assert!(script.calls() == 0 && provider.snapshot().is_none());

        runtime().block_on(provider.warm_up()).unwrap();
        ended.block_on(provider.credentials()).unwrap();
    }
}

#[test]
fn a_runtime_that_is_shut_down_while_a_caller_waits_is_reported_and_no_panic() {
    let (script, provider) = scripted(|_call| Step::Hang);
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let waiting = std::thread::spawn(move || handle.block_on(provider.credentials()));
    while script.in_flight() == 0 {
        std::thread::yield_now();
    }
    drop(runtime);
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, FetchError::RuntimeShutDown), "{error:?}");
}

#[test]
fn a_valid_set_is_handed_out_to_its_end_without_a_runtime() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    runtime().block_on(provider.warm_up()).unwrap();
    let ask = || {
        let mut future = std::pin::pin!(provider.credentials());
        let waker = std::task::Waker::noop();
        match future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker))
        {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => panic!("nothing to wait for"),
        }
    };
    for _minute in 0..6 * 60 - 1 {
        assert_eq!(ask().unwrap().access_key_id(), "ASIA1", "{}", clock.now());
        assert!(provider.snapshot().is_some());
        clock.suspend(minutes(1));
    }
    clock.suspend(minutes(1));
    assert!(matches!(ask(), Err(FetchError::NoRuntime)));
    assert_eq!(script.calls(), 1);
}

/// A sync application: its runtime runs only while it waits for credentials.
#[test]
fn a_runtime_that_runs_only_inside_block_on_never_gets_an_expired_set() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    let runtime = runtime();
    for _minute in 0..24 * 60 {
        let set = runtime.block_on(provider.credentials()).unwrap();
        assert!(set.expiration() > clock.now(), "{}", clock.now());
        clock.suspend(minutes(1));
    }
    assert!((4..=6).contains(&script.calls()), "{}", script.calls());
    assert_eq!(provider.state().consecutive_failures, 0);
}

/// As before, and the caller has no time to wait.
#[test]
fn a_runtime_that_runs_for_a_millisecond_at_a_time_gets_credentials() {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    let runtime = runtime();
    let (mut live, mut none) = (0, 0);
    for _minute in 0..24 * 60 {
        let asked = runtime.block_on(async {
            tokio::time::timeout(Duration::from_millis(1), provider.credentials()).await
        });
        match asked {
            Ok(set) => {
                assert!(set.unwrap().expiration() > clock.now());
                live += 1;
            }
            Err(_elapsed) => none += 1,
        }
        clock.suspend(Duration::from_secs(1));
    }
    assert!(live > 1400, "{live} live, {none} without an answer");
}

#[test]
fn a_background_task_on_an_idle_runtime_is_replaced() {
    let parked = paused();
    let (script, provider, clock) = parked.block_on(warmed_up());
    clock.suspend(hours(5));
    let driven = paused();
    driven.block_on(async {
        provider.credentials().await.unwrap();
        sleep(minutes(1)).await;
        assert_eq!(script.calls(), 2);
        let calls = script.calls();
        clock.suspend(hours(5));
        sleep(minutes(5)).await;
        assert_eq!(script.calls(), calls + 1, "though nobody asked");
    });
}

#[test]
fn a_background_task_that_has_missed_nothing_stays_on_its_runtime() {
    let driven = paused();
    let (script, provider, clock) = driven.block_on(warmed_up());
    let due = provider.state().next_refresh.unwrap();
    paused().block_on(async {
        clock.suspend(due.saturating_since(clock.now()) - Duration::from_millis(500));
        provider.credentials().await.unwrap();
    });
    driven.block_on(async { sleep(minutes(5)).await });
    assert_eq!(script.calls(), 2, "though nobody asked");
}

#[test]
fn a_fetch_that_an_idle_runtime_has_not_begun_is_carried_out_on_the_next() {
    let (script, provider) = scripted(for_a_century);
    let parked = runtime();
    parked.block_on(async {
        let mut asked = std::pin::pin!(provider.credentials());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asked.as_mut().poll(&mut context).is_pending());
    });
    assert_eq!(script.calls(), 0, "no task of it has run");
    let set = runtime().block_on(provider.credentials()).unwrap();
    assert_eq!(set.access_key_id(), "ASIA1");
}

#[test]
fn an_attempt_on_an_idle_runtime_is_taken_over_within_100_ms() {
    let (script, provider) = scripted(|call| {
        if call == 1 {
            Step::Hang
        } else {
            for_a_century(call)
        }
    });
    let parked = runtime();
    parked.block_on(async {
        tokio::time::timeout(Duration::from_millis(5), provider.credentials())
            .await
            .unwrap_err();
    });
    // In virtual time, which no busy machine makes longer.
    let driven = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    driven.block_on(async {
        let asked = tokio::time::Instant::now();
        let set = provider.credentials().await.unwrap();
        assert_eq!(set.access_key_id(), "ASIA2");
        let took = asked.elapsed();
        let longest = Duration::from_millis(100 + 10);
        assert!(took <= longest, "{took:?}, 10 ms of which are the fetch");
    });
    assert_eq!(script.calls(), 2);
    assert_eq!(provider.state().consecutive_failures, 0);
}

#[expect(clippy::disallowed_methods, reason = "nothing is waited for")]
fn block_thread(time: Duration) {
    thread::sleep(time);
}

/// Another runtime asks once, and is not driven any more; it is dropped, or returned.
fn look_on_another_runtime(provider: &PodIdentityProvider, is_kept: bool) -> Option<Runtime> {
    let provider = provider.clone();
    let look = move || {
        let other = runtime();
        other.block_on(async { provider.snapshot() });
        is_kept.then_some(other)
    };
    thread::spawn(look).join().unwrap()
}

#[test]
fn a_look_on_another_runtime_takes_no_fetch_from_a_caller_that_waits() {
    for is_kept in [true, false] {
        let (script, provider) = scripted(|call| match call {
            1 => Step::Status(403, "not yet"),
            call => for_a_century(call),
        });
        // The background task stays on a runtime that runs only inside `block_on`.
        let first = runtime();
        first.block_on(provider.warm_up()).unwrap_err();
        let mut kept = None;
        paused().block_on(async {
            let mut asked = pin!(provider.credentials());
            let mut context = Context::from_waker(Waker::noop());
            assert!(asked.as_mut().poll(&mut context).is_pending());
            kept = look_on_another_runtime(&provider, is_kept);
            assert_eq!(asked.await.unwrap().access_key_id(), "ASIA2", "{is_kept}");
        });
        drop(kept);
        assert_eq!(script.calls(), 2);
    }
}

#[test]
fn a_refresh_begins_though_a_runtime_that_is_not_driven_asks_again_and_again() {
    // The background task stays here.
    let first = paused();
    let (script, provider, clock) = first.block_on(warmed_up());
    let due = provider.state().next_refresh.unwrap();
    clock.suspend(due.saturating_since(clock.now()));
    let mut kept = Vec::new();
    runtime().block_on(async {
        for _turn in 0..10 {
            provider.credentials().await.unwrap();
            kept.push(look_on_another_runtime(&provider, true));
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(script.calls(), 2);
}

#[test]
fn busy_runtimes_do_not_take_a_slow_fetch_from_each_other_for_ever() {
    const WORKERS: u64 = 8;
    // It takes longer than any runtime here goes without a pause.
    let latency = Duration::from_millis(500);
    let script = Script::slow(&VirtualClock::start(), latency, for_a_century);
    let builder = script.builder().clock(Arc::new(SystemClock));
    let provider = builder.build().unwrap();
    let worker = |number| {
        let provider = provider.clone();
        move || {
            runtime().block_on(async {
                let mut asked = JoinSet::new();
                asked.spawn(async move { provider.credentials().await.map(drop) });
                let mut random = fastrand::Rng::with_seed(number);
                loop {
                    block_thread(Duration::from_millis(random.u64(50..300)));
                    sleep(Duration::from_millis(1)).await;
                    if let Some(result) = asked.try_join_next() {
                        return result.unwrap();
                    }
                }
            })
        }
    };
    let workers = (0..WORKERS).map(|number| thread::spawn(worker(number)));
    for worker in workers.collect::<Vec<_>>() {
        worker.join().unwrap().unwrap();
    }
    // One to 80 ms without a beat, five until that is more than a second, and a few for a machine that is busy too.
    assert!(script.calls() <= 10, "{} requests", script.calls());
}

/// A runtime whose pauses take no time.
fn paused() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// A provider that holds a set of six hours.
async fn warmed_up() -> (Arc<Script>, PodIdentityProvider, Arc<VirtualClock>) {
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |_| Step::Fresh(hours(6)));
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    (script, provider, clock)
}
