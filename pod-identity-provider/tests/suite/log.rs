//! What is logged: once as a warning, then in a whisper, and never a secret.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

use crate::support::{SECRET_KEY, SESSION_TOKEN, Script, Step, VirtualClock, hours, minutes};
use pod_identity_provider::Secret;
use pod_identity_testkit::assert_no_secrets;
use tokio::time::sleep;
use tracing::level_filters::LevelFilter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        listen_everywhere();
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn count(&self, level: &str, message: &str) -> usize {
        let text = self.text();
        text.lines()
            .filter(|line| line.contains(&format!(" {level} ")) && line.contains(message))
            .count()
    }
}

/// While there is one subscriber only, tracing remembers of a place that logs what the thread that came
/// there first wanted: that of another test may want nothing. A second subscriber ends that. It wants nothing
/// either, because it is asked by every other test of this process.
fn listen_everywhere() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let sink = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::OFF)
            .finish();
        tracing::subscriber::set_global_default(sink).unwrap();
    });
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_once_and_so_is_its_end() {
    let (lines, _guard) = Lines::collect();
    let clock = VirtualClock::start();
    let time = clock.clone();
    let script = Script::new(&clock, move |_| {
        let elapsed = time.true_time().saturating_since(crate::support::START);
        if elapsed > hours(4) + minutes(40) && elapsed < hours(5) + minutes(10) {
            Step::Status(
                503,
                "[some-request-id]: (ServiceUnavailableException): down",
            )
        } else {
            Step::Fresh(hours(6))
        }
    });
    let provider = script
        .builder()
        .token(Secret::from("header.claims.signature".to_owned()))
        .build()
        .unwrap();
    provider.warm_up().await.unwrap();
    sleep(hours(6)).await;
    assert_eq!(
        lines.count("WARN", "fetching AWS credentials failed"),
        1,
        "{}",
        lines.text()
    );
    assert!(lines.count("DEBUG", "fetching AWS credentials failed") > 3);
    assert_eq!(lines.count("INFO", "AWS credentials are fetched again"), 1);
    assert_eq!(lines.count("DEBUG", "AWS credentials fetched"), 1);
    assert_eq!(lines.count("WARN", ""), 1);
    assert_no_secrets(&lines.text(), &["header.claims", SECRET_KEY, SESSION_TOKEN]);
}

#[tokio::test(start_paused = true)]
async fn each_warning_about_an_expired_set_has_the_reason() {
    let (lines, _guard) = Lines::collect();
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(minutes(20)),
        _ if call % 2 == 0 => Step::Status(503, "down"),
        _ => Step::Broken,
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(minutes(20)).await;
    for _call in 0..100 {
        provider.credentials().await.unwrap();
        sleep(minutes(1)).await;
    }
    let said = |reason| {
        let text = lines.text();
        let warnings = text
            .lines()
            .filter(|line| line.contains(" WARN ") && line.contains("handing out expired"));
        warnings.filter(|line| line.contains(reason)).count()
    };
    let (down, reset) = (said("HTTP 503: down"), said("reset by the script"));
    assert!(down > 40 && reset > 40, "{}", lines.text());
    assert_eq!(down + reset, said(""), "{}", lines.text());
    assert!(
        down + reset < script.calls(),
        "once for each failed attempt"
    );
}

#[tokio::test(start_paused = true)]
async fn another_kind_of_failure_is_logged_again() {
    let (lines, _guard) = Lines::collect();
    let clock = VirtualClock::start();
    let script = Script::new(&clock, |call| match call {
        1 => Step::Fresh(hours(6)),
        2..=4 => Step::Broken,
        _ => Step::Status(403, "no"),
    });
    let provider = script.provider();
    provider.warm_up().await.unwrap();
    sleep(hours(5) + minutes(30)).await;
    assert_eq!(lines.count("WARN", "reset by the script"), 1);
    assert_eq!(lines.count("WARN", "HTTP 403: no"), 1);
}
