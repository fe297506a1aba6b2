/// Declares the methods that every mock has, for a type with a field `handle`, and their blocking forms.
macro_rules! mock_methods {
    ($mock:ident, $builder:ident, $record:ident) => {
        impl $mock {
            /// The address that it listens on.
            pub fn address(&self) -> std::net::SocketAddr {
                self.handle.server.address()
            }

            /// Closes the listener and every connection, and returns when that is done: from now on
            /// connections are refused. What it knows and has recorded stays.
            pub async fn stop(&self) {
                self.handle.server.stop().await;
            }

            /// Listens again on the same port. Does nothing if it does already.
            ///
            /// # Errors
            /// Fails if somebody else has taken the port meanwhile.
            pub async fn restart(&self) -> std::io::Result<()> {
                self.handle.server.restart().await
            }

            /// Injects a fault: for the next request, unless the fault says for which. The API server has no main
            /// operation, so there a fault names its own with [`Fault::on`](crate::Fault::on). A fault that has no
            /// effect on any request fails the test at the end, unless it is [optional](crate::Fault::optional).
            /// [`MockAgent`](crate::MockAgent#faults) says how faults queue.
            ///
            /// # Panics
            /// Panics if parts of the fault exclude each other, or if this mock has no such fault.
            #[track_caller]
            pub fn inject(&self, fault: impl Into<crate::Fault>) {
                self.handle.server.inject_now(fault.into());
            }

            /// Injects a fault for so many requests.
            ///
            /// # Panics
            /// Panics as [`inject`](Self::inject).
            #[track_caller]
            pub fn inject_next(&self, count: usize, fault: impl Into<crate::Fault>) {
                self.inject(fault.into().times(count));
            }

            /// Injects a fault for every request, until the faults are cleared.
            ///
            /// # Panics
            /// Panics as [`inject`](Self::inject).
            #[track_caller]
            pub fn inject_always(&self, fault: impl Into<crate::Fault>) {
                self.inject(fault.into().always());
            }

            /// Removes every fault of every operation. Requests that are held continue.
            pub fn clear_faults(&self) {
                use crate::mock::mock::Mock as _;
                self.handle.service().faults().clear();
            }

            /// The gate that a scenario or the member `until` of a fault calls by this name, if it has not been
            /// released; else a new one.
            pub fn named_gate(&self, name: &str) -> crate::Gate {
                self.handle.server.named_gate(name)
            }

            /// Applies what is due by the mock's clock: the timeline of a scenario, if it has one, and the ends of
            /// a refusal.
            /// Without this call it is applied within a second.
            ///
            /// # Errors
            /// Fails if the token cannot be written, or somebody else has taken the port meanwhile. It is tried
            /// again every second, and what comes after it waits.
            pub async fn catch_up(&self) -> std::io::Result<()> {
                self.handle.server.catch_up().await
            }

            /// Every request that has been read, in the order of arrival.
            pub fn requests(&self) -> Vec<crate::$record> {
                self.handle.recorder().requests()
            }

            /// How many requests have arrived.
            pub fn request_count(&self) -> usize {
                self.handle.recorder().counts().requests
            }

            /// How many connections have been accepted.
            pub fn connection_count(&self) -> u64 {
                self.handle.recorder().counts().connections
            }

            /// How many requests are waiting for their answer.
            pub fn in_flight(&self) -> usize {
                self.handle.recorder().counts().in_flight
            }

            /// How many requests have waited for their answer at the same time, at most.
            pub fn max_in_flight(&self) -> usize {
                self.handle.recorder().counts().max_in_flight
            }

            /// Waits until so many requests have arrived since the start.
            ///
            #[doc = concat!("# Panics\nPanics with what it has seen if the [limit](crate::", stringify!($builder), "::wait_limit) passes.")]
            pub async fn wait_for_requests(&self, count: usize) {
                let what = format!("{count} requests");
                let wait = self.handle.wait(&what, |counts| counts.requests >= count);
                wait.await;
            }

            /// Waits until so many requests have been answered since the start.
            ///
            #[doc = concat!("# Panics\nPanics with what it has seen if the [limit](crate::", stringify!($builder), "::wait_limit) passes.")]
            pub async fn wait_for_answers(&self, count: usize) {
                let what = format!("{count} answers");
                let wait = self.handle.wait(&what, |counts| counts.answers >= count);
                wait.await;
            }

            /// Waits until no request waits for its answer: all are answered, or their clients have left.
            ///
            #[doc = concat!("# Panics\nPanics with what it has seen if the [limit](crate::", stringify!($builder), "::wait_limit) passes.")]
            pub async fn wait_until_idle(&self) {
                let idle = self
                    .handle
                    .wait("no request to be in flight", |counts| counts.in_flight == 0);
                idle.await;
            }

            /// Verifies now that all expectations are met, if there are any, and that each fault had an effect,
            /// unless it is [optional](crate::Fault::optional). Dropping the mock does the same.
            ///
            /// # Panics
            /// Panics if an expectation is not met, or a fault had no effect, with every request in order.
            #[track_caller]
            pub fn verify(&self) {
                self.handle.verify();
            }
        }

        impl crate::Blocking<$mock> {
            #[doc = concat!("As [`", stringify!($mock), "::stop`].")]
            #[track_caller]
            pub fn stop(&self) {
                self.wait($mock::stop(self));
            }

            #[doc = concat!("As [`", stringify!($mock), "::restart`].")]
            ///
            /// # Errors
            /// Fails if somebody else has taken the port meanwhile.
            #[track_caller]
            pub fn restart(&self) -> std::io::Result<()> {
                self.wait($mock::restart(self))
            }

            #[doc = concat!("As [`", stringify!($mock), "::wait_for_requests`].")]
            #[track_caller]
            pub fn wait_for_requests(&self, count: usize) {
                self.wait($mock::wait_for_requests(self, count));
            }

            #[doc = concat!("As [`", stringify!($mock), "::wait_for_answers`].")]
            #[track_caller]
            pub fn wait_for_answers(&self, count: usize) {
                self.wait($mock::wait_for_answers(self, count));
            }

            #[doc = concat!("As [`", stringify!($mock), "::catch_up`].")]
            ///
            /// # Errors
            /// Fails if the token cannot be written, or somebody else has taken the port meanwhile.
            #[track_caller]
            pub fn catch_up(&self) -> std::io::Result<()> {
                self.wait($mock::catch_up(self))
            }

            #[doc = concat!("As [`", stringify!($mock), "::wait_until_idle`].")]
            #[track_caller]
            pub fn wait_until_idle(&self) {
                self.wait($mock::wait_until_idle(self));
            }
        }
    };
}

/// Declares the method that injects into the queue of a mock's main operation.
macro_rules! gate_method {
    ($mock:ident) => {
        impl $mock {
            /// Holds every request before its answer until the gate is released.
            pub fn gate(&self) -> crate::Gate {
                let gate = crate::Gate::new();
                self.inject_always(crate::Fault::hold(crate::Stage::BeforeHeaders, &gate));
                gate
            }
        }
    };
}

pub(crate) use {gate_method, mock_methods};
