use std::time::Duration;

/// What a failed fetch means for the next attempt, wherever the failure came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// The association or the token is gone (`ResourceNotFoundException`, `InvalidTokenException`): an
    /// expired set is dropped. Whether a valid one is, the policy decides: an agent drops it, because the
    /// association is what permits it to hand it out; a client keeps it, because the service accepts it
    /// until it expires.
    Gone,
    /// Refused, perhaps on account of the node's own credentials (`AccessDeniedException`,
    /// `ExpiredTokenException`, other refusals): what is held is kept while it is valid.
    Denied,
    /// Too many requests (429, any throttling code): kept; next after the service's hint or a backoff.
    Throttled,
    /// No answer, or one that blames the server (I/O, timeout, 5xx): kept; next after a backoff.
    Transient,
    /// A success that is incomplete, expired, or cannot be parsed: as `Transient`, but its own message is
    /// the answer to a caller that waits.
    Malformed,
    /// The attempt was not carried through, for example because its runtime was shut down. It says nothing
    /// about the service: it does not count as a failure, and no expired set is handed out because of it.
    Interrupted,
}

impl FailureClass {
    /// The class of an error answer: by its code if it has one, else by its HTTP status.
    ///
    /// The code may carry the suffix `Exception`, as on the wire, or not.
    pub fn of(status: u16, code: Option<&str>) -> Self {
        let code = code.unwrap_or_default();
        let code = code.strip_suffix("Exception").unwrap_or(code);
        match (status, code) {
            (_, "ResourceNotFound" | "InvalidToken") => Self::Gone,
            (429, _) => Self::Throttled,
            _ if THROTTLING_CODES.contains(&code) => Self::Throttled,
            (408 | 500..=599, _) => Self::Transient,
            _ => Self::Denied,
        }
    }

    /// Whether another attempt may succeed although nothing is changed.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Transient | Self::Malformed | Self::Interrupted
        )
    }
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure<E> {
    /// What it means for what comes next.
    pub class: FailureClass,
    /// How long the service asked not to be called (`Retry-After`, `x-amz-retry-after`).
    pub retry_after: Option<Duration>,
    /// The error itself, for the callers that waited.
    pub error: E,
}

impl<E> Failure<E> {
    /// Creates a failure without a hint from the service.
    pub fn new(class: FailureClass, error: E) -> Self {
        Self {
            class,
            retry_after: None,
            error,
        }
    }

    /// Sets how long the service asked not to be called.
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

/// The codes that AWS services use for "too many requests", without the suffix `Exception`.
/// Source: the standard retry mode of the AWS SDKs.
const THROTTLING_CODES: [&str; 13] = [
    "Throttling",
    "Throttled",
    "RequestThrottled",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceeded",
    "RequestRateExceeded",
    "SlowDown",
    "TooManyRequests",
    "ProvisionedThroughputExceeded",
    "PriorRequestNotComplete",
    "TransactionInProgress",
    "EC2Throttled",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_follows_the_code_then_the_status() {
        use FailureClass::*;
        for (status, code, class) in [
            (404, Some("ResourceNotFoundException"), Gone),
            (400, Some("InvalidTokenException"), Gone),
            (404, None, Denied),
            (400, Some("AccessDeniedException"), Denied),
            (400, Some("ExpiredTokenException"), Denied),
            (400, Some("InvalidParameterException"), Denied),
            (400, Some("ThrottlingException"), Throttled),
            (503, Some("SlowDown"), Throttled),
            (429, None, Throttled),
            (429, Some("Anything"), Throttled),
            (500, Some("InternalServerException"), Transient),
            (503, None, Transient),
            (408, None, Transient),
            (302, None, Denied),
        ] {
            assert_eq!(FailureClass::of(status, code), class, "{status} {code:?}");
        }
    }
}
