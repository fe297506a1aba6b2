use std::fmt;

use sha2::{Digest, Sha256};

use crate::{BoundPod, TokenDigest};

/// The key of a slot: a pod whose tokens have been verified, or one token that has not been.
///
/// All verified tokens of a pod share a slot. A token that has not been verified has a slot of its own, because
/// its claims may be forged.
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

/// The SHA-256 of all names and UIDs of a [`BoundPod`], as a small key that can be copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodDigest([u8; 32]);

impl PodDigest {
    /// Returns the digest of the pod's names and UIDs.
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
            // No name contains a zero byte, so no two pods have the same input.
            digest.update([0]);
        }
        Self(digest.finalize().into())
    }
}

impl fmt::Debug for PodDigest {
    /// Prints the first four bytes, which distinguish entries in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PodDigest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KubernetesName;

    #[test]
    fn debug_of_a_digest_tells_four_bytes_only() {
        let name = |text| KubernetesName::label(text).unwrap();
        let digest = PodDigest::of(&BoundPod {
            namespace: name("shop"),
            service_account: name("cart"),
            service_account_uid: name("u2"),
            name: name("cart-0"),
            uid: name("u1"),
        });
        assert_eq!(format!("{digest:?}"), "PodDigest(839223f0…)");
    }
}
