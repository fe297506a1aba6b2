use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What other tasks can see of a connection, and how they tell it to leave.
///
/// Its own task writes it for every request, so it has no lock. Each value stands for itself and publishes
/// no other memory, so relaxed access suffices: whoever is told to leave is also notified, and [`Notify`]
/// orders the two. A connection that leaves because of a stale read was between two requests, where its
/// client must expect that anyway.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    opened: Instant,
    phase: AtomicU8,
    /// Sweeps that have found it idle since its latest request.
    idle_sweeps: AtomicU8,
    /// Whether it was told to leave, which is never taken back: it answers at most one more request.
    is_leaving: AtomicBool,
    closing: Notify,
    /// Whether others of its source wait for room. Shared by all connections of the source.
    is_crowded: Arc<AtomicBool>,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It has not sent anything yet.
    Silent,
    /// It has sent nothing since its latest response.
    Idle,
    /// A request header has begun to arrive.
    Header,
    /// A request is being answered.
    Answering,
    /// It was told not to wait for the rest of its header.
    Cut,
}

/// A new connection may be silent for this long without being closed to make room for another: more than a
/// client needs between connecting and sending, less than the least patient SDKs wait.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

impl ConnectionState {
    pub(crate) fn new(opened: Instant, is_crowded: Arc<AtomicBool>) -> Self {
        Self {
            opened,
            phase: AtomicU8::new(Phase::Silent as u8),
            idle_sweeps: AtomicU8::new(0),
            is_leaving: AtomicBool::new(false),
            closing: Notify::new(),
            is_crowded,
        }
    }

    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    pub(crate) fn is_between_requests(&self) -> bool {
        self.is(Phase::Idle) || self.is(Phase::Silent)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    pub(crate) fn is_older_than_grace(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) >= GRACE
    }

    /// Idle, and not told to leave yet.
    pub(crate) fn can_make_room(&self) -> bool {
        self.is(Phase::Idle) && !self.is_leaving()
    }

    /// Notes that a request is being answered.
    pub(crate) fn begin_answer(&self) {
        self.enter(Phase::Answering);
        self.idle_sweeps.store(0, Ordering::Relaxed);
    }

    /// Notes that the response is ready. `true`: it is the last one.
    pub(crate) fn end_answer(&self) -> bool {
        self.enter(Phase::Idle);
        self.is_leaving() || self.is_crowded()
    }

    /// Whether others of its source wait for room.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Ordering::Relaxed)
    }

    /// Notes that one more sweep has found it idle, and returns how many have.
    pub(crate) fn note_idle_sweep(&self) -> u8 {
        if !self.is_between_requests() {
            return 0;
        }
        self.idle_sweeps
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1)
    }

    pub(crate) fn idle_sweeps(&self) -> u8 {
        self.idle_sweeps.load(Ordering::Relaxed)
    }

    /// Tells it to close because it has been idle for too long.
    pub(crate) fn expire(&self) {
        self.closing.notify_one();
    }

    /// Tells it to leave, so that its place can be given to another: at once if it is between two requests,
    /// or else after the request that has begun.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
        self.closing.notify_one();
    }

    /// Makes the next response the last one, and leaves an idle connection open for it.
    pub(crate) fn leave_after_next_answer(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Tells it to leave, and not to wait for the rest of a header.
    pub(crate) fn cut(&self) {
        let (header, cut) = (Phase::Header as u8, Phase::Cut as u8);
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        // In one step: a header that is complete by now is answered.
        let _complete = self.phase.compare_exchange(header, cut, set, read);
        self.leave();
    }

    /// Waits until it is to be closed. A request that has begun meanwhile is answered first.
    pub(crate) async fn closing(&self) {
        loop {
            self.closing.notified().await;
            if self.is_between_requests() || self.is(Phase::Cut) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn connection() -> ConnectionState {
        ConnectionState::new(Instant::now(), Arc::default())
    }

    fn is_closing(state: &ConnectionState) -> bool {
        state.closing().now_or_never().is_some()
    }

    #[test]
    fn a_connection_that_was_told_to_leave_while_it_answered_does_so_after_its_response() {
        let state = connection();
        state.begin_answer();
        state.leave();
        assert!(!is_closing(&state), "it is answering");
        assert!(state.end_answer(), "the last response");
    }

    #[test]
    fn a_request_that_begins_to_arrive_when_its_connection_is_told_to_leave_is_the_last() {
        let state = connection();
        state.leave();
        state.enter(Phase::Header);
        assert!(!is_closing(&state), "the rest of the header is on its way");
        state.begin_answer();
        assert!(state.end_answer(), "the last response");
    }

    #[test]
    fn a_header_that_is_cut_is_not_waited_for_but_answered_if_it_is_complete() {
        let (cut, complete) = (connection(), connection());
        cut.enter(Phase::Header);
        complete.begin_answer();
        for state in [&cut, &complete] {
            state.cut();
        }
        assert!(is_closing(&cut));
        assert!(!is_closing(&complete) && complete.end_answer());
    }

    #[test]
    fn a_connection_that_was_idle_for_too_long_may_still_be_used_if_a_request_comes_first() {
        let state = connection();
        state.expire();
        state.begin_answer();
        assert!(!is_closing(&state));
        assert!(!state.end_answer(), "and by the next");
    }
}
