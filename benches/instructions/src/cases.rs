use std::fmt::Debug;
use std::future::ready;
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_credential_types::provider::ProvideCredentials;
use http::{Request, Response};
use pod_identity_core::wire::agent;
use pod_identity_core::{
    Ask, Clock, CredentialSet, Expiring, Failure, FailureClass, RefreshPolicy, Slot, SlotError,
    SystemClock, Timestamp,
};
use pod_identity_provider::{
    BoxFuture, Endpoint, PodIdentityProvider, Transport, TransportError, Zeroizing,
};
use tokio::runtime::Builder;

use crate::Result;

/// A piece of work whose cost is counted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Enough that the start of the process, which differs a little from run to run, does not show.
    pub(crate) calls: u32,
    run: fn(u32) -> Result<()>,
}

pub(crate) const CASES: [Case; 8] = [
    Case {
        name: "snapshot()",
        calls: 50_000,
        run: |calls| with_provider(|provider| repeat(calls, || black_box(provider.snapshot()))),
    },
    Case {
        name: "credentials()",
        calls: 50_000,
        run: |calls| with_provider(|provider| repeat(calls, || at_once(provider.credentials()))),
    },
    Case {
        name: "provide_credentials()",
        calls: 50_000,
        run: |calls| {
            with_provider(|provider| repeat(calls, || at_once(provider.provide_credentials())))
        },
    },
    Case {
        name: "a clone of the SDK's credentials",
        calls: 50_000,
        run: |calls| {
            with_provider(|provider| {
                let set = at_once(provider.provide_credentials());
                repeat(calls, || black_box(set.clone()));
            })
        },
    },
    Case {
        name: "an answer is parsed",
        calls: 2000,
        run: |calls| {
            let body = body();
            repeat(calls, || black_box(agent::decode(body.as_bytes(), None)));
            Ok(())
        },
    },
    Case {
        name: "slot: an ask with a valid set held",
        calls: 50_000,
        run: |calls| {
            let (mut slot, now) = (slot(), START);
            refresh(&mut slot, now);
            repeat(calls, || matches!(black_box(slot.ask(now)), Ask::Ready(_)));
            Ok(())
        },
    },
    Case {
        name: "slot: a refresh that is due",
        calls: 20_000,
        run: |calls| {
            let (mut slot, mut now) = (slot(), START);
            repeat(calls, || {
                refresh(&mut slot, now);
                now = now + LIFETIME - Duration::from_secs(60);
            });
            Ok(())
        },
    },
    Case {
        name: "slot: an attempt that fails",
        calls: 20_000,
        run: |calls| {
            let (mut slot, mut now) = (slot(), START);
            refresh(&mut slot, now);
            slot.refresh(now);
            repeat(calls, || {
                if let Some(attempt) = slot.poll_fetch(now) {
                    let failure = Failure::new(FailureClass::Transient, SlotError::Abandoned);
                    black_box(slot.handle_fetched(attempt, now, Err(failure)));
                }
                now = now + Duration::from_secs(1);
                slot.refresh(now);
            });
            Ok(())
        },
    },
];

pub(crate) fn find(name: &str) -> Result<&'static Case> {
    let found = CASES.iter().find(|case| case.name == name);
    found.ok_or_else(|| format!("there is no case {name}").into())
}

impl Case {
    /// Makes this many calls.
    pub(crate) fn call(&self, calls: u32) -> Result<()> {
        (self.run)(calls)
    }

    /// Returns how many allocations one call makes, after the first.
    pub(crate) fn allocations(&self) -> Result<u64> {
        let of = |calls| {
            let mut outcome = Ok(());
            let counted = allocation_counter::measure(|| outcome = self.call(calls));
            outcome.map(|()| counted.count_total)
        };
        Ok((of(2 * SOME)? - of(SOME)?) / u64::from(SOME))
    }
}

fn repeat<T>(calls: u32, mut call: impl FnMut() -> T) {
    for _call in 0..calls {
        black_box(call());
    }
}

/// Polls once what must be ready.
fn at_once<T, E: Debug>(future: impl Future<Output = std::result::Result<T, E>>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(set) = pin!(future).as_mut().poll(&mut context) else {
        panic!("the hot path must not wait");
    };
    set.expect("a set must be held")
}

/// A provider that holds a set, on a runtime that is not driven meanwhile.
fn with_provider(run: impl FnOnce(&PodIdentityProvider)) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let provider = PodIdentityProvider::builder()
        .endpoint(Endpoint::parse("http://169.254.170.23/v1/credentials")?)
        .no_token()
        .transport(Arc::new(InMemory))
        .build()?;
    runtime.block_on(provider.warm_up())?;
    let _within = runtime.enter();
    run(&provider);
    Ok(())
}

/// Answers at once.
#[derive(Debug)]
struct InMemory;

impl Transport for InMemory {
    fn send(
        &self,
        _request: Request<()>,
        _addresses: Vec<SocketAddr>,
    ) -> BoxFuture<'_, std::result::Result<Response<Zeroizing<Vec<u8>>>, TransportError>> {
        let answer = Response::new(Zeroizing::new(body().into_bytes()));
        Box::pin(ready(Ok(answer)))
    }
}

/// An answer of the length of a real one.
fn body() -> String {
    let (secret, token) = ("s".repeat(40), "t".repeat(900));
    let expiration = SystemClock.now() + LIFETIME;
    format!(
        r#"{{"AccessKeyId":"ASIABENCHBENCHBENCH0","SecretAccessKey":"{secret}","Token":"{token}","AccountId":"111122223333","Expiration":"{expiration}"}}"#
    )
}

/// What a slot holds here: nothing that would have to be allocated.
struct Set(Timestamp);

impl Expiring for Set {
    fn expiration(&self) -> Timestamp {
        self.0
    }
}

impl CredentialSet for Set {
    fn is_same_set(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

fn slot() -> Slot<Set, SlotError> {
    Slot::new(Arc::new(RefreshPolicy::provider()), 1)
}

/// From the deadline to the new set.
fn refresh(slot: &mut Slot<Set, SlotError>, now: Timestamp) {
    slot.handle_timeout(now);
    black_box(slot.ask(now));
    let attempt = slot.poll_fetch(now).expect("a fetch must be wanted");
    assert!(slot.handle_fetched(attempt, now, Ok(Set(now + LIFETIME))));
    black_box(slot.poll_timeout());
}

const START: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// Calls that allocations are counted over.
const SOME: u32 = 10;
