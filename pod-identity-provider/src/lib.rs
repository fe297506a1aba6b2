//! AWS credentials for a pod: fetched from the EKS Pod Identity agent (or any
//! other container-credentials endpoint), refreshed in the background before they are needed.
//!
//! [`PodIdentityProvider`] is the entry type. It works with the AWS SDK, as a `ProvideCredentials`, and
//! without. It is not a default credential chain: it reads the container variables and nothing else.
//!
//! # Quick start
//! With the AWS SDK (feature `aws`, on by default):
#![cfg_attr(feature = "aws", doc = "```no_run")]
#![cfg_attr(not(feature = "aws"), doc = "```ignore")]
//! use aws_config::BehaviorVersion;
//! use pod_identity_provider::PodIdentityProvider;
//!
//! # async fn example() -> Result<(), pod_identity_provider::FetchError> {
//! let provider = PodIdentityProvider::from_env();
//! provider.warm_up().await?; // fails early, with the reason
//! let config = aws_config::defaults(BehaviorVersion::latest())
//!     .credentials_provider(provider)
//!     .load()
//!     .await;
//! # Ok(())
//! # }
//! ```
//! Without it (`default-features = false`):
//! ```no_run
//! use pod_identity_provider::PodIdentityProvider;
//!
//! # async fn example() -> Result<(), pod_identity_provider::FetchError> {
//! let provider = PodIdentityProvider::from_env();
//! let credentials = provider.credentials().await?;
//! let (key, secret) = (credentials.access_key_id(), credentials.secret_access_key().expose());
//! # let _sign_with = (key, secret);
//! # Ok(())
//! # }
//! ```
//!
//! `object_store` and `reqsign` take it as it is, with the feature named after them and their version:
#![cfg_attr(
    all(feature = "object_store_0_14", feature = "reqsign_core_3"),
    doc = "```no_run"
)]
#![cfg_attr(
    not(all(feature = "object_store_0_14", feature = "reqsign_core_3")),
    doc = "```ignore"
)]
//! use std::sync::Arc;
//!
//! use object_store::aws::AmazonS3Builder;
//! use pod_identity_provider::PodIdentityProvider;
//! use reqsign::{Context, Signer, aws::RequestSigner};
//!
//! let provider = PodIdentityProvider::from_env();
//! let store = AmazonS3Builder::new().with_credentials(Arc::new(provider.clone()));
//! let signer = Signer::new(Context::new(), provider, RequestSigner::new("s3", "us-west-2"));
//! ```
//!
//! # What it does
//! - With a valid set held nobody waits: [`snapshot`](PodIdentityProvider::snapshot) is an atomic load
//!   and a reading of the clock. A background task refreshes a six-hour set 65 to 77 minutes before its
//!   expiry, spread at random, so that a node whose clock is an hour slow is in time too. A check on every
//!   access does the same where no task is driven.
//! - With none held, all callers share one fetch: five attempts within 10 s, each of at most 5 s.
//! - The token file is read for every fetch, so that a rotated token is never missed.
//! - A failing agent costs nobody a valid set, not even if it says that the association is gone.
//! - A set that has expired is handed out only if an attempt that was made since has failed in the last
//!   second, announced with 16 s of life and with a warning: the service decides. The next caller tries
//!   again. [`fail_closed`](Builder::fail_closed) turns this off.
//! - Expiry is judged by the clock of the node. While that clock is an hour slow, a set that expired in an
//!   outage looks valid, and may be handed out for up to a minute after the agent is back. A cache on top
//!   adds its own time.
//! - Another access key id is progress, even if the set expires earlier; the same one again is no failure.
//! - A loop of failing calls causes four requests per second after a burst of five, and respects
//!   `Retry-After`.
//! - Nothing secret is printed: no token, secret key or session token in a log, an error or a `Debug`.
//!
//! The numbers and their reasons: [`RefreshPolicy::provider`].
//!
//! # What it does not do
//! - Look for credentials anywhere else: environment keys, profiles, web identity, instance metadata.
//! - Use a proxy from the environment, or follow a redirect: the token goes to the agent only.
//! - Send a token in the clear to anything but loopback and the agents' own addresses.
//! - Start a runtime: it lives on the tokio runtime that it is used on, with I/O and time enabled. A thread
//!   is started for the moment in which a token file is read, because a mount that hangs never returns.
//! - Remember an error: the next caller with nothing held starts a new fetch, unless the service asked not
//!   to be called.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `aws` | yes | `ProvideCredentials` of `aws-credential-types`, and errors in its terms |
//! | `object_store_0_14` | no | `CredentialProvider` of `object_store` 0.14, for `AmazonS3Builder::with_credentials` |
//! | `reqsign_core_3` | no | `ProvideCredential` of `reqsign-core` 3 (`reqsign` 0.20), for its AWS signers |
//! | `rustls` | no | `https` endpoints: the system's root certificates (or `SSL_CERT_FILE`), or given ones (`Tls`) |
//! | `rustls_0_23` | no | `Tls` from a `ClientConfig` of `rustls` 0.23 |
//!
//! Features of crates before 1.0 carry the version, so that the next one can be added beside it.
//!
//! # Recipes
//! Programs that compile and run offline are in the [examples]:
//! - one binary on a laptop, on ECS and on EKS, and which credentials win there (`everywhere`);
//! - another role on top of the pod's (`assume_another_role`);
//! - a program without `async` (`sync_app`), and one that lives for seconds (`short_lived`);
//! - several roles in one process (`several_providers`);
//! - warm-up behind a readiness probe (`health`), metrics (`prometheus_observer`), the way from IRSA
//!   (`migrate_from_irsa`), and tests of an app (`test_your_app`).
//!
//! With a crate that takes keys rather than a provider, such as `rust-s3`, ask
//! [`credentials`](PodIdentityProvider::credentials) for each request and never keep what it returns
//! (`fixed_keys`): with a valid set held, it costs less than a hash.
//!
//! [examples]: https://github.com/pod-identity/pod-identity/tree/main/examples
//!
//! # Under the SDK's identity cache, and others
//! The SDK keeps what a provider returns until 10 s before its expiry, then asks again, while the
//! request waits. Here the answer is ready at that moment, because the new set was fetched long before.
//! The SDK's cache does not hear of [`invalidate`](PodIdentityProvider::invalidate), nor of a set that
//! was refreshed meanwhile. Therefore the SDK is told an expiry at most 10 minutes away, so that a rejected
//! key, another role and a rotated set reach it within that time rather than within six hours. A busy client
//! asks 144 to 288 times a day for that, without waiting. [`Credentials::expiration`] is the real one. To sign
//! every request with the newest set, turn the SDK's cache off with `IdentityCache::no_cache()` in the
//! client's configuration: this provider is a cache itself.
//!
//! `object_store` has no cache of its own and asks for every request. A `reqsign` signer keeps a set
//! until 2 min before its expiry, then asks for every signature; it does not hear of `invalidate` either.
//!
//! In a chain it says "not loaded", so that the next provider is asked, only where neither
//! `AWS_CONTAINER_CREDENTIALS_FULL_URI` nor `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` is set. (A `reqsign`
//! chain goes on after any error.)
//!
//! # After `fork`
//! A child process has the parent's set, and refreshes it by itself from its first call on a runtime of its own.
//! It never touches the parent's connection. On a runtime on which the parent has fetched, whose threads the child
//! does not have, it hands out a valid set and fails with `RuntimeOfParent` instead of waiting for ever. tokio does
//! not support dropping that runtime in the child: keep it until the process exits.
//!
//! # Errors
//! | [`FetchError`] | means | remedy | for the SDK |
//! |---|---|---|---|
//! | `NotConfigured` | no URI variable in this container | restart a pod that is older than its association; check the service account | `not_loaded` |
//! | `Configuration` | a variable that is not allowed; the message names it | correct what set it | `invalid_configuration` |
//! | `Token` | the token file is missing, empty, unreadable, or no token | mount the projected volume; `fsGroup` for a user other than root | `provider_error` |
//! | `Unresolved` | the endpoint's host name has no address now | check DNS; it is resolved anew for every fetch | `provider_error` |
//! | `Unreachable` | no connection, or one that broke | is the agent running on this node? does a network policy block it? | `provider_error` |
//! | `TimedOut` | no connection within 1 s, or no complete answer within 5 s | the same | `provider_error` |
//! | `Refused` | the agent's error, such as "no service account role association"; also in an answer with the status 200 | follow its message: association, trust policy (`sts:TagSession`) | `provider_error` |
//! | `Malformed` | a success that is incomplete or about to expire | check the agent, and the node's clock | `unhandled` |
//! | `Interrupted` | the runtime was shut down during the attempt | none: the next caller begins again | `provider_error` |
//! | `Panicked` | a custom transport or resolver panicked | correct it | `provider_error` |
//! | `NoRuntime`, `RuntimeWithoutTime` | called outside of tokio, or on a runtime without timers, with nothing held | call it within a runtime that was built with `enable_all` | `provider_error` |
//! | `RuntimeShutDown` | called through the handle of a runtime that was shut down, or it was shut down meanwhile, with nothing held | call it within a runtime that runs | `provider_error` |
//! | `RuntimeOfParent` | called in the child of a `fork`, on the parent's runtime, with nothing held | build a new runtime in the child | `provider_error` |
//!
//! A timeout is not reported to the SDK as `provider_timed_out`, because that holds only a duration: its text would
//! name neither the endpoint nor the step.
//!
//! The text of an error includes its causes, and `source()` is `None`: each cause is printed once, by any
//! printer.
//!
//! # What others accept and this provider refuses
//! Measured side by side with the SDKs: [`docs/faults.md`](https://github.com/pod-identity/pod-identity/blob/main/docs/faults.md).
//!
//! | input | accepted by | reason for refusing it |
//! |---|---|---|
//! | `AccessKeyId` or `SecretAccessKey` missing, null, empty or of a wrong type | boto3, JavaScript, Go, Rust, each in other cases | nothing can be signed |
//! | a space, a line end or any other character than visible ASCII in `AccessKeyId`, `SecretAccessKey` or `Token` | all | no key has one; at a line end in a key id the signer of the AWS SDK for Rust panics |
//! | `Token` missing, null or of a wrong type; empty beside a key id that begins with `ASIA` | all, each in other cases | AWS rejects whatever is signed without it |
//! | `Expiration` missing or null | Go, for ever | it could never be refreshed in time |
//! | what is not JSON in a member that is ignored, such as a text with `\Z` | Rust | the rest of such a body is not to be trusted either |
//! | credentials that have expired or expire within 15 s | JavaScript, Go, Java, Rust | they expire before they are used |
//! | a `Code` other than `Success` beside credentials | some | the server says that they are not valid |
//! | a body of more than 64 KiB | all | a real one has 1.5 KB |
//! | a compressed body, although none was asked for | Go | the same |
//! | a token file that is a FIFO, a socket or a device | all that read files | reading it may never end |
//! | a proxy from `HTTP_PROXY` | Rust | the token would go to the proxy |
//! | a redirect | Go | the token would go to wherever it leads |
//!
//! Accepted as by others: keys in any case and order, `SessionToken` and `ExpiresAt` where the usual member has
//! no text, an `AccountId` of any type (ignored if it is not a text), offsets with and without a colon,
//! white space around URI and path, a newline after the token.

mod builder;
mod config_error;
mod drive;
mod error;
mod fetch;
mod integrations;
mod network;
mod observer;
mod panics;
mod provider;
mod runtime;
mod shared_credentials;
mod state;
mod sync;

pub use builder::Builder;
pub use config_error::ConfigError;
pub use error::{FetchError, Malformed, Stage};
pub use http;
pub use network::connection::MAX_BODY;
pub use network::resolver::{Resolve, SystemResolver};
#[cfg(feature = "rustls")]
pub use network::tls::Tls;
pub use network::transport::{BoxFuture, HttpTransport, Transport};
pub use network::transport_error::TransportError;
pub use observer::{Event, NoObserver, Observer};
pub use pod_identity_core::wire::agent::{DecodeError, ErrorResponse};
pub use pod_identity_core::{
    AuthorizationTokenError, Backoff, Clock, Credentials, Endpoint, EndpointError, EndpointProblem,
    FailureClass, Host, RefreshPolicy, Secret, SystemClock, Timestamp, TimestampError,
    TokenFileError, TokenFileProblem, Window,
};
pub use provider::PodIdentityProvider;
pub use state::State;
pub use zeroize::Zeroizing;
