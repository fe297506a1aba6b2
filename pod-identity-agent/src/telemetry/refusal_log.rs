use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use pod_identity_core::KeyedLogSuppressor;
use tokio::time::Instant;
use tracing::warn;

use crate::sync::{Mutex, MutexGuard};

/// Logs requests that are refused without asking EKS Auth: the first of each address and reason, then at
/// most one line per minute with their number.
///
/// At most 512 lines are logged per minute in total; every refusal is counted in the metrics.
#[derive(Debug)]
pub(crate) struct RefusalLog {
    /// Held for one look-up; the line is written outside.
    logged: Mutex<KeyedLogSuppressor<(IpAddr, &'static str), Instant>>,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self {
            logged: Mutex::new(KeyedLogSuppressor::new(INTERVAL, MAX_KEYS)),
        }
    }
}

impl RefusalLog {
    /// `message` is the text of the response.
    pub(crate) fn note(&self, now: Instant, address: IpAddr, reason: &'static str, message: &str) {
        let occurred = self.lock().occurred(now, (address, reason));
        if let Some(suppressed) = occurred {
            let error: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
            warn!("client-addr" = %address, reason, times = suppressed + 1, error, "requests refused");
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeyedLogSuppressor<(IpAddr, &'static str), Instant>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

/// Pairs of source and reason, and so the most lines per minute.
const MAX_KEYS: usize = 512;

/// A client chooses the `Host` that is quoted to it.
const MAX_MESSAGE_CHARS: usize = 256;

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::telemetry::logging::tests::logged;

    #[test]
    fn each_source_and_reason_is_logged_at_once_and_then_once_a_minute_with_the_count() {
        let lines = logged(LevelFilter::INFO, || {
            let (log, start) = (RefusalLog::default(), Instant::now());
            for (seconds, last, reason) in [
                (0, 7, "Host"),
                (1, 7, "Host"),
                (2, 7, "Path"),
                (3, 8, "Host"),
                (59, 7, "Host"),
                (60, 7, "Host"),
            ] {
                let source = IpAddr::from([10, 0, 0, last]);
                log.note(start + Duration::from_secs(seconds), source, reason, "no");
            }
        });
        let logged = lines.iter().map(|line| {
            let [source, reason] =
                ["client-addr", "reason"].map(|name| line[name].as_str().unwrap());
            (source, reason, line["times"].as_u64().unwrap())
        });
        assert_eq!(
            logged.collect::<Vec<_>>(),
            [
                ("10.0.0.7", "Host", 1),
                ("10.0.0.7", "Path", 1),
                ("10.0.0.8", "Host", 1),
                ("10.0.0.7", "Host", 3),
            ]
        );
    }

    #[test]
    fn a_flood_of_sources_does_not_fill_the_log() {
        let lines = logged(LevelFilter::INFO, || {
            let (log, now) = (RefusalLog::default(), Instant::now());
            for number in 0..10_000 {
                let source = std::net::Ipv4Addr::from_bits(number);
                log.note(now, source.into(), "Host", "no");
            }
        });
        assert_eq!(lines.len(), MAX_KEYS);
    }

    #[test]
    fn text_that_a_client_chooses_is_truncated() {
        let lines = logged(LevelFilter::INFO, || {
            let source = IpAddr::from([10, 0, 0, 7]);
            RefusalLog::default().note(Instant::now(), source, "Host", &"é".repeat(1000));
        });
        assert_eq!(lines[0]["error"], "é".repeat(MAX_MESSAGE_CHARS));
    }
}
