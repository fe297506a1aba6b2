use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Credentials, Failure, FailureClass, Secret, SlotError};

use crate::eks_auth::unavailable::Unavailable;

/// EKS Auth, as the agent needs it: one exchange of a token for a session.
///
/// [`SdkEksAuth`](crate::SdkEksAuth) is the real one. An implementation makes one attempt and does not
/// retry; the agent gives it a deadline and decides what comes next.
pub trait EksAuth: fmt::Debug + Send + Sync + 'static {
    /// Exchanges a service-account token for the credentials of its association's role.
    ///
    /// # Errors
    /// [`EksAuthError`], with its class in the [`Failure`].
    fn assume_role<'a>(&'a self, token: &'a Secret) -> Exchange<'a>;

    /// Checks whether an exchange could succeed: the agent's own credentials, and a connection to the
    /// service. The agent calls it until it or an exchange succeeds, and again during an outage without exchanges.
    /// The default implementation succeeds.
    ///
    /// # Errors
    /// Fails with the cause, which the readiness probe reports.
    fn check(&self) -> Checking<'_> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns how far the node's clock is behind that of EKS Auth, in seconds, negative if it is ahead,
    /// for a metric. The default implementation returns 0.
    fn clock_skew_seconds(&self) -> f64 {
        0.0
    }
}

/// So that an EKS Auth can be shared.
impl<T: EksAuth + ?Sized> EksAuth for Arc<T> {
    fn assume_role<'a>(&'a self, token: &'a Secret) -> Exchange<'a> {
        (**self).assume_role(token)
    }

    fn check(&self) -> Checking<'_> {
        (**self).check()
    }

    fn clock_skew_seconds(&self) -> f64 {
        (**self).clock_skew_seconds()
    }
}

/// The future of [`EksAuth::assume_role`].
pub type Exchange<'a> =
    Pin<Box<dyn Future<Output = Result<Session, Failure<EksAuthError>>> + Send + 'a>>;

/// The future of [`EksAuth::check`].
pub type Checking<'a> = Pin<Box<dyn Future<Output = Result<(), Unavailable>> + Send + 'a>>;

/// A session that EKS Auth has made, complete.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Session {
    /// The credentials, with the account of the role.
    pub credentials: Credentials,
    /// The Kubernetes namespace of the token, as EKS Auth verified it.
    pub namespace: String,
    /// The service account of the token, as EKS Auth verified it.
    pub service_account: String,
    /// The association that led to the role: `a-` and 17 letters or digits.
    pub association_id: String,
    /// `arn:aws:sts::{account}:assumed-role/{role}/{session}`.
    pub assumed_role_arn: String,
    /// The request id of the exchange.
    pub request_id: Option<String>,
}

