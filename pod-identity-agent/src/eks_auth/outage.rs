use std::sync::PoisonError;
use std::time::Duration;

use pod_identity_core::{Failure, FailureClass, LogSuppressor};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::eks_auth::exchange::{EksAuthError, Session};
use crate::eks_auth::subject::Subject;
use crate::sync::{Mutex, MutexGuard};

/// Logs failures of EKS Auth: when an outage begins, then at most once per minute, and when it ends. Every
/// refusal is logged, because each is about another token.
#[derive(Debug)]
pub(crate) struct Outage {
    /// Held while a line is written, so that the lines come in the order of what they tell.
    logged: Mutex<Logged>,
}

/// The suppressed failures, which are about EKS Auth and not about one pod.
#[derive(Debug)]
struct Logged {
    outage: LogSuppressor<Instant>,
    unknown_cluster: LogSuppressor<Instant>,
}

impl Default for Outage {
    fn default() -> Self {
        Self {
            logged: Mutex::new(Logged {
                outage: LogSuppressor::new(INTERVAL),
                unknown_cluster: LogSuppressor::new(INTERVAL),
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
                let (verified, claimed) = (subject.verified(), subject.claimed());
                warn!(
                    %error,
                    namespace = verified.map(|pod| &*pod.namespace),
                    "service-account" = verified.map(|pod| &*pod.service_account),
                    pod = verified.map(|pod| &*pod.name),
                    "claimed-namespace" = claimed.and_then(|names| names.namespace.as_deref()),
                    "claimed-service-account" = claimed.and_then(|names| names.service_account.as_deref()),
                    "claimed-pod" = claimed.and_then(|names| names.pod.as_deref()),
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

const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use pod_identity_core::{Credentials, Secret, Timestamp};
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
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
}
