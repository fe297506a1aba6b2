use std::time::Duration;

/// The class of a failed attempt, which determines what the slot does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// The association or the token is gone (`ResourceNotFoundException`, `InvalidTokenException`). An expired set
    /// is dropped. A valid one is dropped by the agent, whose permission to hand it out is the association, and
    /// kept by a client, because the service accepts it until it expires.
    Gone,
    /// The service refused, perhaps because of the node's own credentials (`AccessDeniedException`,
    /// `ExpiredTokenException`, other refusals). The held set is kept while it is valid.
    Denied,
    /// There were too many requests (429, any throttling code). The held set is kept. The next attempt waits for
    /// the service's hint or a backoff.
    Throttled,
    /// There was no answer, or a failure of the server (I/O, timeout, 5xx). The held set is kept. The next attempt
    /// waits for a backoff.
    Transient,
    /// The answer was a success that is incomplete, has expired, or cannot be parsed. As `Transient`, but the agent
    /// answers callers that wait with its message at once.
    Malformed,
    /// The attempt was not carried out, for example because its runtime was shut down. It does not count as a
    /// failure, and no expired set is handed out because of it.
    Interrupted,
}

impl FailureClass {
    /// Returns the class of an error answer. A known code wins over the HTTP status.
    ///
    /// The code may have the suffix `Exception`, as on the wire, or not.
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

    /// Returns whether the same request may succeed later.
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
    /// Determines what the slot does next.
    pub class: FailureClass,
    /// How long the service asked not to be called (`Retry-After`, `x-amz-retry-after`).
    pub retry_after: Option<Duration>,
    /// The error for the callers that wait.
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

/// The throttling codes of AWS services, without the suffix `Exception`.
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
