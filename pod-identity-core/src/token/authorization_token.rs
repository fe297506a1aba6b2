use std::fmt;

use http::HeaderValue;

use crate::Secret;

/// The value of the `Authorization` header of a request for credentials. It comes from a file, an environment
/// variable, or code.
///
/// The same rule applies to all sources. ASCII white space at the end is removed, because hand-written files end
/// in a newline. The rest must be UTF-8 text of at most [`MAX_BYTES`](Self::MAX_BYTES), without control characters,
/// which a header cannot contain, and without a byte order mark, which no server expects.
///
/// ```
/// use pod_identity_core::{AuthorizationToken, AuthorizationTokenError};
///
/// let token = AuthorizationToken::parse(b"header.claims.signature\n")?;
/// assert_eq!(token.expose(), "header.claims.signature");
/// assert_eq!(format!("{token:?}"), "AuthorizationToken(23 bytes)");
/// assert_eq!(AuthorizationToken::parse(b" \n"), Err(AuthorizationTokenError::Empty));
/// # Ok::<(), AuthorizationTokenError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationToken(Secret);

impl AuthorizationToken {
    /// The maximum length of a token, 64 KiB. Real tokens have up to 2.3 KB.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Parses a token.
    ///
    /// # Errors
    /// [`AuthorizationTokenError`] if the bytes do not follow the rule. It does not contain them.
    pub fn parse(bytes: &[u8]) -> Result<Self, AuthorizationTokenError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(AuthorizationTokenError::TooLarge);
        }
        let text = std::str::from_utf8(bytes.trim_ascii_end())
            .map_err(|_quotes_input| AuthorizationTokenError::NotText)?;
        if text.is_empty() {
            return Err(AuthorizationTokenError::Empty);
        }
        if text.starts_with('\u{feff}') || text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(AuthorizationTokenError::NotText);
        }
        Ok(Self(Secret::from(text.to_owned())))
    }

    /// Returns the text of the token. It must not reach a log, an error, a metric or a `Debug`.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Returns the token as a [`Secret`].
    pub fn as_secret(&self) -> &Secret {
        &self.0
    }

    /// Returns the value of the header, which is the token without `Bearer`. It is marked as sensitive, so `Debug`
    /// does not print it, and its memory is overwritten when the last clone is dropped.
    pub fn to_header_value(&self) -> HeaderValue {
        struct Wiped(Secret);

        impl AsRef<[u8]> for Wiped {
            fn as_ref(&self) -> &[u8] {
                self.0.expose().as_bytes()
            }
        }

        let bytes = bytes::Bytes::from_owner(Wiped(self.0.clone()));
        let mut value =
            HeaderValue::from_maybe_shared(bytes).expect("a token must hold no control bytes");
        value.set_sensitive(true);
        value
    }
}

impl From<AuthorizationToken> for Secret {
    fn from(token: AuthorizationToken) -> Self {
        token.0
    }
}

impl fmt::Debug for AuthorizationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorizationToken({} bytes)", self.expose().len())
    }
}

/// Why a text cannot be sent as a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizationTokenError {
    /// Empty, or nothing but white space.
    #[error("is empty")]
    Empty,
    /// More than [`AuthorizationToken::MAX_BYTES`].
    #[error("is larger than 64 KiB and so not a token")]
    TooLarge,
    /// Not UTF-8, starts with a byte order mark, or holds control characters.
    #[error("is not a token: it holds bytes that no header may carry")]
    NotText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_holds_the_token_and_does_not_print_it() {
        let token = AuthorizationToken::parse("header.claims.signatüre".as_bytes()).unwrap();
        let value = token.to_header_value();
        assert_eq!(value.as_bytes(), "header.claims.signatüre".as_bytes());
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn debug_tells_the_length_only() {
        let token = AuthorizationToken::parse(b"header.claims.signature\n").unwrap();
        assert_eq!(format!("{token:?}"), "AuthorizationToken(23 bytes)");
        assert_eq!(token.as_secret().expose(), "header.claims.signature");
        assert_eq!(Secret::from(token).expose(), "header.claims.signature");
    }
}
