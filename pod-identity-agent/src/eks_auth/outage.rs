use std::sync::PoisonError;
use std::time::Duration;

use pod_identity_core::{Failure, FailureClass, KeyedLogSuppressor, KubernetesName, LogSuppressor};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::eks_auth::exchange::{EksAuthError, Session};
use crate::eks_auth::subject::Subject;
use crate::sync::{Mutex, MutexGuard};

/// Logs failures of EKS Auth: when an outage begins, then at most once per minute, and when it ends. A refusal is
/// logged at once, and then at most once per minute for each pod and error: a pod without an association may ask
/// in a loop. The audit has a line for each.
#[derive(Debug)]
pub(crate) struct Outage {
    /// Held while a line is written, so that the lines come in the order of what they tell.
    logged: Mutex<Logged>,
}

/// The suppressed failures. Those without a key are about EKS Auth and not about one pod.
#[derive(Debug)]
struct Logged {
    outage: LogSuppressor<Instant>,
    unknown_cluster: LogSuppressor<Instant>,
    refused: KeyedLogSuppressor<Refused, Instant>,
    /// Apart, because a process can claim ever new names, and so fill a table.
    refused_claims: KeyedLogSuppressor<Refused, Instant>,
}

/// What is refused, and why. The message of a refusal is not part of it: it may differ each time.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Refused {
    namespace: Option<KubernetesName>,
    service_account: Option<KubernetesName>,
    pod: Option<KubernetesName>,
    /// That of EKS Auth, or else of the metrics.
    code: String,
}

impl Default for Outage {
    fn default() -> Self {
        Self {
            logged: Mutex::new(Logged {
                outage: LogSuppressor::new(INTERVAL),
                unknown_cluster: LogSuppressor::new(INTERVAL),
                refused: KeyedLogSuppressor::new(INTERVAL, MAX_REFUSED),
                refused_claims: KeyedLogSuppressor::new(INTERVAL, MAX_REFUSED),
            }),
        }
    }
}

impl Outage {
    pub(crate) fn note(&self, subject: &Subject, result: &Result<Session, Failure<EksAuthError>>) {
        match result {
            Ok(session) => self.succeeded(session),
            Err(failure) => self.failed(failure, subject),
        }
    }

    fn succeeded(&self, session: &Session) {
        self.end();
        debug!(
            namespace = session.namespace,
            "service-account" = session.service_account,
            association = session.association_id,
            "role-session" = session.assumed_role_arn,
            "request-id" = session.request_id,
            expiration = %session.credentials.expiration(),
            "credentials issued"
        );
    }

    fn failed(&self, failure: &Failure<EksAuthError>, subject: &Subject) {
        let error = &failure.error;
        match failure.class {
            FailureClass::Throttled | FailureClass::Transient => {
                let error = error.in_full();
                let mut logged = self.lock();
                if let Some(suppressed) = logged.outage.occurred(Instant::now()) {
                    warn!(
                        error,
                        suppressed,
                        "EKS Auth does not give credentials now; cached ones are served, and exchanges are retried"
                    );
                } else {
                    debug!(error, "EKS Auth still does not give credentials");
                }
            }
            _ if error.is_unknown_cluster() => {
                let mut logged = self.lock();
                if let Some(suppressed) = logged.unknown_cluster.occurred(Instant::now()) {
                    warn!(%error, suppressed, remedy = "check --cluster-name and the region", "EKS Auth does not know this cluster");
                } else {
                    debug!(%error, "EKS Auth still does not know this cluster");
                }
            }
            _ => {
                // A refusal is an answer: there is no outage.
                self.end();
                let mut logged = self.lock();
                let Some(suppressed) = logged.refused(subject, error) else {
                    return debug!(%error, "credentials still refused");
                };
                let (verified, claimed) = (subject.verified(), subject.claimed());
                warn!(
                    %error,
                    namespace = verified.map(|pod| &*pod.namespace),
                    "service-account" = verified.map(|pod| &*pod.service_account),
                    pod = verified.map(|pod| &*pod.name),
                    "claimed-namespace" = claimed.and_then(|names| names.namespace.as_deref()),
                    "claimed-service-account" = claimed.and_then(|names| names.service_account.as_deref()),
                    "claimed-pod" = claimed.and_then(|names| names.pod.as_deref()),
                    suppressed,
                    "credentials refused"
                );
            }
        }
    }

    fn end(&self) {
        let mut logged = self.lock();
        // Both are checked: either can be open.
        if logged.outage.recovered() | logged.unknown_cluster.recovered() {
            info!("EKS Auth answers again");
        }
    }

    /// Ends the outage without a line. Returns whether the log has said that one began, and not that it ended.
    #[cfg(all(test, interleaved))]
    pub(crate) fn take_open(&self) -> bool {
        self.lock().outage.recovered()
    }

