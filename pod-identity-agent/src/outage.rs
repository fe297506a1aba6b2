use std::sync::{Mutex, PoisonError};

use pod_identity_core::{Failure, FailureClass, Secret, ServiceAccountToken, UnverifiedClaims};
use tracing::{debug, info, warn};

use crate::audit::is_dns_name;
use crate::eks_auth::{EksAuthError, Session};

/// Says what is wrong with EKS Auth: once when it begins, once when it is over; in between it whispers.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// What the latest exchange was like. Held for the comparison only.
    trouble: Mutex<Option<Trouble>>,
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
        if self.change(None).is_some() {
            info!("EKS Auth answers again");
        }
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
                if self.change(Some(Trouble::Outage)) != Some(Trouble::Outage) {
                    warn!(%error, "EKS Auth does not give credentials now; what is held is served, and asking goes on");
                } else {
                    debug!(%error, "EKS Auth still does not give credentials");
                }
            }
            _ if error.is_unknown_cluster() => {
                if self.change(Some(Trouble::UnknownCluster)) != Some(Trouble::UnknownCluster) {
                    warn!(%error, cure = "check --cluster-name and the region", "EKS Auth does not know this cluster");
                } else {
                    debug!(%error, "EKS Auth still does not know this cluster");
                }
            }
            _ => {
                // An answer, if not the wished one: there is no outage.
                if self.change(None).is_some() {
                    info!("EKS Auth answers again");
                }
                let token = ServiceAccountToken::parse(token.expose()).ok();
                let claims = token.as_ref().map(ServiceAccountToken::claims);
                let named = |name: fn(&UnverifiedClaims) -> Option<&String>| {
                    claims.and_then(name).filter(|name| is_dns_name(name))
                };
                warn!(
                    %error,
                    "claimed-namespace" = named(|claims| claims.namespace.as_ref()),
                    "claimed-service-account" = named(|claims| claims.service_account.as_ref()),
                    "claimed-pod" = named(|claims| claims.pod.as_ref()),
                    "credentials refused"
                );
            }
        }
    }

    fn change(&self, to: Option<Trouble>) -> Option<Trouble> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut trouble, to)
    }
}
