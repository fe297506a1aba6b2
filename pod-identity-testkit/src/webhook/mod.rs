//! The patch of EKS's mutating webhook, and the environment of a patched pod.

mod admission;
#[cfg(feature = "webhook")]
mod certificate_files;
mod config;
mod defaults;
mod identity;
mod injection;
mod json_patch;
mod mutation;
mod node;
mod pod_container;
mod schema;
mod skipped;

#[cfg(feature = "webhook")]
mod identities_file;
#[cfg(feature = "webhook")]
mod mock_webhook;
#[cfg(feature = "webhook")]
mod request;
#[cfg(feature = "webhook")]
mod review;
#[cfg(feature = "webhook")]
mod service;

#[cfg(all(feature = "program", feature = "webhook"))]
pub(crate) use service::WebhookService;

pub use admission::admit_pod;
pub use config::WebhookConfig;
pub use identity::IdentitiesError;
pub use json_patch::{JsonPatch, PatchError};
#[cfg(feature = "webhook")]
pub use mock_webhook::{MockWebhook, MockWebhookBuilder};
pub use mutation::mutate_pod;
pub use node::PodError;
pub use pod_container::{MountedToken, PodContainer};
#[cfg(feature = "webhook")]
pub use request::WebhookRequest;
