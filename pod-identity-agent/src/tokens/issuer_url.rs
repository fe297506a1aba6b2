use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

use crate::url::is_complete;

/// A URL from which the keys of a cluster may come: over https, or over http from this machine. It has no user and
/// no password, because it is logged.
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

/// The error for a text that is not an [`IssuerUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an https URL without user and password, such as https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE"
)]
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
        let refused = || {
            let shown = text
                .rsplit_once('@')
                .map(|(_secret, rest)| format!("***@{rest}"));
            IssuerUrlError(shown.unwrap_or_else(|| text.to_owned()))
        };
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
        let authority = url.authority();
        let has_user = authority.is_some_and(|all| all.as_str().contains('@'));
        match is_allowed && !has_user && is_complete(&url) && url.query().is_none() {
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
            "https://user@issuer.example/",
            "https://issuer.example:99999/",
            "http://[::1]:port",
            "issuer",
            "",
        ] {
            assert!(url.parse::<IssuerUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_quoted() {
        let error = "https://me:wJalrXUt@issuer.example/".parse::<IssuerUrl>();
        let error = error.unwrap_err().to_string();
        assert!(!error.contains("wJalrXUt"), "{error}");
        assert!(error.contains("issuer.example"), "{error}");
    }
}
