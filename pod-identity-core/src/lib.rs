//! The protocol of Amazon EKS Pod Identity and its refresh logic, without I/O.
//!
//! This crate holds what the provider, the agent and the testkit share: credentials and tokens whose
//! `Debug` hides the secrets, the endpoint rules of the container-credentials chain, both wire formats,
//! the token file reader, and [`Slot`], the life of one set of credentials as a deterministic state
//! machine.
//!
//! It is not an HTTP client or server, and it has no async runtime, no sockets and no entropy. Time is
//! an argument of all logic; [`SystemClock`] reads the wall clock for the drivers. The only other input is
//! the token file. The crates `pod-identity-provider` and `pod-identity-agent` drive it.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `digest` | no | `TokenDigest`, the SHA-256 of a token, and `SlotKey`, the key of its slot |
//! | `cache` | no | `SlotCache`, a bounded cache of slots, and `KeyedLogSuppressor` |
//! | both | | `VerifiedTokens`, which slot of a cache a token belongs to |
//!
//! # Example: the life of one set of credentials
//! ```
//! use std::sync::Arc;
//! use pod_identity_core::{Ask, Credentials, RefreshPolicy, Secret, Slot, SlotError, Timestamp};
//!
//! let mut slot = Slot::<Credentials, SlotError>::new(Arc::new(RefreshPolicy::provider()), 1);
//! let now = Timestamp::from_unix_secs(1_772_366_400);
//!
//! // A caller asks. The slot holds nothing, so the caller gets a ticket, and one fetch is to start.
//! let Ask::Pending(ticket) = slot.ask(now) else { unreachable!() };
//! let attempt = slot.poll_fetch(now).expect("a fetch is wanted");
//! assert!(slot.poll_fetch(now).is_none(), "single flight");
//!
//! // The driver reports the result, which is the outcome of each ticket.
//! let expiry = now + std::time::Duration::from_secs(6 * 3600);
//! let secret = || Secret::from("…".to_owned());
//! let fetched = Credentials::new("ASIAEXAMPLE", secret(), secret(), expiry);
//! slot.handle_fetched(attempt, now, Ok(fetched));
//! assert_eq!(slot.outcome(ticket).unwrap().unwrap().access_key_id(), "ASIAEXAMPLE");
//!
//! // The next deadline is the refresh, 65 to 77 minutes before the expiry.
//! assert!(slot.poll_timeout().unwrap() <= expiry - std::time::Duration::from_secs(65 * 60));
//! ```

mod backoff;
#[cfg(feature = "cache")]
mod cache;
mod clock;
mod credentials;
mod endpoint;
mod failure;
mod json_object;
mod log;
mod printable;
mod secret;
mod slot;
mod timestamp;
mod token;
mod token_bucket;
pub mod wire;

pub use backoff::Backoff;
#[cfg(all(feature = "cache", feature = "digest"))]
pub use cache::{Adopted, VerifiedToken, VerifiedTokens};
#[cfg(feature = "cache")]
pub use cache::{Asked, CacheAttempt, CacheLimits, Found, Merge, SlotCache};
pub use clock::{Clock, SystemClock};
pub use credentials::Credentials;
pub use endpoint::{Endpoint, EndpointError, EndpointProblem, Host, variables};
pub use failure::{Failure, FailureClass};
pub use json_object::JsonObject;
#[cfg(feature = "cache")]
pub use log::KeyedLogSuppressor;
pub use log::LogSuppressor;
pub use printable::{is_printable, printable, with_causes, without_long_words};
pub use secret::Secret;
pub use slot::{
    Ask, Attempt, CredentialSet, Expiring, RefreshPolicy, Slot, SlotError, Ticket, Window,
};
#[cfg(feature = "digest")]
pub use slot::{PodDigest, SlotKey};
pub use timestamp::{Timestamp, TimestampError, epoch_seconds};
#[cfg(feature = "digest")]
pub use token::TokenDigest;
pub use token::{
    AuthorizationToken, AuthorizationTokenError, BoundPod, ClaimError, KubernetesName,
    ServiceAccountToken, TokenError, TokenFile, TokenFileError, TokenFileProblem, TokenHeader,
    UnverifiedClaims, Validity,
};
pub use token_bucket::TokenBucket;
