use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// A URL from which the keys of a cluster may come: over https, or over http from this machine.
///
/// ```
/// use pod_identity_agent::IssuerUrl;
///
/// let issuer: IssuerUrl = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE".parse()?;
/// assert!("http://oidc.example".parse::<IssuerUrl>().is_err());
/// # Ok::<(), pod_identity_agent::IssuerUrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl(String);

/// A text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an https URL, such as https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE")]
pub struct IssuerUrlError(String);

impl IssuerUrl {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, IssuerUrlError> {
        let refused = || IssuerUrlError(text.to_owned());
        let url: Uri = text.parse().map_err(|_invalid| refused())?;
        let host = url.host().unwrap_or_default();
        let is_allowed = match url.scheme_str() {
            Some("https") => !host.is_empty(),
            Some("http") => {
                let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
                address.is_ok_and(|address| address.is_loopback())
            }
            _ => false,
        };
        match is_allowed && url.query().is_none() {
            true => Ok(Self(text.trim_end_matches('/').to_owned())),
            false => Err(refused()),
        }
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for url in [
            "https://issuer.example/id",
            "http://127.0.0.1:80",
            "http://[::1]/",
        ] {
            assert!(url.parse::<IssuerUrl>().is_ok(), "{url}");
        }
        for url in [
            "http://issuer.example",
            "http://169.254.169.254/",
            "file:///etc/keys",
            "https://",
            "https://issuer.example/?id=1",
            "issuer",
            "",
        ] {
            assert!(url.parse::<IssuerUrl>().is_err(), "{url}");
        }
    }
}
