//! The cache of slots, and which of them a token belongs to.

mod fair_queue;
mod refresh_pace;
mod shares;
mod slot_cache;
#[cfg(feature = "digest")]
mod verified_tokens;

pub use slot_cache::{Asked, CacheAttempt, CacheLimits, Found, Merge, SlotCache};
#[cfg(feature = "digest")]
pub use verified_tokens::{Adopted, VerifiedToken, VerifiedTokens};
