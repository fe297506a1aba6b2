use std::sync::Mutex;
use std::sync::PoisonError;

use pod_identity_core::{Failure, FailureClass, Secret, ServiceAccountToken};
use tracing::{debug, info, warn};

use crate::eks_auth::{Checking, EksAuth, EksAuthError, Exchange, Session};

/// Says what is wrong with EKS Auth: once when it begins, once when it is over; in between it whispers.
///
/// Wraps any [`EksAuth`].
#[derive(Debug)]
pub(crate) struct Spoken<A> {
    inner: A,
    /// What the latest exchange was like. Held for the comparison only.
    trouble: Mutex<Option<FailureClass>>,
}

impl<A: EksAuth> Spoken<A> {
    pub(crate) fn new(inner: A) -> Self {
        Self {
            inner,
            trouble: Mutex::new(None),
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
                if self.change(Some(failure.class)).is_none() {
                    warn!(%error, "EKS Auth does not give credentials now; what is held is served, and asking goes on");
                } else {
                    debug!(%error, "EKS Auth still does not give credentials");
                }
            }
            _ => {
                // An answer, if not the wished one: there is no outage.
                if self.change(None).is_some() {
                    info!("EKS Auth answers again");
                }
                let claims = ServiceAccountToken::parse(token.expose()).ok();
                let claims = claims.as_ref().map(ServiceAccountToken::claims);
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

    fn change(&self, to: Option<FailureClass>) -> Option<FailureClass> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut trouble, to)
    }
}

impl<A: EksAuth> EksAuth for Spoken<A> {
    fn assume_role<'a>(&'a self, token: &'a Secret) -> Exchange<'a> {
        Box::pin(async move {
            let result = self.inner.assume_role(token).await;
            match &result {
                Ok(session) => self.succeeded(session),
                Err(failure) => self.failed(failure, token),
            }
            result
        })
    }

    fn check(&self) -> Checking<'_> {
        self.inner.check()
    }
}
