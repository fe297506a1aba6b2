use std::fmt;

use sha2::{Digest, Sha256};

use crate::{BoundPod, TokenDigest};

/// Whom a slot belongs to: a pod whose tokens have been verified, or one token that has not been.
///
/// All verified tokens of a pod share a slot. A token that nobody has verified has a slot of its own,
/// because anybody could have written its claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a token is verified or not; drivers match on both"
)]
pub enum SlotKey {
    /// A verified pod.
    Pod(PodDigest),
    /// An unverified token.
    Token(TokenDigest),
}

/// The SHA-256 of all that identifies a [`BoundPod`]: a key that is small and can be copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodDigest([u8; 32]);

impl PodDigest {
    /// The digest of the pod's names and UIDs.
    pub fn of(pod: &BoundPod) -> Self {
        let BoundPod {
            namespace,
            service_account,
            service_account_uid,
            name,
            uid,
        } = pod;
        let mut digest = Sha256::new();
        for part in [namespace, service_account, service_account_uid, name, uid] {
            digest.update(part.as_str());
            // No name holds it, so that no two pods have the same bytes.
            digest.update([0]);
        }
        Self(digest.finalize().into())
    }
}

impl fmt::Debug for PodDigest {
    /// The first four bytes: enough to tell entries apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PodDigest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}