impl Session {
    /// Returns a session with the members that every success has.
    pub fn new(
        credentials: Credentials,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Self {
        Self {
            credentials,
            namespace: namespace.into(),
            service_account: service_account.into(),
            association_id: String::new(),
            assumed_role_arn: String::new(),
            request_id: None,
        }
    }
}

/// Why an exchange failed. The client gets the `Display` text, which contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EksAuthError {
    /// EKS Auth answered with an error. The text is the official agent's.
    #[error(
        "[{}]: ({code}): {message}, fault: {}",
        request_id.as_deref().unwrap_or_default(),
        if *status < 500 { "client" } else { "server" }
    )]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code, such as `AccessDeniedException`.
        code: String,
        /// The service's message, with the token replaced.
        message: String,
        /// The request id, to give to AWS support.
        request_id: Option<String>,
    },
    /// No answer of EKS Auth: a failed connection, a timeout, a proxy's error, no credentials of the agent's
    /// own.
    #[error("EKS Auth could not be asked: {0}")]
    Unreachable(#[source] Unavailable),
    /// An incomplete success.
    #[error("error getting credentials to cache: invalid response from server: {0}")]
    Malformed(String),
    /// A success that cannot be used, or an attempt without an answer.
    #[error(transparent)]
    Slot(#[from] SlotError),
}

impl From<Unavailable> for Failure<EksAuthError> {
    /// Trying again may help: the failure is transient.
    fn from(reason: Unavailable) -> Self {
        Self::new(FailureClass::Transient, EksAuthError::Unreachable(reason))
    }
}

impl EksAuthError {
    /// No answer within the attempt's time.
    pub(crate) fn timed_out(timeout: Duration) -> Failure<Self> {
        Unavailable::TimedOut(timeout).into()
    }

    /// The text for the log and for `/readyz` where pods cannot ask; see [`Unavailable::in_full`].
    pub(crate) fn in_full(&self) -> String {
        match self {
            Self::Unreachable(reason) => {
                format!("EKS Auth could not be asked: {}", reason.in_full())
            }
            _ => self.to_string(),
        }
    }

    /// The value of this error in a metric's label. Label values come from a fixed set: a code that EKS
    /// Auth does not document is `Other`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } => {
                ErrorCode::from_name(code).map_or("Other", ErrorCode::name)
            }
            Self::Unreachable(_) => "Unreachable",
            Self::Malformed(_) => "Malformed",
            Self::Slot(_) => "Expired",
        }
    }

    /// Returns whether the error is about the cluster rather than the token: a missing association is a 404 too.
    pub(crate) fn is_unknown_cluster(&self) -> bool {
        match self {
            Self::Refused {
                status: 404,
                message,
                ..
            } => message.starts_with("No cluster found"),
            _ => false,
        }
    }

    /// Returns whether the client gets this error instead of a retryable 503: a refusal, or an unusable
    /// success.
    pub(crate) fn is_own_answer(&self) -> bool {
        match self {
            Self::Refused { status, code, .. } => {
                !FailureClass::of(*status, Some(code)).is_retryable()
            }
            Self::Unreachable(_) => false,
            Self::Malformed(_) => true,
            Self::Slot(error) => matches!(error, SlotError::Expiring { .. }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, message: &str) -> EksAuthError {
        EksAuthError::Refused {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: None,
        }
    }

    #[test]
    fn an_implementation_without_a_clock_has_no_skew_and_is_within_reach() {
        #[derive(Debug)]
        struct Plain;

        impl EksAuth for Plain {
            fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
                Box::pin(async { Err(EksAuthError::timed_out(Duration::from_secs(1))) })
            }
        }

        assert_eq!(Plain.clock_skew_seconds(), 0.0);
        assert_eq!(Arc::new(Plain).clock_skew_seconds(), 0.0);
    }

    #[test]
    fn only_a_missing_cluster_is_about_the_cluster() {
        let unknown = "No cluster found for name: shop.";
        for (error, is_unknown) in [
            (refused(404, "ResourceNotFoundException", unknown), true),
            (refused(400, "ResourceNotFoundException", unknown), false),
            (
                refused(404, "ResourceNotFoundException", "no association"),
                false,
            ),
            (EksAuthError::Malformed(unknown.to_owned()), false),
        ] {
            assert_eq!(error.is_unknown_cluster(), is_unknown, "{error}");
        }
    }

    #[test]
    fn a_client_gets_a_refusal_and_is_told_to_try_again_after_any_other_failure() {
        let unreachable = EksAuthError::Unreachable(Unavailable::TimedOut(Duration::from_secs(1)));
        for (error, is_own, label) in [
            (
                refused(400, "AccessDeniedException", "no"),
                true,
                "AccessDeniedException",
            ),
            (refused(400, "UnheardOfException", "no"), true, "Other"),
            (
                refused(500, "InternalServerException", "no"),
                false,
                "InternalServerException",
            ),
            (
                refused(429, "ThrottlingException", "slow"),
                false,
                "ThrottlingException",
            ),
            (unreachable, false, "Unreachable"),
            (
                EksAuthError::Malformed("no subject".to_owned()),
                true,
                "Malformed",
            ),
            (EksAuthError::Slot(SlotError::NotBegun), false, "Expired"),
            (
                EksAuthError::Slot(SlotError::Expiring {
                    left: Duration::ZERO,
                }),
                true,
                "Expired",
            ),
        ] {
            assert_eq!(error.is_own_answer(), is_own, "{error}");
            assert_eq!(error.label(), label, "{error}");
        }
    }

    #[test]
    fn a_shared_implementation_tells_its_own_clock_skew() {
        #[derive(Debug)]
        struct Behind;

        impl EksAuth for Behind {
            fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
                Box::pin(async { Err(EksAuthError::timed_out(Duration::from_secs(1))) })
            }

            fn clock_skew_seconds(&self) -> f64 {
                90.5
            }
        }

        assert_eq!(EksAuth::clock_skew_seconds(&Arc::new(Behind)), 90.5);
    }

    #[test]
    fn the_log_has_more_of_a_failure_than_pods_are_told() {
        let reason = Unavailable::NotEksAuth {
            status: 403,
            excerpt: "blocked by policy 7".to_owned(),
        };
        let told = format!("EKS Auth could not be asked: {reason}");
        let unreachable = EksAuthError::Unreachable(reason);
        assert_eq!(unreachable.to_string(), told);
        let full = unreachable.in_full();
        assert_eq!(full, format!("{told}: blocked by policy 7"));
        let refused = refused(403, "AccessDeniedException", "no");
        assert_eq!(refused.in_full(), refused.to_string());
    }
}
