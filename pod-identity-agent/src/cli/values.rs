//! The parsers of flag values.

use std::net::IpAddr;

use http::Uri;

use crate::Budget;

/// Parses an IP address, IPv6 with or without brackets.
pub(super) fn address(text: &str) -> Result<IpAddr, InvalidValue> {
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .map_err(|_not_an_address| InvalidValue::Address)
}

/// Parses the URL of EKS Auth, which is kept as it is written.
pub(super) fn endpoint(text: &str) -> Result<String, InvalidValue> {
    match text.parse::<Uri>() {
        Ok(url) if matches!(url.scheme_str(), Some("http" | "https")) => Ok(text.to_owned()),
        _ => Err(InvalidValue::Endpoint),
    }
}

/// Parses a rate per second, above 0.
pub(super) fn rate(text: &str) -> Result<f64, InvalidValue> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err(InvalidValue::Rate),
    }
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
    #[error("expected an IP address such as 169.254.170.23 or [fd00:ec2::23]")]
    Address,
    #[error("expected a URL such as https://eks-auth.us-west-2.api.aws")]
    Endpoint,
    #[error("expected a number above 0, such as 3")]
    Rate,
    #[error("expected two numbers above 0, as in 10/2: the burst, and the rate per second")]
    Budget,
}
