use std::fmt::Write;
use std::time::Duration;

use pod_identity_core::Timestamp;

use crate::Outcome;

/// A record of a request, as far as every expectation reads it. It cannot be implemented outside this crate.
pub trait Seen: Clone + Send + 'static {
    /// When it arrived, by the mock's clock.
    fn at(&self) -> Timestamp;

    /// Which connection it came over, counted from 1.
    fn connection(&self) -> u64;

    /// How many requests like it waited for their answer when it arrived, itself included.
    fn in_flight(&self) -> usize;

    /// What it was answered.
    fn outcome(&self) -> Option<&Outcome>;

    /// What it asked for, in one line without secrets.
    fn line(&self) -> String;
}

/// One line for each request: its number, its time after the first, and what became of it.
pub(crate) fn timeline<R: Seen>(requests: &[R]) -> String {
    let start = requests.first().map(Seen::at);
    let mut lines = String::new();
    for (number, request) in (1..).zip(requests) {
        let at = start.map_or(Duration::ZERO, |start| request.at().saturating_since(start));
        let outcome = request.outcome().map(ToString::to_string);
        // Writing into a string cannot fail.
        let _written = writeln!(
            lines,
            "{number:>4}  +{:.3} s  connection {}  {}  {}",
            at.as_secs_f64(),
            request.connection(),
            request.line(),
            outcome.as_deref().unwrap_or("not answered"),
        );
    }
    lines
}
