//! Orders of threads, which `just interleavings` plays: the registry of connections, and logs that say things once.

use std::net::IpAddr;
use std::sync::Arc;
// Not those that are interleaved.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures_util::FutureExt;
use pod_identity_core::{Failure, FailureClass};
use pod_identity_interleavings::rand::{Rng, thread_rng};
use pod_identity_interleavings::{block_on, in_many_orders, thread};
use serde_json::Value;
use tokio::time::{Instant, advance};
use tracing::Dispatch;
use tracing::dispatcher::{get_default, with_default};
use tracing_subscriber::filter::LevelFilter;

use crate::eks_auth::exchange::EksAuthError;
use crate::eks_auth::outage::Outage;
use crate::eks_auth::subject::Subject;
use crate::eks_auth::unavailable::Unavailable;
use crate::serve::connection_limits::ConnectionLimits;
use crate::serve::connection_state::{GRACE, Phase};
use crate::serve::connections::{Admission, ConnectionPermit, Connections};
use crate::telemetry::logging::tests::logged;
use crate::telemetry::refusal_log::RefusalLog;

/// Two pods, and more connections than either may have, or both.
#[test]
fn every_connection_is_served_or_told_to_go_and_nothing_is_left_of_it() {
    // Its clock is moved below, but its timers do not fire.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let ends = Arc::new(Ends::default());
    let seen = Arc::clone(&ends);
    let orders = in_many_orders(move || {
        let connections = Arc::new(Connections::new(ConnectionLimits {
            per_source: 2,
            total: 3,
            buffered: 2,
            awaiting_header_per_source: 1,
            awaiting_header: 1,
            ..ConnectionLimits::default()
        }));
        let clients = (0..5).map(|number| {
            let (connections, seen) = (Arc::clone(&connections), Arc::clone(&seen));
            thread::spawn(move || {
                let address = IpAddr::from([10, 0, 0, number % 2]);
                seen.count(connect(&connections, address));
            })
        });
        let clients: Vec<_> = clients.collect();
        for _time in 0..2 {
            block_on(advance(GRACE));
            connections.make_room();
        }
        for client in clients {
            client.join().unwrap();
        }
        connections.is_unused().unwrap();
    });
    // A few orders may lack some.
    if orders >= 1000 {
        ends.assert_all_were_met();
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It has sent as many requests as it wants, or was told that an answer is the last.
    Served,
    /// It has sent nothing, and others need the room.
    Silent,
    /// Its header is incomplete, and there are too many of those.
    Cut,
    /// It is idle, and others need the room.
    Idle,
    /// It has given up before it got room.
    GaveUp,
    /// There is no room for it.
    Displaced,
}

#[derive(Debug, Default)]
struct Ends([AtomicUsize; 6]);

impl Ends {
    fn count(&self, end: End) {
        self.0[end as usize].fetch_add(1, Relaxed);
    }

    /// An end that no order leads to is not tried.
    fn assert_all_were_met(&self) {
        let is_met = |count: &AtomicUsize| count.load(Relaxed) > 0;
        assert!(self.0.iter().all(is_met), "{self:?}");
    }
}

/// A connection, from when it is accepted.
fn connect(connections: &Arc<Connections>, address: IpAddr) -> End {
    match connections.admit(address) {
        Admission::Admitted(permit) => serve(&permit),
        Admission::Queued(_) if thread_rng().gen_bool(0.2) => End::GaveUp,
        // It gets its turn when another closes, or is told that others need the room.
        waits => match block_on(waits.permit()) {
            Ok(permit) => serve(&permit),
            Err(_no_permit) => End::Displaced,
        },
    }
}

/// The task of a connection with up to two requests.
fn serve(permit: &ConnectionPermit) -> End {
    let state = permit.state();
    for request in 0..2 {
        if state.closing().now_or_never().is_some() {
            return match request {
                0 => End::Silent,
                _ => End::Idle,
            };
        }
        if thread_rng().gen_bool(0.5) {
            permit.begin_header();
            permit.wait_for_header();
            if state.closing().now_or_never().is_some() {
                assert!(state.is(Phase::Cut), "the rest of a header is waited for");
                return End::Cut;
            }
        }
        let _buffers = permit.free_buffers();
        permit.begin_answer();
        let is_closing = state.closing().now_or_never().is_some();
        assert!(!is_closing, "a request that has begun is answered");
        if permit.end_answer() {
            return End::Served;
        }
        // Whoever is told to leave learns it.
        if state.is_leaving() {
            block_on(state.closing());
            return End::Idle;
        }
    }
    End::Served
}

#[test]
fn simultaneous_refusals_of_one_pod_are_logged_once() {
    in_many_orders(|| {
        let (log, now) = (RefusalLog::default(), Instant::now());
        let lines = logged_by_three(log, move |log, _number| {
            log.note(now, IpAddr::from([10, 0, 0, 7]), "Host", "no");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
    });
}

/// What the log said last is so.
#[test]
fn the_beginning_and_the_end_of_an_outage_are_logged_in_their_order() {
    in_many_orders(|| {
        let outage = Arc::new(Outage::default());
        let lines = logged_by_three(Arc::clone(&outage), |outage, number| {
            let class = match number {
                0 => FailureClass::Gone,
                _ => FailureClass::Transient,
            };
            let error = EksAuthError::Unreachable(Unavailable::other("no route"));
            outage.note(&Subject::default(), &Err(Failure::new(class, error)));
        });
        let said = |text: &str| {
            let has_text = |line: &Value| line["msg"].as_str().unwrap().starts_with(text);
            lines.iter().rposition(has_text)
        };
        let begun = said("EKS Auth does not give credentials now").unwrap();
        let ended = said("EKS Auth answers again");
        assert_eq!(outage.take_open(), ended < Some(begun), "{lines:?}");
    });
}

/// Returns what is logged while three threads do this at once.
fn logged_by_three<L: Send + Sync + 'static>(
    log: L,
    note: impl Fn(&L, usize) + Clone + Send + 'static,
) -> Vec<Value> {
    let log = Arc::new(log);
    logged(LevelFilter::INFO, || {
        let threads = (0..3).map(|number| {
            let (log, note) = (Arc::clone(&log), note.clone());
            // Each of these threads has its own subscriber.
            let subscriber = get_default(Dispatch::clone);
            thread::spawn(move || with_default(&subscriber, || note(&log, number)))
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
    })
}
