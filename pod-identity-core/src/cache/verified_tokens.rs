use std::sync::Arc;

use hashlink::LinkedHashMap;

use crate::{
    BoundPod, CredentialSet, Expiring, Merge, PodDigest, SlotCache, SlotError, SlotKey, Timestamp,
    TokenDigest, Validity,
};

/// A token whose signature has been verified, with the pod that it is bound to.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    pod: Arc<BoundPod>,
    key: PodDigest,
    validity: Validity,
    verified_with: Arc<str>,
}

impl VerifiedToken {
    /// A token that was verified with the key that `verified_with` identifies. The caller guarantees this, and
    /// that no other key ever has the same identification. A `kid` alone is not enough, because a later key can
    /// have the same one.
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

    /// The identification of the cluster's key that the token was verified with.
    pub fn verified_with(&self) -> &str {
        &self.verified_with
    }

    /// The key of the slot that the token belongs to.
    pub fn key(&self) -> SlotKey {
        SlotKey::Pod(self.key)
    }
}

/// A table that tells which slot of a [`SlotCache`] a token belongs to: the slot of its pod if the token has been
/// verified, else a slot of its own.
///
/// It stores verified tokens by their digest, so that each is verified once and not with each request. The table
/// is bounded. The least recently used token is forgotten, which only costs another verification.
#[derive(Debug)]
pub struct VerifiedTokens {
    /// The least recently used first.
    tokens: LinkedHashMap<TokenDigest, VerifiedToken>,
    capacity: usize,
}

/// The result of [`VerifiedTokens::adopt`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle each case")]
pub enum Adopted<R> {
    /// The token belongs to the slot of its pod now. If another slot was dropped for that, holds its request. The
    /// callers that wait for the dropped slot get no outcome from it, but what the pod's slot holds is for them too.
    ToPod(Option<R>),
    /// A fetch for the token itself is in flight. Adopt the token when it has ended.
    Later,
}

impl VerifiedTokens {
    /// Creates an empty table for `capacity` tokens, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self {
            tokens: LinkedHashMap::new(),
            capacity: capacity.max(1),
        }
    }

    /// Returns a verified token, and counts as a use. `None` if the token is not in the table.
    pub fn get(&mut self, digest: &TokenDigest) -> Option<&VerifiedToken> {
        self.tokens.to_back(digest).map(|token| &*token)
    }

    /// Returns the key of the slot that a token belongs to, and counts as a use.
    pub fn key_of(&mut self, digest: &TokenDigest) -> SlotKey {
        let verified = self.get(digest);
        verified.map_or(SlotKey::Token(*digest), VerifiedToken::key)
    }

    /// Adds a token that has been verified. From now on it shares the slot of its pod.
    ///
    /// The slot of the token alone becomes the pod's, unless the pod has a usable set. If the pod has a slot then,
    /// `renew` is called with its request, and replaces the token in it if this one is newer.
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

    /// Forgets the tokens that were verified with a key that the cluster has withdrawn. `is_known` is called with
    /// [`VerifiedToken::verified_with`], and returns false for such a key.
    pub fn forget_withdrawn(&mut self, mut is_known: impl FnMut(&str) -> bool) {
        self.tokens
            .retain(|_digest, token| is_known(&token.verified_with));
    }

    /// Returns the number of tokens in the table.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::{CacheLimits, Credentials, RefreshPolicy, ServiceAccountToken};

    struct Request;

    impl Expiring for Request {
        fn expiration(&self) -> Timestamp {
            Timestamp::MAX
        }
    }

    /// A token of a pod of this name, verified with the key `verified_with`.
    fn verified(pod: &str, verified_with: &str) -> (TokenDigest, VerifiedToken) {
        let claims = format!(
            r#"{{"exp":2000,"nbf":1000,"sub":"system:serviceaccount:shop:cart","kubernetes.io":{{
                "namespace":"shop","pod":{{"name":"{pod}","uid":"u1"}},
                "serviceaccount":{{"name":"cart","uid":"u2"}}}}}}"#
        );
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}.AQ", part(r#"{"alg":"RS256"}"#), part(&claims));
        let token = ServiceAccountToken::parse(&text).unwrap();
        let claims = token.claims();
        let bound = BoundPod::of(claims).unwrap();
        let verified = VerifiedToken::new(bound, claims.validity(), verified_with.into());
        (token.digest(), verified)
    }

    /// A table that has adopted these tokens, and their digests.
    fn table<const N: usize>(
        capacity: usize,
        tokens: [(&str, &str); N],
    ) -> (VerifiedTokens, [TokenDigest; N]) {
        let mut table = VerifiedTokens::new(capacity);
        let policy = Arc::new(RefreshPolicy::agent());
        let mut cache = SlotCache::<SlotKey, Request, Credentials, SlotError>::new(
            policy,
            CacheLimits::default(),
            7,
        );
        let digests = tokens.map(|(pod, verified_with)| {
            let (digest, token) = verified(pod, verified_with);
            let adopted = table.adopt(&mut cache, Timestamp::MIN, digest, token, |_request| {});
            assert!(matches!(adopted, Adopted::ToPod(None)));
            digest
        });
        (table, digests)
    }

    #[test]
    fn a_verified_token_is_found_with_its_pod_its_validity_and_its_key() {
        let (mut table, [digest]) = table(2, [("cart-0", "k1")]);
        assert!(!table.is_empty());
        let slot = table.key_of(&digest);
        let token = table.get(&digest).unwrap();
        assert_eq!(&*token.pod().name, "cart-0");
        assert_eq!(token.validity().expires_at, Timestamp::from_unix_secs(2000));
        assert_eq!(token.verified_with(), "k1");
        assert_eq!(token.key(), slot);
        assert_eq!(slot, SlotKey::Pod(PodDigest::of(token.pod())));
        let (other, _) = verified("cart-1", "k1");
        assert!(table.get(&other).is_none());
        assert_eq!(table.key_of(&other), SlotKey::Token(other));
    }

    #[test]
    fn only_tokens_that_were_verified_with_a_withdrawn_key_are_forgotten() {
        let tokens = [("cart-0", "k1"), ("cart-1", "k2"), ("cart-2", "k1")];
        let (mut table, digests) = table(4, tokens);
        table.forget_withdrawn(|key| key == "k2");
        assert_eq!(table.len(), 1);
        let known = digests.map(|digest| table.get(&digest).is_some());
        assert_eq!(known, [false, true, false]);
    }
}
