use std::path::PathBuf;

use bytes::Bytes;
use http::HeaderValue;
use pod_identity_core::{Secret, TokenFile, TokenFileError, variables};

use crate::ConfigError;

/// Where the authorization token comes from.
#[derive(Debug, Clone)]
pub(crate) enum TokenSource {
    /// Read for every fetch, because kubelet replaces it.
    File(TokenFile),
    /// Given once.
    Text(Secret),
    /// Requests carry no token, as on ECS.
    Absent,
}

impl TokenSource {
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` wins over `AWS_CONTAINER_AUTHORIZATION_TOKEN`; a blank
    /// variable is an unset one.
    pub(crate) fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let set = |name| lookup(name).filter(|value| !value.trim().is_empty());
        match (set(variables::TOKEN_FILE), set(variables::TOKEN)) {
            (Some(path), _) => Ok(Self::file(path)),
            (None, Some(text)) => Self::text(Secret::from(text), variables::TOKEN),
            (None, None) => Ok(Self::Absent),
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(TokenFile::new(path))
    }

    /// "Trim trailing ASCII whitespace, then refuse any other control byte" (`protocol.md` §2).
    pub(crate) fn text(text: Secret, origin: &'static str) -> Result<Self, ConfigError> {
        let text = Secret::from(text.expose().trim_ascii_end().to_owned());
        if text.is_empty() || text.expose().bytes().any(|byte| byte.is_ascii_control()) {
            return Err(ConfigError::Token { origin });
        }
        Ok(Self::Text(text))
    }

    /// The token to send now; `None` to send none.
    pub(crate) fn read(&self) -> Result<Option<Secret>, TokenFileError> {
        match self {
            Self::File(file) => file.read().map(Some),
            Self::Text(text) => Ok(Some(text.clone())),
            Self::Absent => Ok(None),
        }
    }
}

/// The value of `Authorization`: the token as it is, without `Bearer`.
pub(crate) fn header(token: &Secret) -> HeaderValue {
    /// Overwritten when the last copy of the header is dropped.
    struct Wiped(Secret);

    impl AsRef<[u8]> for Wiped {
        fn as_ref(&self) -> &[u8] {
            self.0.expose().as_bytes()
        }
    }

    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(token.clone())))
        .expect("a token must hold no control bytes");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    // "HeaderValue::set_sensitive(true)" (`protocol.md` §2)
    #[test]
    fn the_header_holds_the_token_and_does_not_print_it() {
        let value = header(&Secret::from("header.claims.signatüre".to_owned()));
        assert_eq!(value.as_bytes(), "header.claims.signatüre".as_bytes());
        assert!(value.is_sensitive());
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}
