//! What is known of tokens that get no credentials.

use std::time::Duration;

use hashlink::LinkedHashMap;
use pod_identity_core::{Timestamp, TokenDigest};

use crate::eks_auth::exchange::EksAuthError;
use crate::tokens::key_set::Unverified;

/// Tokens that were found not to be a pod's by the keys of now. Bounded; the oldest is forgotten first.
#[derive(Default)]
pub(crate) struct RecentlyUnverified(LinkedHashMap<TokenDigest, Unverified>);

impl RecentlyUnverified {
    pub(crate) fn note(&mut self, digest: TokenDigest, why: Unverified) {
        self.0.insert(digest, why);
        if self.0.len() > MAX_UNVERIFIED {
            self.0.pop_front();
        }
    }

    pub(crate) fn why(&self, digest: &TokenDigest) -> Option<Unverified> {
        self.0.get(digest).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What EKS Auth refused in the last seconds, by token. Bounded; the oldest is forgotten first.
#[derive(Default)]
pub(crate) struct RecentRefusals(LinkedHashMap<TokenDigest, (Timestamp, EksAuthError)>);

impl RecentRefusals {
    pub(crate) fn note(&mut self, digest: TokenDigest, now: Timestamp, error: EksAuthError) {
        self.0.insert(digest, (now, error));
        if self.0.len() > MAX_REFUSALS {
            self.0.pop_front();
        }
    }

    pub(crate) fn recent(&self, digest: &TokenDigest, now: Timestamp) -> Option<EksAuthError> {
        let (at, error) = self.0.get(digest)?;
        (now.saturating_since(*at) < REFUSAL_IS_RECENT).then(|| error.clone())
    }
}

const MAX_REFUSALS: usize = 1024;

const MAX_UNVERIFIED: usize = 1024;

const REFUSAL_IS_RECENT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

    #[test]
    fn what_is_known_of_bad_tokens_is_bounded_and_the_oldest_is_forgotten_first() {
        let (mut refusals, mut unverified) =
            (RecentRefusals::default(), RecentlyUnverified::default());
        let digest = |number: usize| TokenDigest::of(&number.to_be_bytes());
        let error = EksAuthError::Malformed("no".to_owned());
        for number in 0..=1024 {
            refusals.note(digest(number), NOW, error.clone());
            unverified.note(digest(number), Unverified::NotOfPod);
        }
        for (number, is_known) in [(0, false), (1, true), (1024, true)] {
            let digest = digest(number);
            assert_eq!(refusals.recent(&digest, NOW).is_some(), is_known);
            assert_eq!(unverified.why(&digest).is_some(), is_known);
        }
    }
}
