use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{BoundPod, Clock, Failure, FailureClass, Secret, Timestamp};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, error_span, info, warn};

use crate::eks_auth::audit_entry::{audit_entry, hit_entry};
use crate::eks_auth::exchange::{EksAuth, EksAuthError, Session};
use crate::eks_auth::outage::Outage;
use crate::eks_auth::reachability::Reachability;
use crate::eks_auth::subject::Subject;
use crate::eks_auth::unavailable::Unavailable;
use crate::telemetry::audit::{AuditEntry, AuditLog};
use crate::telemetry::metrics::Metrics;

/// A decorator of EKS Auth: each exchange has a timeout, and is measured, audited, logged, and recorded for
/// readiness.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) eks_auth: Arc<dyn EksAuth>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outage: Outage,
    pub(crate) reachability: Reachability,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: AuditLog,
}

impl Upstream {
    /// Makes one exchange, which fails after `time`. `address` is the one that first asked, for the
    /// audit and the log.
    pub(crate) async fn assume_role(
        &self,
        token: &Secret,
        subject: &Subject,
        address: IpAddr,
        time: Duration,
    ) -> Result<Session, Failure<EksAuthError>> {
        // At the highest level, so that its fields are on every line that is logged at all.
        let span = error_span!("exchange", "client-addr" = %address);
        let exchange = self.exchange(token, subject, address, time);
        exchange.instrument(span).await
    }

    async fn exchange(
        &self,
        token: &Secret,
        subject: &Subject,
        address: IpAddr,
        time: Duration,
    ) -> Result<Session, Failure<EksAuthError>> {
        let began = Instant::now();
        let exchange = timeout(time, self.eks_auth.assume_role(token)).await;
        let result = exchange
            .unwrap_or_else(|_elapsed| Err(EksAuthError::timed_out(time)))
            .and_then(|session| self.check_expiration(session))
            .and_then(|session| check_subject(session, subject));
        let outcome = match &result {
            Ok(_) => "ok",
            Err(failure) => failure.error.label(),
        };
        self.metrics.count_exchange(began.elapsed(), outcome);
        self.reachability.note(&result);
        self.outage.note(subject, &result);
        let now = self.clock.now();
        self.audit
            .record(&audit_entry(now, address, subject, &result));
        result
    }

    /// Writes the line of the audit for credentials that another address got than the one that asked first.
    pub(crate) fn audit_hit(
        &self,
        now: Timestamp,
        address: IpAddr,
        first_address: IpAddr,
        subject: &Subject,
    ) {
        let entry = hit_entry(now, address, first_address, subject);
        self.audit.record(&entry);
    }

    /// No session lasts longer than 12 h. A later expiration is a defect of the service or of a proxy, such as
    /// milliseconds instead of seconds, and would be served for years.
    fn check_expiration(&self, session: Session) -> Result<Session, Failure<EksAuthError>> {
        let expiration = session.credentials.expiration();
        if expiration <= self.clock.now() + MAX_LIFETIME {
            return Ok(session);
        }
        let hours = MAX_LIFETIME.as_secs() / 3600;
        let reason = format!("credentials.expiration is more than {hours} h away");
        let error = EksAuthError::Malformed(reason);
        Err(Failure::new(FailureClass::Malformed, error))
    }

    /// Records in the audit that a new token of a pod was answered without an exchange.
    pub(crate) fn note_verified(&self, pod: &BoundPod, address: IpAddr) {
        self.audit.record(&AuditEntry {
            time: self.clock.now(),
            address,
            outcome: "verified".into(),
            claimed_pod: None,
            verified: Some(pod.into()),
            request_id: None,
            issued: None,
            hit: None,
        });
    }

