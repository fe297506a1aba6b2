//! The parsers of flag values that are not pflag's own.

use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use pod_identity_core::Endpoint;

use crate::Budget;
use crate::url::is_complete;

/// Parses an IP address, IPv6 with or without brackets, or `localhost`, which is its IPv4 address as for
/// Go's `net.Listen`.
pub(super) fn address(text: &str) -> Result<IpAddr, InvalidValue> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .map_err(|_not_an_address| InvalidValue::Address)
}

/// The same, where the empty text is every address of the node, as for Go's `net.Listen`.
pub(super) fn address_or_any(text: &str) -> Result<IpAddr, InvalidValue> {
    match text {
        "" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        text => address(text),
    }
}

/// Whether an address can be reached from outside the node. The two of Pod Identity are link-local and
/// unique-local addresses on a dummy link.
pub(super) fn is_routable(address: IpAddr) -> bool {
    let fixed = [
        IpAddr::from(Endpoint::EKS_IPV4),
        IpAddr::from(Endpoint::EKS_IPV6),
    ];
    let address = address.to_canonical();
    !address.is_loopback() && !fixed.contains(&address)
}

/// Parses the URL of EKS Auth. Without a scheme it gets `https`; the empty text is no URL, and `None`.
pub(super) fn endpoint(text: &str) -> Result<Option<String>, InvalidValue> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    match url.parse::<Uri>() {
        Ok(parsed)
            if matches!(parsed.scheme_str(), Some("http" | "https")) && is_complete(&parsed) =>
        {
            Ok(Some(url))
        }
        _ => Err(InvalidValue::Endpoint),
    }
}

/// Parses a name, which is not blank.
pub(super) fn name(text: &str) -> Result<String, InvalidValue> {
    match text.trim().is_empty() {
        true => Err(InvalidValue::Blank),
        false => Ok(text.to_owned()),
    }
}

/// Parses where the audit is written: `on`, `off`, or a path.
pub(super) fn audit_log(text: &str) -> Result<String, InvalidValue> {
    match text {
        "on" | "off" => Ok(text.to_owned()),
        _ => path(text).map_err(|_no_path| InvalidValue::AuditLog),
    }
}

/// Parses where keys are kept: a path, or `off`.
pub(super) fn key_cache(text: &str) -> Result<String, InvalidValue> {
    match text {
        "off" => Ok(text.to_owned()),
        _ => path(text).map_err(|_no_path| InvalidValue::KeyCache),
    }
}

/// Parses a path. Without a separator it is rather meant as something else, such as `true`, and would be a file
/// of this name in the working directory.
pub(super) fn path(text: &str) -> Result<String, InvalidValue> {
    match text.contains(std::path::is_separator) {
        true => Ok(text.to_owned()),
        false => Err(InvalidValue::Path),
    }
}

/// Parses a number. Which ones make sense is the caller's to say.
pub(super) fn number(text: &str) -> Result<f64, InvalidValue> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or(InvalidValue::Number)
}

/// Parses `burst/per_second`, both above 0.
pub(super) fn budget(text: &str) -> Result<Budget, InvalidValue> {
    let parsed = text
        .split_once('/')
        .and_then(|(burst, rate)| Some((burst.parse().ok()?, rate.parse::<f64>().ok()?)));
    match parsed {
        Some((burst, rate)) if burst > 0 && rate > 0.0 && rate.is_finite() => {
            Ok(Budget::new(burst, rate))
        }
        _ => Err(InvalidValue::Budget),
    }
}

/// Why the value of a flag is refused: what was expected instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidValue {
    #[error("expected an IP address such as 169.254.170.23 or [fd00:ec2::23], or localhost")]
    Address,
    #[error("expected a URL such as https://eks-auth.us-west-2.api.aws")]
    Endpoint,
    #[error("expected a name that is not blank")]
    Blank,
    #[error(
        "expected on (standard output), off, or a path with a `/`, such as /var/log/pod-identity-audit.log"
    )]
    AuditLog,
    #[error(
        "expected off, or a path with a `/`, such as /var/lib/eks-pod-identity-agent/jwks-cache.json"
    )]
    KeyCache,
    #[error("expected a path with a `/`, such as /run/pod-identity-agent/probes.sock")]
    Path,
    #[error("expected a number such as 3")]
    Number,
    #[error("expected two numbers above 0, as in 10/2: the burst, and the rate per second")]
    Budget,
    #[error("expected true or false")]
    Boolean,
    #[error("expected an integer such as 2000")]
    Integer,
    #[error("expected a port from 0 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_scheme_uses_https_and_an_empty_one_is_ignored() {
        let some = |url: &str| Ok(Some(url.to_owned()));
        assert_eq!(
            endpoint("eks-auth.internal"),
            some("https://eks-auth.internal")
        );
        assert_eq!(endpoint("localhost:8080"), some("https://localhost:8080"));
        assert_eq!(endpoint("http://127.0.0.1:1"), some("http://127.0.0.1:1"));
        assert_eq!(endpoint(""), Ok(None));
        assert_eq!(endpoint(" "), Ok(None));
        for text in [
            "ftp://eks-auth",
            "https://",
            "a b",
            "/path",
            "https://x:99999",
            "https://[::1]:port",
            "https://x:",
            "x:-1",
            "https://x:x",
        ] {
            assert_eq!(endpoint(text), Err(InvalidValue::Endpoint), "{text}");
        }
    }

    #[test]
    fn a_word_is_no_path() {
        for text in ["/var/log/audit", "./audit", "logs/audit"] {
            assert_eq!(path(text), Ok(text.to_owned()));
            assert_eq!(audit_log(text), Ok(text.to_owned()));
            assert_eq!(key_cache(text), Ok(text.to_owned()));
        }
        for text in ["", " ", "true", "stdout", "-", "On"] {
            assert_eq!(path(text), Err(InvalidValue::Path), "{text}");
            assert_eq!(audit_log(text), Err(InvalidValue::AuditLog), "{text}");
            assert_eq!(key_cache(text), Err(InvalidValue::KeyCache), "{text}");
        }
        assert!(audit_log("on").is_ok() && audit_log("off").is_ok());
        assert!(key_cache("on").is_err() && key_cache("off").is_ok());
    }

    #[test]
    fn only_loopback_and_the_two_fixed_addresses_are_not_routable() {
        for text in [
            "127.0.0.1",
            "::1",
            "169.254.170.23",
            "[fd00:ec2::23]",
            "localhost",
        ] {
            assert!(!is_routable(address(text).unwrap()), "{text}");
        }
        for text in [
            "0.0.0.0",
            "::",
            "10.0.0.7",
            "::ffff:10.0.0.7",
            "169.254.169.254",
        ] {
            assert!(is_routable(address(text).unwrap()), "{text}");
        }
    }
}
