//! Orders of threads, which `just interleavings` plays: the registry of connections, and logs that say things once.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use pod_identity_core::{Failure, FailureClass};
use pod_identity_interleavings::rand::{Rng, thread_rng};
use pod_identity_interleavings::{block_on, in_many_orders, thread};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Dispatch;
use tracing::dispatcher::{get_default, with_default};
use tracing_subscriber::filter::LevelFilter;

use crate::eks_auth::exchange::EksAuthError;
use crate::eks_auth::outage::Outage;
use crate::eks_auth::subject::Subject;
use crate::eks_auth::unavailable::Unavailable;
use crate::serve::connection_state::Phase;
use crate::serve::connections::{Admission, ConnectionLimits, ConnectionPermit, Connections};
use crate::telemetry::logging::tests::logged;
use crate::telemetry::refusal_log::RefusalLog;

/// Two pods, and more connections than either may have, or both.
#[test]
fn every_connection_is_served_or_told_to_go_and_nothing_is_left_of_it() {
    // There are timers, which never fire.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _entered = runtime.enter();
    in_many_orders(|| {
        let connections = Arc::new(Connections::new(ConnectionLimits {
            per_source: 2,
            total: 3,
            buffered: 2,
            awaiting_header_per_source: 1,
            awaiting_header: 1,
            ..ConnectionLimits::default()
        }));
        let clients = (0..5).map(|number| {
            let connections = Arc::clone(&connections);
            thread::spawn(move || {
                let address = IpAddr::from([10, 0, 0, number % 2]);
                connect(&connections, address);
            })
        });
        let clients: Vec<_> = clients.collect();
        connections.make_room();
        for client in clients {
            client.join().unwrap();
        }
        connections.is_unused().unwrap();
    });
}

/// A connection, from when it is accepted.
fn connect(connections: &Arc<Connections>, address: IpAddr) {
    match connections.admit(address) {
        Admission::Admitted(permit) => serve(&permit),
        Admission::Queued(queued) if thread_rng().gen_bool(0.2) => drop(queued),
        // It gets its turn when another closes, or is told that others need the room.
        queued => {
            if let Ok(permit) = block_on(queued.permit()) {
                serve(&permit);
            }
        }
    }
}

/// The task of a connection with up to two requests.
fn serve(permit: &ConnectionPermit) {
    let state = permit.state();
    for _request in 0..2 {
        if state.closing().now_or_never().is_some() {
            return;
        }
        if thread_rng().gen_bool(0.5) {
            permit.begin_header();
            permit.wait_for_header();
            if state.closing().now_or_never().is_some() {
                assert!(state.is(Phase::Cut), "the rest of a header is waited for");
                return;
            }
        }
        let _buffers = permit.free_buffers();
        permit.begin_answer();
        let is_closing = state.closing().now_or_never().is_some();
        assert!(!is_closing, "a request that has begun is answered");
        if permit.end_answer() {
            return;
        }
        // Whoever is told to leave learns it.
        if state.is_leaving() {
            block_on(state.closing());
            return;
        }
    }
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
        assert_eq!(outage.is_open(), ended < Some(begun), "{lines:?}");
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
