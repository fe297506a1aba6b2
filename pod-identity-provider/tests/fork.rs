//! A provider after `fork`: the child has its memory, and none of its threads.
//!
//! A program of its own without the test harness, whose threads a child would not have either.
#![cfg_attr(
    unix,
    allow(clippy::unwrap_used, reason = "a test that cannot go on fails")
)]

#[cfg(unix)]
fn main() {
    unix::a_child_with_a_runtime_of_its_own_fetches_over_a_connection_of_its_own();
    unix::a_child_refreshes_by_itself_on_a_runtime_of_its_own();
    unix::a_child_does_not_wait_for_an_attempt_of_the_parent();
    unix::a_child_does_not_wait_for_a_lock_that_was_held_in_the_parent();
    unix::on_a_runtime_of_the_parent_there_is_an_error_and_no_endless_wait();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use std::future::pending;
    use std::net::SocketAddr;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::thread;
    use std::time::Duration;

    use fork::{Fork, WEXITSTATUS, WIFEXITED, fork, waitpid};
    use http::{Request, Response};
    use pod_identity_provider::{
        BoxFuture, Clock, Endpoint, FetchError, PodIdentityProvider, SystemClock, Timestamp,
        Transport, TransportError, Zeroizing,
    };
    use pod_identity_testkit::{MockAgent, SettableClock};
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::{sleep, timeout};

    pub(crate) fn a_child_with_a_runtime_of_its_own_fetches_over_a_connection_of_its_own() {
        let runtime = multi_thread();
        let agent = runtime.block_on(MockAgent::start());
        let provider = PodIdentityProvider::from_lookup(agent.lookup());
        runtime.block_on(provider.warm_up()).unwrap();
        assert_eq!(agent.connection_count(), 1);

        in_child(|| {
            let held = provider.snapshot().unwrap();
            let fetched = multi_thread().block_on(provider.refresh_now()).unwrap();
            assert_ne!(fetched.access_key_id(), held.access_key_id());
        });
        assert_eq!(agent.connection_count(), 2);

        runtime.block_on(provider.refresh_now()).unwrap();
        assert_eq!(
            agent.connection_count(),
            2,
            "the connection of the parent still works"
        );
    }

    pub(crate) fn a_child_refreshes_by_itself_on_a_runtime_of_its_own() {
        let clock = Arc::new(SettableClock::at(SystemClock.now()));
        let transport = Arc::new(Minting::new(clock.clone()));
        let provider = minted(&clock, &transport);
        let runtime = paused();
        runtime.block_on(provider.warm_up()).unwrap();

        in_child(|| {
            paused().block_on(async {
                clock.advance(minutes(6));
                assert!(provider.snapshot().is_some());
                clock.advance(minutes(5 * 60 + 30));
                sleep(minutes(5)).await;
                assert_eq!(transport.sent(), 2, "though nobody asked");
            });
        });
    }

    pub(crate) fn a_child_does_not_wait_for_an_attempt_of_the_parent() {
        let clock = Arc::new(SettableClock::at(SystemClock.now()));
        let transport = Arc::new(Minting::hanging_at_first(clock.clone()));
        let provider = minted(&clock, &transport);
        let runtime = multi_thread();
        let asked = async { timeout(Duration::from_millis(20), provider.credentials()).await };
        runtime.block_on(asked).unwrap_err();

        in_child(|| {
            let within = Duration::from_secs(5);
            let asked = async { timeout(within, provider.credentials()).await };
            let set = multi_thread().block_on(asked).unwrap().unwrap();
            assert_eq!(set.access_key_id(), "ASIA2");
        });
    }

    pub(crate) fn on_a_runtime_of_the_parent_there_is_an_error_and_no_endless_wait() {
        let clock = Arc::new(SettableClock::at(SystemClock.now()));
        let transport = Arc::new(Minting::new(clock.clone()));
        let provider = minted(&clock, &transport);
        let runtimes = [multi_thread(), multi_thread()];
        for runtime in &runtimes {
            runtime.block_on(provider.refresh_now()).unwrap();
        }

        in_child(|| {
            clock.advance(minutes(5 * 60 + 30));
            for runtime in &runtimes {
                runtime.block_on(provider.credentials()).unwrap();
            }
            clock.advance(minutes(60));
            for runtime in &runtimes {
                runtime.block_on(async {
                    for result in [provider.credentials().await, provider.refresh_now().await] {
                        assert!(matches!(result, Err(FetchError::RuntimeOfParent)));
                    }
                });
            }
            let set = multi_thread().block_on(provider.credentials()).unwrap();
            assert!(set.expiration() > clock.now());
        });
    }

    pub(crate) fn a_child_does_not_wait_for_a_lock_that_was_held_in_the_parent() {
        let clock = Arc::new(Stopping::default());
        let transport = Minting::new(Arc::new(SettableClock::at(SystemClock.now())));
        let builder = PodIdentityProvider::builder()
            .endpoint(Endpoint::parse("http://169.254.170.23/v1/credentials").unwrap())
            .no_token()
            .clock(clock.clone())
            .transport(Arc::new(transport));
        let provider = builder.build().unwrap();
        paused().block_on(provider.warm_up()).unwrap();

        // The clock is read while the state is locked.
        clock.is_stopped.store(true, Ordering::SeqCst);
        let state = {
            let provider = provider.clone();
            thread::spawn(move || provider.state())
        };
        while !clock.is_waiting.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        in_child(|| {
            clock.is_stopped.store(false, Ordering::SeqCst);
            assert_eq!(provider.snapshot().unwrap().access_key_id(), "ASIA1");
            let fetched = paused().block_on(provider.refresh_now()).unwrap();
            assert_eq!(fetched.access_key_id(), "ASIA2");
            assert_eq!(provider.snapshot().unwrap().access_key_id(), "ASIA2");
        });
        clock.is_stopped.store(false, Ordering::SeqCst);
        assert!(state.join().unwrap().ready);
    }

    /// A clock that whoever reads it waits for while it is stopped.
    #[derive(Debug, Default)]
    struct Stopping {
        is_stopped: AtomicBool,
        is_waiting: AtomicBool,
    }

    impl Clock for Stopping {
        fn now(&self) -> Timestamp {
            while self.is_stopped.load(Ordering::SeqCst) {
                self.is_waiting.store(true, Ordering::SeqCst);
                thread::yield_now();
            }
            SystemClock.now()
        }
    }

    /// Runs something in a child process, and fails if it panics or hangs there.
    fn in_child(run: impl FnOnce()) {
        let Fork::Parent(child) = fork().unwrap() else {
            let (ended, end) = mpsc::channel::<()>();
            thread::spawn(move || {
                if end.recv_timeout(LONGEST_CHILD) == Err(RecvTimeoutError::Timeout) {
                    process::exit(HANGING);
                }
            });
            let outcome = catch_unwind(AssertUnwindSafe(run));
            drop(ended);
            // Nothing is dropped: the runtime of the parent would wait for its threads.
            process::exit(if outcome.is_ok() { DONE } else { PANICKED });
        };
        let status = waitpid(child).unwrap();
        assert!(WIFEXITED(status), "the child was killed: {status}");
        assert_eq!(
            WEXITSTATUS(status),
            DONE,
            "{PANICKED}: the child panicked; {HANGING}: it hangs"
        );
    }

    fn minted(clock: &Arc<SettableClock>, transport: &Arc<Minting>) -> PodIdentityProvider {
        PodIdentityProvider::builder()
            .endpoint(Endpoint::parse("http://169.254.170.23/v1/credentials").unwrap())
            .no_token()
            .clock(clock.clone())
            .transport(transport.clone())
            .build()
            .unwrap()
    }

    /// Answers each request with a new set that lives six hours.
    #[derive(Debug)]
    struct Minting {
        clock: Arc<SettableClock>,
        sent: AtomicUsize,
        /// How many requests get no answer.
        unanswered: usize,
    }

    impl Minting {
        fn new(clock: Arc<SettableClock>) -> Self {
            Self {
                clock,
                sent: AtomicUsize::new(0),
                unanswered: 0,
            }
        }

        fn hanging_at_first(clock: Arc<SettableClock>) -> Self {
            Self {
                unanswered: 1,
                ..Self::new(clock)
            }
        }

        fn sent(&self) -> usize {
            self.sent.load(Ordering::SeqCst)
        }
    }

    impl Transport for Minting {
        fn send(
            &self,
            _request: Request<()>,
            _addresses: Vec<SocketAddr>,
        ) -> BoxFuture<'_, Result<Response<Zeroizing<Vec<u8>>>, TransportError>> {
            let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
            if number <= self.unanswered {
                return Box::pin(pending());
            }
            let expiration: Timestamp = self.clock.now() + minutes(6 * 60);
            let body = format!(
                r#"{{"AccessKeyId":"ASIA{number}","SecretAccessKey":"secret","Token":"token","Expiration":"{expiration}"}}"#
            );
            let answer = Response::new(Zeroizing::new(body.into_bytes()));
            Box::pin(async { Ok(answer) })
        }
    }

    fn multi_thread() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    }

    /// A runtime whose time goes forward whenever nothing else happens.
    fn paused() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    const DONE: i32 = 0;
    const PANICKED: i32 = 1;
    const HANGING: i32 = 2;

    /// Long enough for a machine that is busy.
    const LONGEST_CHILD: Duration = Duration::from_secs(60);
}
