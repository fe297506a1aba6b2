use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_identity_core::{Failure, FailureClass, Secret, ServiceAccountToken};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::eks_auth::exchange::{EksAuthError, Session};

/// Says what is wrong with EKS Auth: once when it begins, once when it is over; in between it whispers.
///
/// Where one exchange fails and the next does not, each would begin and end an outage: one that begins
/// again within a minute is whispered too.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Held for the comparison only.
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// What was said to have begun, and has not been said to be over.
    trouble: Option<Trouble>,
    latest: Option<(Trouble, Instant)>,
}

/// What is said once, because it is about EKS Auth and not about one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Outage,
    UnknownCluster,
}

impl Outage {
    pub(crate) fn note(&self, token: &Secret, result: &Result<Session, Failure<EksAuthError>>) {
        match result {
            Ok(session) => self.succeeded(session),
            Err(failure) => self.failed(failure, token),
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

    fn failed(&self, failure: &Failure<EksAuthError>, token: &Secret) {
        let error = &failure.error;
        match failure.class {
            FailureClass::Throttled | FailureClass::Transient => {
                if self.begin(Trouble::Outage) {
                    warn!(%error, "EKS Auth does not give credentials now; what is held is served, and asking goes on");
                } else {
                    debug!(%error, "EKS Auth still does not give credentials");
                }
            }
            _ if error.is_unknown_cluster() => {
                if self.begin(Trouble::UnknownCluster) {
                    warn!(%error, cure = "check --cluster-name and the region", "EKS Auth does not know this cluster");
                } else {
                    debug!(%error, "EKS Auth still does not know this cluster");
                }
            }
            _ => {
                // An answer, if not the wished one: there is no outage.
                self.end();
                let token = ServiceAccountToken::parse(token.expose()).ok();
                let claims = token.as_ref().map(ServiceAccountToken::claims);
                warn!(
                    %error,
                    "claimed-namespace" = claims.and_then(|claims| claims.namespace.as_deref()),
                    "claimed-service-account" = claims.and_then(|claims| claims.service_account.as_deref()),
                    "claimed-pod" = claims.and_then(|claims| claims.pod.as_deref()),
                    "credentials refused"
                );
            }
        }
    }

    /// Whether that is news.
    fn begin(&self, trouble: Trouble) -> bool {
        let mut said = self.said();
        let lately = |(latest, at): (Trouble, Instant)| latest == trouble && at.elapsed() < QUIET;
        if said.trouble == Some(trouble) || said.latest.is_some_and(lately) {
            return false;
        }
        said.trouble = Some(trouble);
        said.latest = Some((trouble, Instant::now()));
        true
    }

    fn end(&self) {
        let ended = self.said().trouble.take();
        if ended.is_some() {
            info!("EKS Auth answers again");
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After this long, the same trouble is news again.
const QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::telemetry::logging::tests::logged_in_virtual_time;

    #[test]
    fn where_every_other_exchange_fails_an_outage_is_said_once_a_minute_and_so_is_its_end() {
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            let (outage, token) = (Outage::default(), Secret::from("token".to_owned()));
            for exchange in 0..120 {
                let error = EksAuthError::Unreachable("no route".to_owned());
                let class = match exchange % 2 {
                    0 => FailureClass::Transient,
                    _ => FailureClass::Gone,
                };
                outage.note(&token, &Err(Failure::new(class, error)));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let said = |msg: &str| {
            let lines = lines.iter();
            lines
                .filter(|line| line["msg"].as_str().unwrap().starts_with(msg))
                .count()
        };
        assert_eq!(said("EKS Auth does not give credentials now"), 2);
        assert_eq!(said("EKS Auth answers again"), 2);
    }
}
