use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

/// The name or UID of a Kubernetes object, as RFC 1123 has it: lower-case letters, digits, `-` and, in a subdomain,
/// `.`. It begins and ends with a letter or a digit.
///
/// A value contains no quotes, white space or control characters, and its length is bounded. An unverified name,
/// such as the pod that a token claims, can therefore be logged or written to a file as it is.
///
/// ```
/// use pod_identity_core::KubernetesName;
///
/// let pod = KubernetesName::subdomain("cart-7d4b9c-x2x9k").expect("it is a valid pod name");
/// assert_eq!(pod.as_str(), "cart-7d4b9c-x2x9k");
/// assert_eq!(KubernetesName::subdomain("cart\n{\"level\":\"info\"}"), None);
/// assert_eq!(KubernetesName::label("kube.system"), None);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesName(Box<str>);

impl KubernetesName {
    /// The maximum length of a label, in bytes.
    pub const MAX_LABEL: usize = 63;
    /// The maximum length of a subdomain, in bytes.
    pub const MAX_SUBDOMAIN: usize = 253;

    /// Parses an RFC 1123 label: the name of a namespace, or a UID. Returns `None` if `name` is not one.
    pub fn label(name: &str) -> Option<Self> {
        (name.len() <= Self::MAX_LABEL && is_label(name)).then(|| Self(name.into()))
    }

    /// Parses an RFC 1123 subdomain, labels joined by dots: the name of a pod, service account or node. Returns
    /// `None` if `name` is not one.
    ///
    /// A label of it may be longer than 63 bytes, because the API server does not check that either.
    pub fn subdomain(name: &str) -> Option<Self> {
        (name.len() <= Self::MAX_SUBDOMAIN && name.split('.').all(is_label))
            .then(|| Self(name.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl Deref for KubernetesName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for KubernetesName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for KubernetesName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl From<KubernetesName> for String {
    fn from(name: KubernetesName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for KubernetesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for KubernetesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for KubernetesName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rfc_1123_text_within_its_bounds_is_a_name() {
        for good in ["cart-0", "a", "0a", "6b8b4567-327b-23c6-643c-98696633b2c1"] {
            assert!(KubernetesName::label(good).is_some(), "{good}");
            assert!(KubernetesName::subdomain(good).is_some(), "{good}");
        }
        assert!(KubernetesName::subdomain("cart.shop.example").is_some());
        assert_eq!(KubernetesName::label("cart.shop.example"), None);
        for bad in [
            "", "-a", "a-", "A", "a_b", "a..b", ".a", "a.", "a\nb", "a\"b", "a b", "é", "a\0",
        ] {
            assert_eq!(KubernetesName::label(bad), None, "{bad:?}");
            assert_eq!(KubernetesName::subdomain(bad), None, "{bad:?}");
        }
        for (parse, most) in [
            (KubernetesName::label as fn(&str) -> _, 63),
            (KubernetesName::subdomain, 253),
        ] {
            assert!(parse(&"a".repeat(most)).is_some());
            assert_eq!(parse(&"a".repeat(most + 1)), None);
        }
    }

    #[test]
    fn a_name_is_used_and_printed_as_its_text() {
        let name = KubernetesName::label("cart-0").unwrap();
        assert_eq!((&*name, name.as_ref()), ("cart-0", "cart-0"));
        assert_eq!(name.as_str(), "cart-0");
        assert!(name == *"cart-0" && name != *"cart-1");
        assert_eq!(format!("{name:>7} {name:?}"), r#" cart-0 "cart-0""#);
        assert_eq!(String::from(name), "cart-0");
    }
}