    fn lock(&self) -> MutexGuard<'_, Logged> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logged {
    /// Takes note of a refusal, as [`KeyedLogSuppressor::occurred`] does.
    fn refused(&mut self, subject: &Subject, error: &EksAuthError) -> Option<u64> {
        let code = match error {
            EksAuthError::Refused { code, .. } => code.clone(),
            _ => error.label().to_owned(),
        };
        let (table, [namespace, service_account, pod]) = match subject {
            Subject::Verified(pod) => {
                let names = [&pod.namespace, &pod.service_account, &pod.name];
                (&mut self.refused, names.map(|name| Some(name.clone())))
            }
            Subject::Claimed(names) => {
                let names = [&names.namespace, &names.service_account, &names.pod];
                (&mut self.refused_claims, names.map(Option::clone))
            }
        };
        let refused = Refused {
            namespace,
            service_account,
            pod,
            code,
        };
        table.occurred(Instant::now(), refused)
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

/// Pods and errors, and so the most lines per minute about refusals of verified pods, and of claimed ones.
const MAX_REFUSED: usize = 512;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pod_identity_core::{BoundPod, Credentials, Secret, ServiceAccountToken, Timestamp};
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::eks_auth::subject::ClaimedNames;
    use crate::eks_auth::unavailable::Unavailable;
    use crate::telemetry::logging::tests::logged_in_virtual_time;

    #[test]
    fn if_every_other_exchange_fails_an_outage_and_its_end_are_logged_once_a_minute() {
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            let (outage, subject) = (Outage::default(), Subject::default());
            for exchange in 0..120 {
                let error = EksAuthError::Unreachable(Unavailable::other("no route"));
                let class = match exchange % 2 {
                    0 => FailureClass::Transient,
                    _ => FailureClass::Gone,
                };
                outage.note(&subject, &Err(Failure::new(class, error)));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let count = |msg: &str| {
            let lines = lines.iter();
            lines
                .filter(|line| line["msg"].as_str().unwrap().starts_with(msg))
                .count()
        };
        assert_eq!(count("EKS Auth does not give credentials now"), 2);
        assert_eq!(count("EKS Auth answers again"), 2);
    }

    #[test]
    fn an_unknown_cluster_is_logged_once_and_ends_with_the_first_credentials() {
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            let (outage, subject) = (Outage::default(), Subject::default());
            let unknown = EksAuthError::Refused {
                status: 404,
                code: "ResourceNotFoundException".to_owned(),
                message: "No cluster found for name: shop.".to_owned(),
                request_id: None,
            };
            let away = EksAuthError::Unreachable(Unavailable::other("no route"));
            let secret = || Secret::from("s".to_owned());
            let credentials = Credentials::new("key", secret(), secret(), Timestamp::MIN);
            let session = Session::new(credentials, "shop", "cart");
            for _ in 0..3 {
                let unknown = Failure::new(FailureClass::Denied, unknown.clone());
                outage.note(&subject, &Err(unknown));
            }
            // Both have been logged: one end is enough.
            outage.note(&subject, &Err(Failure::new(FailureClass::Transient, away)));
            outage.note(&subject, &Ok(session));
        });
        let messages: Vec<_> = lines
            .iter()
            .map(|line| line["msg"].as_str().unwrap().split(';').next().unwrap())
            .collect();
        assert_eq!(
            messages,
            [
                "EKS Auth does not know this cluster",
                "EKS Auth does not give credentials now",
                "EKS Auth answers again"
            ]
        );
    }

    #[test]
    fn a_refusal_is_logged_once_a_minute_for_each_pod_and_code_with_the_number_suppressed() {
        let refused = |code: &str, request: u32| EksAuthError::Refused {
            status: 404,
            code: code.to_owned(),
            message: "No association found for the pod.".to_owned(),
            request_id: Some(request.to_string()),
        };
        let claimed = |pod: &str| {
            Subject::Claimed(ClaimedNames {
                pod: KubernetesName::subdomain(pod),
                ..ClaimedNames::default()
            })
        };
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            let outage = Outage::default();
            let (first, second) = (claimed("cart-0"), claimed("cart-1"));
            for request in 0..120 {
                for (subject, code) in [
                    (&first, "ResourceNotFoundException"),
                    (&first, "AccessDeniedException"),
                    (&second, "AccessDeniedException"),
                ] {
                    let refused = Failure::new(FailureClass::Denied, refused(code, request));
                    outage.note(subject, &Err(refused));
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let lines: Vec<_> = lines
            .iter()
            .map(|line| {
                assert_eq!(line["msg"], "credentials refused");
                let code = line["error"].as_str().unwrap().split(['(', ')']).nth(1);
                let pod = line["claimed-pod"].as_str().unwrap();
                (pod, code.unwrap(), line["suppressed"].as_u64().unwrap())
            })
            .collect();
        let (gone, denied) = ("ResourceNotFoundException", "AccessDeniedException");
        let minute = |suppressed| {
            [
                ("cart-0", gone, suppressed),
                ("cart-0", denied, suppressed),
                ("cart-1", denied, suppressed),
            ]
        };
        assert_eq!(lines, [minute(0), minute(59)].concat());
    }

    #[test]
    fn tokens_that_claim_ever_new_names_suppress_no_refusal_of_a_verified_pod() {
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            let outage = Outage::default();
            let refused = || {
                let error = EksAuthError::Malformed("no keys".to_owned());
                Err(Failure::new(FailureClass::Malformed, error))
            };
            for number in 0..1_000 {
                let names = ClaimedNames {
                    pod: KubernetesName::subdomain(&format!("pod-{number}")),
                    ..ClaimedNames::default()
                };
                outage.note(&Subject::Claimed(names), &refused());
            }
            let now = Timestamp::from_unix_secs(1_772_366_400);
            let token = pod_identity_testkit::Issuer::new().token("shop", "cart");
            let token = ServiceAccountToken::parse(&token.mint(now)).unwrap();
            let pod = BoundPod::of(token.claims()).unwrap();
            outage.note(&Subject::Verified(Arc::new(pod)), &refused());
        });
        assert_eq!(lines.len(), MAX_REFUSED + 1);
        assert_eq!(lines[MAX_REFUSED]["service-account"], "cart");
    }
}
