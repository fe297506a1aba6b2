use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashlink::LinkedHashMap;
use tokio::time::Instant;
use tracing::warn;

/// Says which requests are refused without asking EKS Auth: the first of each source and reason at once,
/// and while they go on, at most one line a minute with their number.
///
/// The table is bounded, and so is what can be made to be logged: where it is full of what was said in
/// the last minute, a newcomer is only counted in the metrics.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    /// The longest unsaid first. Held for one look-up; the line is written outside.
    said: Mutex<LinkedHashMap<(IpAddr, &'static str), Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    /// Refusals since then.
    unsaid: u64,
}

impl RefusalLog {
    /// `words` is what the client is told.
    pub(crate) fn note(&self, now: Instant, source: IpAddr, reason: &'static str, words: &str) {
        if let Some(times) = self.times_to_say(now, source, reason) {
            let words: String = words.chars().take(LONGEST_WORDS).collect();
            warn!("client-addr" = %source, reason, times, error = words, "requests refused");
        }
    }

    /// How many refusals one line is to stand for now, if there is to be one.
    fn times_to_say(&self, now: Instant, source: IpAddr, reason: &'static str) -> Option<u64> {
        let mut table = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |said: &Said| now.saturating_duration_since(said.at) >= BETWEEN_LINES;
        let key = (source, reason);
        let times = match table.get_mut(&key) {
            Some(said) if is_old(said) => said.unsaid + 1,
            Some(said) => {
                said.unsaid += 1;
                return None;
            }
            None => 1,
        };
        if times == 1
            && table.len() >= MOST_LINES
            && !table.front().is_some_and(|(_, oldest)| is_old(oldest))
        {
            return None;
        }
        // Inserting moves it to the back, where the latest are.
        table.insert(key, Said { at: now, unsaid: 0 });
        if table.len() > MOST_LINES {
            table.pop_front();
        }
        Some(times)
    }
}

const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Sources and reasons that are remembered, and so the most lines in a minute.
const MOST_LINES: usize = 512;

/// In characters; a client chooses the host that is quoted to it.
const LONGEST_WORDS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_at_once_and_then_one_a_minute_with_the_number() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        let at =
            |seconds| log.times_to_say(start + Duration::from_secs(seconds), source(7), "Host");
        assert_eq!(at(0), Some(1));
        assert_eq!([1, 2, 59].map(at), [None; 3]);
        assert_eq!(at(60), Some(4));
        assert_eq!([61, 119].map(at), [None; 2]);
        assert_eq!(at(500), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn each_source_and_each_reason_has_its_own_line() {
        let (log, now) = (RefusalLog::default(), Instant::now());
        for (number, reason) in [(7, "Host"), (7, "Path"), (8, "Host")] {
            assert_eq!(log.times_to_say(now, source(number), reason), Some(1));
            assert_eq!(log.times_to_say(now, source(number), reason), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_sources_fills_the_table_and_not_the_log() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        let lines = |now: Instant| {
            let lines =
                (0..10_000).filter_map(|number| log.times_to_say(now, source(number), "Host"));
            lines.count()
        };
        assert_eq!(lines(start), MOST_LINES);
        assert_eq!(lines(start + BETWEEN_LINES), MOST_LINES);
        assert_eq!(log.said.lock().unwrap().len(), MOST_LINES);
    }
}
