use crate::fault::usage::Usage;
use crate::{SigningKey, TokenDefect};

/// An event of a mock or of a pod's token, other than a fault of a request.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Rotate,
    Spoil(TokenDefect),
    SignWith(SigningKey),
    ForgetOldKeys,
    /// Whether the issuer's documents are unavailable from now on.
    IssuerOutage(bool),
    /// Opens the gate of this name.
    Release(String),
    /// Closes the port and every connection, for a fault.
    Refuse(Usage),
    /// Closes every connection and accepts none, for a fault.
    Ignore(Usage),
    /// Listens again, after such a fault.
    Listen,
    /// Closes the port and every connection, and listens again.
    Restart,
}
