//! The slot, its key, and the rules for refreshes and retries.

mod policy;
#[expect(clippy::module_inception, reason = "it is the noun of that file")]
mod slot;
#[cfg(feature = "digest")]
mod slot_key;

pub use policy::{RefreshPolicy, Window};
pub use slot::{Ask, Attempt, CredentialSet, Expiring, Slot, SlotError, Ticket};
#[cfg(feature = "digest")]
pub use slot_key::{PodDigest, SlotKey};
