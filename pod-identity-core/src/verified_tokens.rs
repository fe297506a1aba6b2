use std::sync::Arc;

use hashlink::LinkedHashMap;

use crate::{
    BoundPod, CredentialSet, Expiring, Merge, PodDigest, SlotCache, SlotError, SlotKey, Timestamp,
    TokenDigest, Validity,
};

/// A token whose signature has been verified, and the pod that it is therefore known to be bound to.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    pod: Arc<BoundPod>,
    key: PodDigest,
    validity: Validity,
    verified_with: Arc<str>,
}

impl VerifiedToken {
    /// A token that was verified with the key that `verified_with` identifies. The caller vouches for it, and
    /// for that no other key ever has the same text: a `kid` alone would not do, because another key can
    /// take it over.
    pub fn new(pod: BoundPod, validity: Validity, verified_with: Arc<str>) -> Self {
        Self {
            key: PodDigest::of(&pod),
            pod: Arc::new(pod),
            validity,
            verified_with,
        }
    }

    /// The pod that the token is bound to.
    pub fn pod(&self) -> &Arc<BoundPod> {
        &self.pod
    }

    /// When the token may be used.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// What identifies the key of the cluster that the token was verified with.
    pub fn verified_with(&self) -> &str {
        &self.verified_with
    }

    /// The key of the slot that the token belongs to.
    pub fn key(&self) -> SlotKey {
        SlotKey::Pod(self.key)
    }
}

/// Which slot of a [`SlotCache`] a token belongs to: that of its pod if it has been verified, else one of its
/// own.
///
/// It remembers verified tokens by their digest, so that each is verified once and not with each request.
/// The table is bounded: the token that was not used for longest is forgotten, which costs another
/// verification and nothing else.
#[derive(Debug)]
pub struct VerifiedTokens {
    /// By use, the least recent first.
    tokens: LinkedHashMap<TokenDigest, VerifiedToken>,
    capacity: usize,
}

/// What became of a token that has been verified.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle each case")]
pub enum Adopted<R> {
    /// It belongs to the slot of its pod. If that replaced another slot, the request of the one that was
    /// dropped: those who wait for it wait for nothing, and what the pod's slot holds answers them too.
    ToPod(Option<R>),
    /// A fetch of its own is in flight. It is to be adopted when that has ended.
    Later,
}

impl VerifiedTokens {
    /// An empty table for at most so many tokens.
    pub fn new(capacity: usize) -> Self {
        Self {
            tokens: LinkedHashMap::new(),
            capacity: capacity.max(1),
        }
    }

    /// Returns a verified token, and counts as a use. `None` for one that is not known to be verified.
    pub fn get(&mut self, digest: &TokenDigest) -> Option<&VerifiedToken> {
        self.tokens.to_back(digest).map(|token| &*token)
    }

    /// Returns the key of the slot that a token belongs to, and counts as a use.
    pub fn key_of(&mut self, digest: &TokenDigest) -> SlotKey {
        let verified = self.get(digest);
        verified.map_or(SlotKey::Token(*digest), VerifiedToken::key)
    }

    /// Takes a token that has been verified: from now on it shares the slot of its pod.
    ///
    /// What was held for the token alone becomes the pod's, unless the pod holds something usable. `renew`
    /// is called with the request of the pod's slot, if there is one, and puts this token in its place
    /// if it is the newer one.
    pub fn adopt<R, T, E>(
        &mut self,
        cache: &mut SlotCache<SlotKey, R, T, E>,
        now: Timestamp,
        digest: TokenDigest,
        token: VerifiedToken,
        renew: impl FnOnce(&mut R),
    ) -> Adopted<R>
    where
        R: Expiring,
        T: CredentialSet,
        E: From<SlotError>,
    {
        let key = token.key();
        let dropped = match cache.merge(now, &SlotKey::Token(digest), key) {
            Merge::InFlight => return Adopted::Later,
            Merge::Done(dropped) => dropped,
        };
        cache.update_request(now, key, renew);
        self.tokens.insert(digest, token);
        if self.tokens.len() > self.capacity {
            self.tokens.pop_front();
        }
        Adopted::ToPod(dropped)
    }

    /// Forgets the tokens that were verified with a key for which `is_known` returns false: the cluster has
    /// withdrawn it. It is called with [`VerifiedToken::verified_with`].
    pub fn forget_withdrawn(&mut self, mut is_known: impl FnMut(&str) -> bool) {
        self.tokens
            .retain(|_digest, token| is_known(&token.verified_with));
    }

    /// How many tokens are known to be verified.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}
