use std::net::IpAddr;

use hashlink::LinkedHashMap;
use pod_identity_core::TokenDigest;

use crate::eks_auth::subject::Subject;

/// Remembers the sources that got the credentials of a token which another source had asked with first: a
/// token that was stolen, or one that a driver uses on behalf of a pod.
///
/// Bounded; the pair that was seen for the first time longest ago is forgotten first.
#[derive(Debug, Default)]
pub(crate) struct OtherSources(LinkedHashMap<(TokenDigest, IpAddr), ()>);

/// The use of a token by another source than its first.
#[derive(Debug)]
pub(crate) struct OtherUse {
    /// The address that asked first.
    pub(crate) first_address: IpAddr,
    /// The pod of the token, which EKS Auth has accepted.
    pub(crate) subject: Subject,
}

impl OtherSources {
    /// Whether this pair is seen for the first time.
    pub(crate) fn is_new(&mut self, digest: TokenDigest, source: IpAddr) -> bool {
        let is_new = !self.0.contains_key(&(digest, source));
        if is_new {
            self.0.insert((digest, source), ());
            if self.0.len() > MAX_PAIRS {
                self.0.pop_front();
            }
        }
        is_new
    }
}

/// Twice the credentials that the cache holds by default.
const MAX_PAIRS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_new_once_and_the_table_is_bounded() {
        let mut sources = OtherSources::default();
        let source = IpAddr::from([10, 0, 0, 7]);
        let digest = |number: usize| TokenDigest::of(&number.to_be_bytes());
        assert!(sources.is_new(digest(0), source));
        assert!(!sources.is_new(digest(0), source));
        assert!(sources.is_new(digest(0), IpAddr::from([10, 0, 0, 8])));
        for number in 1..10_000 {
            assert!(sources.is_new(digest(number), source));
        }
        assert_eq!(sources.0.len(), MAX_PAIRS);
    }
}
