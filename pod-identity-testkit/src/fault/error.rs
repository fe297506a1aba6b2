use pod_identity_core::wire::eks_auth::ErrorCode;

/// Why a fault is not injected: the cause, then the remedy.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(
    not(feature = "api-server"),
    expect(dead_code, reason = "some are errors of the API server's mock only")
)]
pub(crate) enum FaultError {
    #[error("{0} is not an error of EKS Auth; expected one of {known}", known = eks_auth_errors())]
    Error(String),
    #[error("{name} is not an error of EKS or STS; expected one of {known}")]
    ApiError { name: String, known: String },
    #[error("{name} is not an operation that the mock has; expected one of {known}")]
    Operation { name: String, known: String },
    #[error("{0} is not a status that can be answered; expected 200 to 599")]
    Status(u16),
    #[error("a redirect has a status from 300 to 399, not {0}")]
    Redirect(u16),
    #[error("{0} cannot be sent in a header; expected visible ASCII, and a name without spaces")]
    Header(String),
    #[error("{name} is not a member of {success}; expected one of {known}")]
    Member {
        name: String,
        success: &'static str,
        known: String,
    },
    #[error("a success of {0} has no member that a fault can change; use body for another answer")]
    NoMembers(&'static str),
    #[error("{0} exclude each other; use one at a time")]
    TwoAnswers(String),
    #[error("{0} exclude each other; leave out one")]
    Both(&'static str),
    #[error("{0} goes with {1} only; add that, or leave out {0}")]
    Needs(&'static str, &'static str),
    #[error("{0} counts from 1")]
    Zero(&'static str),
    #[error("{0} of 0s does nothing; give it a length such as \"1s\", or leave it out")]
    NoTime(&'static str),
    #[error("retry_after of the agent is in whole seconds; expected one such as \"2s\"")]
    PartsOfSeconds,
    #[error("{0} is for everybody who connects; beside it there can be after only")]
    Outage(&'static str),
    #[error(
        "there is no fault in it; expected error, status, body, malformed, empty, html, close, reset, \
         a change such as expires_in, a delay such as latency or stall, refuse, \
         or unreachable"
    )]
    Nothing,
    #[cfg(feature = "webhook")]
    #[error(
        "the mock webhook has no fault {0}; use status, text, body, fields, or one of the connection"
    )]
    NotOfWebhook(&'static str),
    #[error("{0} is a fault of the mock agent only; the mock of EKS Auth does not have it")]
    AgentOnly(&'static str),
    #[error(
        "without is a fault of the mock of EKS Auth only; use fields = {{ … = \"missing\" }} for the agent"
    )]
    EksAuthOnly,
    #[error("{0} is an operation of {1} only; inject it there")]
    OtherMock(&'static str, &'static str),
    #[error("the mock of the API server has several operations; say which, with operation or `on`")]
    NoOperation,
    #[error(
        "no error of Kubernetes is called {0}; expected one such as Forbidden or TooManyRequests"
    )]
    KubernetesError(String),
    #[error("{0} is not a fault of the mock of the API server")]
    NotOfApiServer(&'static str),
    #[error("{0} cannot change a watch, which has no end; use body, status, close or a delay")]
    NotOfWatch(&'static str),
    #[error(
        "operation goes with the mocks of EKS Auth and of the API server; the agent has one operation"
    )]
    OneOperation,
    #[error("retry_after is a header of EKS and EKS Auth; other operations do not have it")]
    RetryAfter,
}

fn eks_auth_errors() -> String {
    ErrorCode::ALL.map(ErrorCode::name).join(", ")
}
