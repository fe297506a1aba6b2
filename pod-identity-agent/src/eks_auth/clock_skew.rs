use std::sync::PoisonError;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use pod_identity_core::{Clock, SystemClock, Timestamp};
use tracing::{info, warn};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, Ordering};

/// How far the node's clock is from that of EKS Auth, by the `Date` of its answers.
///
/// The SDK measures the same and corrects the next signature. It does not repeat the request that was refused,
/// because its retries are disabled: [`Missigned`] marks such an answer.
#[derive(Debug, Default)]
pub(crate) struct ClockSkew {
    /// Positive if the node's clock is behind. Relaxed: it stands for itself.
    millis: AtomicI64,
    /// Whether the log says that they differ. Held from the measurement to the line, so that the log ends with the
    /// latest one.
    logged: Mutex<bool>,
}

impl ClockSkew {
    /// Returns how far the node's clock is behind EKS Auth's, in seconds; negative if it is ahead.
    pub(crate) fn seconds(&self) -> f64 {
        self.millis.load(Ordering::Relaxed) as f64 / 1000.0
    }

    /// Measures the skew by an answer, and marks the answer if its request was signed by a wrong clock.
    pub(crate) fn note(&self, signed_at: Option<&str>, response: &mut HttpResponse) {
        // Proxies and instance metadata have clocks of their own.
        if response.headers().get("x-amzn-requestid").is_none() {
            return;
        }
        let Some(date) = response.headers().get("date").and_then(http_date) else {
            return;
        };
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let skew = date.as_unix_millis() - SystemClock.now().as_unix_millis();
        self.millis.store(skew, Ordering::Relaxed);
        let differs = far_apart(skew);
        if std::mem::replace(&mut *logged, differs) != differs {
            let seconds = skew / 1000;
            if differs {
                warn!(
                    "behind-seconds" = seconds,
                    "the node's clock differs from that of EKS Auth, by which requests are signed; check the node's time service"
                );
            } else {
                info!("the node's clock agrees with that of EKS Auth again");
            }
        }
        drop(logged);
        let signed_at = signed_at.and_then(amz_date);
        let missigned = |at: Timestamp| far_apart(date.as_unix_millis() - at.as_unix_millis());
        if signed_at.is_some_and(missigned) {
            response.add_extension(Missigned);
        }
    }
}

/// The mark of an answer whose request was signed minutes before or after EKS Auth's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missigned;

fn far_apart(millis: i64) -> bool {
    millis.unsigned_abs() >= TOLERANCE.as_millis() as u64
}

fn http_date(text: &str) -> Option<Timestamp> {
    let date = DateTime::from_str(text, Format::HttpDate).ok()?;
    Some(Timestamp::from_unix_secs(date.secs()))
}

/// `20261128T055500Z`
fn amz_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T')?;
    let part = |text: &str, range: std::ops::Range<usize>| text.get(range).map(str::to_owned);
    let rfc3339 = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(date, 0..4)?,
        part(date, 4..6)?,
        part(date, 6..8)?,
        part(time, 0..2)?,
        part(time, 2..4)?,
        part(time, 4..6)?,
    );
    let date = DateTime::from_str(&rfc3339, Format::DateTime).ok()?;
    Some(Timestamp::from_unix_secs(date.secs()))
}

/// AWS accepts signatures that are up to 5 min old; below 4, a refusal has another reason.
const TOLERANCE: Duration = Duration::from_secs(4 * 60);

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::telemetry::logging::tests::logged;

    #[test]
    fn both_date_formats_are_parsed() {
        let expected = Some(Timestamp::from_unix_secs(1_772_366_400));
        assert_eq!(http_date("Sun, 01 Mar 2026 12:00:00 GMT"), expected);
        assert_eq!(amz_date("20260301T120000Z"), expected);
        for text in ["", "T", "2026-03-01", "20260301T12", "ä0260301T120000Z"] {
            assert_eq!(amz_date(text), None, "{text}");
        }
    }

    #[test]
    fn clocks_are_far_apart_from_four_minutes_on() {
        for sign in [1, -1] {
            assert!(!far_apart(sign * 239_999));
            assert!(far_apart(sign * 240_000));
        }
    }

    fn answer(at: Timestamp, request_id: Option<&'static str>) -> HttpResponse {
        let mut response = HttpResponse::new(400.try_into().unwrap(), SdkBody::empty());
        let date = DateTime::from_secs(at.as_unix_millis() / 1000);
        let headers = response.headers_mut();
        headers.insert("date", date.fmt(Format::HttpDate).unwrap());
        if let Some(id) = request_id {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }

    #[test]
    fn an_answer_of_eks_auth_shows_the_skew_and_whether_its_request_was_missigned() {
        let skew = ClockSkew::default();
        let noon = Timestamp::from_unix_secs(1_772_366_400);
        let mut signed_in_time = answer(noon + Duration::from_secs(60), Some("r-1"));
        skew.note(Some("20260301T120000Z"), &mut signed_in_time);
        assert!(signed_in_time.extension::<Missigned>().is_none());
        let mut missigned = answer(noon + Duration::from_secs(3600), Some("r-2"));
        skew.note(Some("20260301T120000Z"), &mut missigned);
        assert!(missigned.extension::<Missigned>().is_some());
        let mut of_proxy = answer(noon + Duration::from_secs(3600), None);
        skew.note(Some("20260301T120000Z"), &mut of_proxy);
        assert!(of_proxy.extension::<Missigned>().is_none());
    }

    #[test]
    fn a_skew_is_logged_when_it_begins_and_when_it_ends() {
        const AHEAD: Duration = Duration::from_secs(100_000);
        let skew = ClockSkew::default();
        // Whatever happens between this and the notes takes less than the difference between the bounds.
        let now = SystemClock.now();
        let lines = logged(LevelFilter::INFO, || {
            for at in [now, now + AHEAD, now + AHEAD] {
                skew.note(None, &mut answer(at, Some("r-1")));
            }
            assert!((90_000.0..=100_000.0).contains(&skew.seconds()));
            skew.note(None, &mut answer(now - AHEAD, None));
            assert!(skew.seconds() > 0.0, "a proxy has a clock of its own");
            skew.note(None, &mut answer(now - AHEAD, Some("r-2")));
            assert!(skew.seconds() <= -100_000.0);
            skew.note(None, &mut answer(SystemClock.now(), Some("r-3")));
        });
        let [begun, ended] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(begun["level"], "warning");
        let behind = begun["behind-seconds"].as_i64().unwrap();
        assert!((90_000..=100_000).contains(&behind), "{behind}");
        assert_eq!(ended["level"], "info");
    }
}
