//! Tokens: where they are read, what they claim, and when they are valid.

mod authorization_token;
mod bound_pod;
mod kubernetes_name;
mod service_account_token;
mod token_file;
mod validity;

pub use authorization_token::{AuthorizationToken, AuthorizationTokenError};
pub use bound_pod::BoundPod;
pub use kubernetes_name::KubernetesName;
#[cfg(feature = "digest")]
pub use service_account_token::TokenDigest;
pub use service_account_token::{ServiceAccountToken, TokenError, TokenHeader, UnverifiedClaims};
pub use token_file::{TokenFile, TokenFileError, TokenFileProblem};
pub use validity::{ClaimError, Validity};