    /// Probes EKS Auth every 5 s while only a probe can show whether it is reachable: see
    /// [`Reachability::needs_probe`]. Runs until dropped.
    pub(crate) async fn probe(&self) {
        let mut logged = None;
        loop {
            if self.reachability.needs_probe() {
                let began = Instant::now();
                let checked = timeout(PROBE_TIMEOUT, self.eks_auth.check()).await;
                self.note_probe(
                    began,
                    checked.unwrap_or(Err(Unavailable::TimedOut(PROBE_TIMEOUT))),
                    &mut logged,
                );
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    fn note_probe(
        &self,
        began: Instant,
        checked: Result<(), Unavailable>,
        logged: &mut Option<String>,
    ) {
        let is_first = !self.reachability.was_reached();
        if !self.reachability.note_probe(began, &checked) {
            return;
        }
        match checked {
            Ok(()) => {
                if is_first {
                    info!("EKS Auth is within reach");
                }
            }
            Err(error) => {
                let reason = error.in_full();
                if is_first && logged.as_ref() != Some(&reason) {
                    warn!(
                        reason,
                        "not ready: EKS Auth is not within reach; trying again every 5 s"
                    );
                    *logged = Some(reason);
                }
            }
        }
    }
}

/// Compares what EKS Auth and the agent have verified. What was issued for one service account must not be
/// kept for the pods of another.
fn check_subject(session: Session, subject: &Subject) -> Result<Session, Failure<EksAuthError>> {
    if subject.verified().is_none() || subject.is_of(&session) {
        return Ok(session);
    }
    let reason = "subject is not the service account of the token".to_owned();
    let error = EksAuthError::Malformed(reason);
    Err(Failure::new(FailureClass::Malformed, error))
}

/// The interval of kubelet's probes in the official chart.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Three times the longest session, for nodes with wrong clocks.
const MAX_LIFETIME: Duration = Duration::from_secs(36 * 3600);

const PROBE_TIMEOUT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pod_identity_core::{Credentials, ServiceAccountToken, SystemClock};
    use pod_identity_testkit::{Issuer, SettableClock};
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::eks_auth::exchange::{Checking, Exchange};
    use crate::telemetry::logging::tests::{Memory, logged_in_virtual_time};
    use crate::telemetry::readiness::Readiness;

    /// Grants no credentials; probes fail with these reasons, the last first, and then succeed.
    #[derive(Debug)]
    struct Away(Mutex<Vec<&'static str>>);

    impl EksAuth for Away {
        fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
            let error = Unavailable::other("no route");
            Box::pin(async { Err(error.into()) })
        }

        fn check(&self) -> Checking<'_> {
            let mut reasons = self.0.lock().unwrap();
            let found = reasons
                .pop()
                .map_or(Ok(()), |reason| Err(Unavailable::other(reason)));
            Box::pin(async { found })
        }
    }

    fn upstream(reasons: &[&'static str]) -> Upstream {
        Upstream {
            eks_auth: Arc::new(Away(Mutex::new(reasons.to_vec()))),
            clock: Arc::new(SystemClock),
            outage: Outage::default(),
            reachability: Reachability::new(&Readiness::new(true)),
            metrics: Arc::new(Metrics::new()),
            audit: AuditLog::off(),
        }
    }

    async fn ask_in_vain(upstream: &Upstream) {
        let (token, pod) = (
            Secret::from("token".to_owned()),
            IpAddr::from([10, 0, 0, 7]),
        );
        let subject = Subject::default();
        let asked = upstream.assume_role(&token, &subject, pod, PROBE_TIMEOUT);
        asked.await.unwrap_err();
    }

    #[test]
    fn each_cause_of_being_unready_is_logged_once() {
        let upstream = upstream(&["no route", "no route", "no credentials", "no credentials"]);
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            ask_in_vain(&upstream).await;
            let looked = timeout(PROBE_INTERVAL * 6, upstream.probe()).await;
            looked.unwrap_err();
        });
        let not_ready = lines
            .iter()
            .filter(|line| line["msg"].as_str().unwrap().starts_with("not ready"));
        let reasons: Vec<_> = not_ready.map(|line| line["reason"].clone()).collect();
        assert_eq!(reasons, ["no credentials", "no route"]);
    }

    /// EKS Auth whose probes take a second and find it or do not, as its exchanges do not or do at once.
    #[derive(Debug)]
    struct SlowToProbe {
        finds: bool,
    }

    impl EksAuth for SlowToProbe {
        fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
            let result = match self.finds {
                true => Err(Unavailable::other("no route").into()),
                false => Ok(session("cart", Timestamp::MIN)),
            };
            Box::pin(async { result })
        }

