use std::iter;

use pod_identity_core::wire::eks_auth::SessionCredentials;
use pod_identity_core::{Secret, Timestamp};

/// Returns the version 4 UUID that belongs to a seed.
pub(crate) fn uuid_of(seed: &str) -> String {
    uuid(&mut fastrand::Rng::with_seed(fnv1a(seed)))
}

/// A version 4 UUID (RFC 9562 §5.4).
pub(crate) fn uuid(rng: &mut fastrand::Rng) -> String {
    let version = (rng.u128(..) & !(0xf << 76)) | (0x4 << 76);
    let bits = (version & !(0x3 << 62)) | (0x2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        (bits >> 80) & 0xffff,
        (bits >> 64) & 0xffff,
        (bits >> 48) & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

/// The unique id of a role: `AROA` and 17 characters, always the same for the same ARN.
pub(crate) fn role_id(role_arn: &str) -> String {
    let mut rng = fastrand::Rng::with_seed(fnv1a(role_arn));
    format!("AROA{}", text(&mut rng, UPPER, 17))
}

/// The unique id of a user: `AIDA` and 17 characters, always the same for the same access key id.
pub(crate) fn user_id(access_key_id: &str) -> String {
    let mut rng = fastrand::Rng::with_seed(fnv1a(access_key_id));
    format!("AIDA{}", text(&mut rng, UPPER, 17))
}

/// `a-` and 17 of `a`–`z` and `0`–`9`.
pub(crate) fn association_id(rng: &mut fastrand::Rng) -> String {
    format!("a-{}", text(rng, LOWER, 17))
}

/// Credentials that no service accepts. The expiry has whole seconds, as on the wire.
pub(crate) fn session_credentials(
    rng: &mut fastrand::Rng,
    expiry: Timestamp,
) -> SessionCredentials {
    SessionCredentials {
        session_token: Secret::from(format!("IQoJb3JpZ2luX2Vj{}", text(rng, BASE64, 800))),
        secret_access_key: Secret::from(text(rng, BASE64, 40)),
        access_key_id: format!("ASIA{}", text(rng, UPPER, 16)),
        expiration: Timestamp::from_unix_secs(expiry.as_unix_secs()),
    }
}

/// Returns this many decimal digits.
pub(crate) fn digits(rng: &mut fastrand::Rng, count: usize) -> String {
    text(rng, "0123456789", count)
}

/// Returns `length` random characters of an alphabet.
fn text(rng: &mut fastrand::Rng, alphabet: &str, length: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    iter::repeat_with(|| rng.choice(&alphabet))
        .take(length)
        .flatten()
        .collect()
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// FNV-1a: the hasher of `std` may change with the compiler, and these names must not.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_version_and_variant_and_is_determined_by_its_seed() {
        for seed in ["", "shop/cart-0", "shop/cart-1"] {
            let id = uuid_of(seed);
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(
                parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
                [8, 4, 4, 4, 12]
            );
            assert!(parts[2].starts_with('4'), "{id}");
            assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
            assert_eq!(id, uuid_of(seed));
        }
        assert_ne!(uuid_of("a"), uuid_of("b"));
    }
}
