//! Mocks and fixtures for what speaks Amazon EKS Pod Identity, in the process of the test.
//!
//! [`MockEksAuth`] is the service that the node agent calls: it verifies tokens, knows associations,
//! mints credentials, fails on demand and records what it saw. [`Issuer`] mints projected
//! service-account tokens, [`ProjectedVolume`] projects and rotates them as kubelet does, and
//! [`SettableClock`] is the time of all of them.
//!
//! It is not a security boundary and nothing for production: its signing key is published, its
//! credentials are accepted by nobody, SigV4 signatures are not verified, and what it records is
//! never forgotten.
//!
//! # Example: a pod's token, an association, and a service that throttles once
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pod_identity_core::wire::eks_auth::ErrorCode;
//! use pod_identity_core::{Clock, SystemClock};
//! use pod_identity_testkit::{MockEksAuth, ProjectedVolume};
//!
//! let eks = MockEksAuth::start().await;
//! eks.associate("shop", "cart", "arn:aws:iam::111122223333:role/cart");
//! eks.inject(ErrorCode::Throttling);
//!
//! let volume = ProjectedVolume::new()?;
//! volume.write(eks.issuer().token("shop", "cart").mint(SystemClock.now()))?;
//! // … run what is tested with `eks.endpoint()` and `volume.token_path()` …
//! eks.assert_no_secrets("what it has logged");
//! # Ok(())
//! # }
//! ```

mod answer;
mod association;
mod clock;
mod cluster;
mod eks_auth;
mod eks_auth_service;
mod fault;
mod faults;
mod gate;
mod ids;
mod issuer;
mod recorder;
mod secrets;
mod server;
mod service_error;
mod sync;
mod token_builder;
mod volume;

pub use association::Association;
pub use clock::SettableClock;
pub use eks_auth::{MockEksAuth, MockEksAuthBuilder};
pub use fault::{Fault, Responder};
pub use gate::Gate;
pub use issuer::{Issuer, VerifyError};
pub use recorder::{Outcome, RecordedRequest};
pub use secrets::assert_no_secrets;
pub use service_error::ServiceError;
pub use token_builder::TokenBuilder;
pub use volume::ProjectedVolume;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
