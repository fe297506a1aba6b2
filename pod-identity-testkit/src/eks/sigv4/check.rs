use std::collections::BTreeMap;
use std::time::Duration;

use http::request::Parts;
use pod_identity_core::{Secret, Timestamp};
use serde::Deserialize;

use crate::eks::session::{Minted, Sessions};
use crate::eks::sigv4::signature::{NoSignature, Signature, amz_date};

/// How [`MockEksAuth`](crate::MockEksAuth) checks the SigV4 signatures of requests to EKS Auth and to the API of
/// EKS.
///
/// The signature of `GetCallerIdentity` is always verified, except for its time: the answer is the signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignatureCheck {
    /// Only requires that a signature is present. The default: clients may have any credentials.
    #[default]
    Off,
    /// [Records](crate::RecordedRequest::signature_error) an error, and answers the request.
    Warn,
    /// Records an error, and refuses the request with the error of AWS.
    Enforce,
}

/// The error of a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The request has no signature.
    #[error("Missing Authentication Token")]
    Missing,
    /// The signature lacks a part.
    #[error(
        "Authorization header requires 'Credential' parameter. Authorization header requires \
         'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. \
         Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
    )]
    Incomplete,
    /// The signature is for another service.
    #[error("Credential should be scoped to correct service: '{0}'.")]
    Service(&'static str),
    /// The signature is for another region.
    #[error("Credential should be scoped to a valid region.")]
    Region,
    /// The access key id is unknown, or the session token does not belong to it. Add the key with
    /// [`node_key`](crate::MockEksAuthBuilder::node_key), or use minted credentials.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The credentials of the session have expired.
    #[error("The security token included in the request is expired")]
    Expired,
    /// The signature is older than 5 minutes, or than the validity of a presigned request. Use the same clock for
    /// the mock and the signer.
    #[error("Signature expired: {} is now earlier than {} ({} - {} min.)", amz_date(*.at), amz_date(*.now - *.allowed), amz_date(*.now), .allowed.as_secs() / 60)]
    Old {
        /// The time of signing.
        at: Timestamp,
        /// The mock's time.
        now: Timestamp,
        /// How long the signature was valid.
        allowed: Duration,
    },
    /// The time of signing is more than 5 minutes in the future.
    #[error("Signature not yet current: {} is still later than {} ({} + 5 min.)", amz_date(*.at), amz_date(*.now + SKEW), amz_date(*.now))]
    Early {
        /// The time of signing.
        at: Timestamp,
        /// The mock's time.
        now: Timestamp,
    },
    /// The signature does not match: the request was changed, or another secret key signed it.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your \
         AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

/// The protocol of a service's errors.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dialect {
    RestJson,
    Query,
}

impl SignatureError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Incomplete => 400,
            _ => 403,
        }
    }

    pub(crate) fn code(&self, dialect: Dialect) -> &'static str {
        let (rest_json, query) = match self {
            Self::Missing => (
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
            ),
            Self::Incomplete => ("IncompleteSignatureException", "IncompleteSignature"),
            Self::UnknownKey => ("UnrecognizedClientException", "InvalidClientTokenId"),
            Self::Expired => ("ExpiredTokenException", "ExpiredToken"),
            Self::Service(_)
            | Self::Region
            | Self::Old { .. }
            | Self::Early { .. }
            | Self::Mismatch => ("InvalidSignatureException", "SignatureDoesNotMatch"),
        };
        match dialect {
            Dialect::RestJson => rest_json,
            Dialect::Query => query,
        }
    }
}

impl From<NoSignature> for SignatureError {
    fn from(problem: NoSignature) -> Self {
        match problem {
            NoSignature::Missing => Self::Missing,
            NoSignature::Incomplete => Self::Incomplete,
        }
    }
}

/// The signer of a request.
#[derive(Debug)]
pub(crate) enum Signer {
    /// A key from the builder.
    Node(String),
    Session(Box<Minted>),
}

/// The known keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) nodes: BTreeMap<String, Secret>,
    pub(crate) sessions: Sessions,
}

/// The required scope of a signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) service: &'static str,
    /// `None` accepts any region.
    pub(crate) region: Option<&'a str>,
    /// Whether to check the time of signing.
    pub(crate) timely: bool,
}

impl Keys {
    /// Verifies the signature of a request and returns its signer.
    pub(crate) fn signer(
        &self,
        scope: Scope<'_>,
        head: &Parts,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Signer, SignatureError> {
        let signature = Signature::of(head)?;
        scope.check(&signature, now)?;
        let signer = self.known(&signature)?;
        if !signature.is_by(self.secret(&signer)?, head, body) {
            return Err(SignatureError::Mismatch);
        }
        match &signer {
            Signer::Session(minted) if minted.session.expiration <= now => {
                Err(SignatureError::Expired)
            }
            _ => Ok(signer),
        }
    }

    fn known(&self, signature: &Signature) -> Result<Signer, SignatureError> {
        let id = &signature.access_key_id;
        let token = signature.session_token.as_ref();
        if let Some(minted) = self.sessions.get(id) {
            let is_its_own = token == Some(&minted.session_token);
            return is_its_own
                .then(|| Signer::Session(Box::new(minted)))
                .ok_or(SignatureError::UnknownKey);
        }
        // STS knows a session token only with the temporary key that it was made for.
        let fits = match (id.get(..4), token) {
            (Some("AKIA"), Some(_)) | (Some("ASIA"), None) => false,
            _ => self.nodes.contains_key(id),
        };
        fits.then(|| Signer::Node(id.clone()))
            .ok_or(SignatureError::UnknownKey)
    }

    fn secret<'a>(&'a self, signer: &'a Signer) -> Result<&'a Secret, SignatureError> {
        match signer {
            Signer::Node(id) => self.nodes.get(id).ok_or(SignatureError::UnknownKey),
            Signer::Session(minted) => Ok(&minted.secret_access_key),
        }
    }
}

impl Scope<'_> {
    fn check(self, signature: &Signature, now: Timestamp) -> Result<(), SignatureError> {
        if signature.service != self.service {
            return Err(SignatureError::Service(self.service));
        }
        if self.region.is_some_and(|region| region != signature.region) {
            return Err(SignatureError::Region);
        }
        let at = signature.at;
        let allowed = signature.expires.map_or(SKEW, Duration::from_secs);
        if self.timely && at + allowed < now {
            return Err(SignatureError::Old { at, now, allowed });
        }
        if self.timely && now + SKEW < at {
            return Err(SignatureError::Early { at, now });
        }
        Ok(())
    }
}

const SKEW: Duration = Duration::from_secs(5 * 60);