        fn check(&self) -> Checking<'_> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match self.finds {
                    true => Ok(()),
                    false => Err(Unavailable::other("no route")),
                }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_during_which_an_exchange_has_ended_shows_nothing() {
        for finds in [true, false] {
            let mut upstream = upstream(&[]);
            upstream.eks_auth = Arc::new(SlowToProbe { finds });
            let is_unreachable = || upstream.reachability.is_unreachable();
            let asking = async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let (token, subject) = (Secret::from("token".to_owned()), Subject::default());
                let pod = IpAddr::from([10, 0, 0, 7]);
                let asked = upstream.assume_role(&token, &subject, pod, PROBE_TIMEOUT);
                assert_eq!(asked.await.is_ok(), !finds);
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(is_unreachable(), finds, "as the exchange said");
                tokio::time::sleep(PROBE_INTERVAL).await;
                assert!(
                    !is_unreachable(),
                    "as a later probe said, or none was needed"
                );
            };
            tokio::select! {
                () = upstream.probe() => {}
                () = asking => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_exchange_recovery_is_probed_after_a_minute() {
        let upstream = upstream(&[]);
        let looked = timeout(PROBE_INTERVAL, upstream.probe()).await;
        looked.unwrap_err();
        assert!(!upstream.reachability.is_unreachable());
        ask_in_vain(&upstream).await;
        for passed in 0..70 {
            let looked = timeout(Duration::from_secs(1), upstream.probe()).await;
            looked.unwrap_err();
            let is_degraded = upstream.reachability.is_unreachable();
            assert_eq!(is_degraded, passed < 60, "after {passed} s");
        }
    }

    fn session(service_account: &str, expires: Timestamp) -> Session {
        let secret = || Secret::from("s".to_owned());
        let credentials = Credentials::new("key", secret(), secret(), expires);
        Session::new(credentials, "shop", service_account)
    }

    #[test]
    fn credentials_that_would_last_for_longer_than_any_session_are_refused() {
        let now = Timestamp::from_unix_secs(1_772_366_400);
        let mut upstream = upstream(&[]);
        upstream.clock = Arc::new(SettableClock::at(now));
        let check = |hours: u64| {
            let expires = now + Duration::from_secs(3600 * hours);
            upstream.check_expiration(session("cart", expires))
        };
        assert!(check(36).is_ok());
        let failure = check(37).unwrap_err();
        assert_eq!(failure.class, FailureClass::Malformed);
        let reason = failure.error.to_string();
        assert!(
            reason.ends_with("credentials.expiration is more than 36 h away"),
            "{reason}"
        );
    }

    #[test]
    fn a_session_of_another_service_account_than_the_verified_one_is_refused() {
        let now = Timestamp::from_unix_secs(1_772_366_400);
        let token = Issuer::new().token("shop", "cart").mint(now);
        let token = ServiceAccountToken::parse(&token).unwrap();
        let claimed = Subject::from(token.claims());
        let verified = Subject::Verified(Arc::new(BoundPod::of(token.claims()).unwrap()));
        for (subject, service_account, is_right) in [
            (&verified, "cart", true),
            (&verified, "till", false),
            (&claimed, "till", true),
        ] {
            let checked = check_subject(session(service_account, now), subject);
            assert_eq!(checked.is_ok(), is_right, "{subject:?}");
        }
    }

    #[test]
    fn the_audit_has_answers_without_an_exchange() {
        let now = Timestamp::from_unix_secs(1_772_366_400);
        let token = Issuer::new().token("shop", "cart").mint(now);
        let token = ServiceAccountToken::parse(&token).unwrap();
        let pod = BoundPod::of(token.claims()).unwrap();
        let written = Memory::default();
        let mut upstream = upstream(&[]);
        upstream.audit = AuditLog::to(written.clone());
        let [first, second] = [7, 8].map(|last| IpAddr::from([10, 0, 0, last]));
        upstream.note_verified(&pod, first);
        upstream.audit_hit(now, second, first, &Subject::from(token.claims()));
        let lines = written.lines();
        assert_eq!(lines.len(), 2);
        for (line, outcome, source) in [(&lines[0], "verified", first), (&lines[1], "hit", second)]
        {
            assert_eq!(line["outcome"], outcome);
            assert_eq!(line["source"], source.to_string());
            assert_eq!(line["service-account"], "cart");
        }
        assert_eq!(lines[1]["first-source"], first.to_string());
    }
}
