use super::fault_words::FaultWords;
use super::order::{OrderError, Orderable};
use crate::{ApiError, ApiErrorCode, Fault, Gate, ServiceError, Stage};

impl Orderable for Fault {
    fn of(words: &FaultWords) -> Result<Vec<Self>, OrderError> {
        if let Some(member) = words.of_agent_only().first() {
            return Err(OrderError::AgentOnly(member));
        }
        let mut stages = [words.stall, words.hold, words.close, words.reset]
            .into_iter()
            .flatten();
        if stages.any(|stage| stage != Stage::BeforeHeaders) {
            return Err(OrderError::Stage);
        }
        let changes = [
            words.latency.map(|time| Self::Latency(time.0)),
            words.expires_in.map(|time| Self::ExpiresIn(time.0)),
            words.without.as_deref().map(without).transpose()?,
            words.stall.map(|_before_headers| Self::Hang),
        ];
        let mut faults: Vec<Self> = changes.into_iter().flatten().collect();
        faults.extend(answer(words)?);
        Ok(faults)
    }

    fn hold(_before_headers: Stage, gate: Gate) -> Self {
        Self::Gate(gate)
    }
}

fn answer(words: &FaultWords) -> Result<Option<Fault>, OrderError> {
    let error = match words.operation()? {
        None => error(words)?.map(Fault::from),
        Some(_other) => api_error(words)?.map(Fault::from),
    };
    if error.is_some() {
        return Ok(error);
    }
    let status = match (words.known_status()?, &words.text) {
        (None, Some(_)) => return Err(OrderError::Needs("text", "status")),
        (status, text) => {
            status.map(|status| Fault::Status(status, text.clone().unwrap_or_default()))
        }
    };
    let faults = [
        status,
        words.body.clone().map(Fault::Malformed),
        words
            .malformed
            .then(|| Fault::Malformed(BROKEN_OFF.to_owned())),
        words.empty.then(|| Fault::Malformed(String::new())),
        words.html.then(|| Fault::Status(200, PAGE.to_owned())),
        words
            .close
            .or(words.reset)
            .map(|_before_headers| Fault::Reset),
    ];
    Ok(faults.into_iter().flatten().next())
}

fn error(words: &FaultWords) -> Result<Option<ServiceError>, OrderError> {
    match (words.service_error()?, words.retry_after) {
        (None, Some(_)) => Err(OrderError::Needs("retry_after", "error")),
        (Some(error), Some(time)) => Ok(Some(error.retry_after(time.0))),
        (error, None) => Ok(error),
    }
}

/// An error of EKS or STS, for the other operations.
fn api_error(words: &FaultWords) -> Result<Option<ApiError>, OrderError> {
    if words.retry_after.is_some() {
        return Err(OrderError::RetryAfter);
    }
    let Some(name) = &words.error else {
        return match words.message {
            Some(_) => Err(OrderError::Needs("message", "error")),
            None => Ok(None),
        };
    };
    let code = ApiErrorCode::from_name(name).ok_or_else(|| OrderError::ApiError(name.clone()))?;
    let error = ApiError::new(code);
    Ok(Some(match &words.message {
        Some(message) => error.message(message),
        None => error,
    }))
}

fn without(path: &str) -> Result<Fault, OrderError> {
    let member = MEMBERS.into_iter().find(|member| *member == path);
    let member = member.ok_or_else(|| OrderError::Member {
        name: path.to_owned(),
        known: MEMBERS.join(", "),
    })?;
    Ok(Fault::Without(member))
}

/// What a success of EKS Auth is made of.
const MEMBERS: [&str; 15] = [
    "assumedRoleUser",
    "assumedRoleUser.arn",
    "assumedRoleUser.assumeRoleId",
    "audience",
    "credentials",
    "credentials.accessKeyId",
    "credentials.expiration",
    "credentials.secretAccessKey",
    "credentials.sessionToken",
    "podIdentityAssociation",
    "podIdentityAssociation.associationArn",
    "podIdentityAssociation.associationId",
    "subject",
    "subject.namespace",
    "subject.serviceAccount",
];

const BROKEN_OFF: &str = "{\"credentials\":";
const PAGE: &str = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>\n";
