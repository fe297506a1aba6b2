use std::sync::Mutex;

use crate::expect::expectation::Expectation;
use crate::{Expectations, Operation, RecordedRequest};

impl<'a> Expectations<'a, RecordedRequest> {
    /// Speaks of the requests to one operation.
    pub(crate) fn on(
        all: &'a Mutex<Vec<Expectation<RecordedRequest>>>,
        operation: Operation,
    ) -> Self {
        let is = move |request: &RecordedRequest| request.operation == operation;
        Self::of(all, operation.name(), is)
    }
}

/// What is to be true of requests to the AWS side only.
impl Expectations<'_, RecordedRequest> {
    /// Every request has a right signature. It takes [`SignatureCheck::Warn`](crate::SignatureCheck::Warn) or
    /// [`Enforce`](crate::SignatureCheck::Enforce), without which no signature is verified.
    pub fn signed(self) -> Self {
        self.none(
            |request| request.signature_error.is_some(),
            "has a wrong signature",
            |request| request.is_verified,
            "no request came whose signature the mock verifies",
        )
    }

    /// Every request is a success.
    pub fn succeed(self) -> Self {
        let is_success = |request: &RecordedRequest| {
            let status = request.outcome.as_ref().and_then(|outcome| outcome.status);
            status.is_none_or(|status| (200..300).contains(&status))
        };
        self.none(
            move |request| !is_success(request),
            "was refused",
            |request| request.outcome.is_some(),
            "no request was answered",
        )
    }
}
