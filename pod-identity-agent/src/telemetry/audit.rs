use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pod_identity_core::{Failure, ServiceAccountToken, Timestamp, UnverifiedClaims};
use serde_json::{Map, Value, json};

use crate::eks_auth::exchange::{EksAuthError, Session};

/// One JSON line for each set of credentials that EKS Auth issued or refused.
///
/// `time`, `outcome` (`issued`, or the error's code), `source` (the address that first asked),
/// `namespace` and `service-account` as EKS Auth verified them, `claimed-pod` from the token if it is a
/// well-formed name, `association`, `role-session`, `request-id`, `expiration`. Never a secret.
///
/// A line is written by the task that asked EKS Auth: what may block, such as a pipe that nobody reads,
/// belongs behind a writer that only queues.
pub struct AuditLog {
    /// Held for one line.
    to: Option<Mutex<Box<dyn Write + Send>>>,
}

impl AuditLog {
    /// No audit.
    pub fn off() -> Self {
        Self { to: None }
    }

    /// Among the log on standard output.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// To any writer; each write is one line.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self {
            to: Some(Mutex::new(Box::new(writer))),
        }
    }

    /// Appended to a file, which only its owner may read.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn file(path: &Path) -> io::Result<Self> {
        open(path).map(Self::to)
    }

    pub(crate) fn record(
        &self,
        now: Timestamp,
        source: IpAddr,
        token: &str,
        result: &Result<Session, Failure<EksAuthError>>,
    ) {
        let Some(to) = &self.to else {
            return;
        };
        let mut line = Value::Object(entry(now, source, token, result)).to_string();
        line.push('\n');
        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
        // Credentials are given out even where the audit cannot be written; the log shows that it ends.
        let _unwritten = to.write_all(line.as_bytes()).and_then(|()| to.flush());
    }
}

/// Opens a file for an audit, which is appended to it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn entry(
    now: Timestamp,
    source: IpAddr,
    token: &str,
    result: &Result<Session, Failure<EksAuthError>>,
) -> Map<String, Value> {
    let claims = ServiceAccountToken::parse(token).ok();
    let pod = claims
        .as_ref()
        .and_then(|token| well_formed_pod(token.claims()));
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            entry.insert(name.to_owned(), value);
        }
    };
    put("level", json!("info"));
    put("msg", json!("audit"));
    put("time", json!(now));
    put("source", json!(source));
    put("claimed-pod", json!(pod));
    match result {
        Ok(session) => {
            put("outcome", json!("issued"));
            put("namespace", json!(session.namespace));
            put("service-account", json!(session.service_account));
            put("association", json!(session.association_id));
            put("role-session", json!(session.assumed_role_arn));
            put("request-id", json!(session.request_id));
            put("expiration", json!(session.credentials.expiration()));
        }
        Err(Failure {
            error: EksAuthError::Refused {
                code, request_id, ..
            },
            ..
        }) => {
            put("outcome", json!(code));
            put("request-id", json!(request_id));
        }
        Err(failure) => put("outcome", json!(failure.error.to_string())),
    }
    entry
}

fn well_formed_pod(claims: &UnverifiedClaims) -> Option<&str> {
    claims.pod.as_deref().filter(|name| is_dns_name(name))
}

/// RFC 1123, as Kubernetes asks of a pod's name: so what a client claims cannot pass for anything else.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("on", &self.to.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use pod_identity_core::{Credentials, FailureClass, Secret};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

    fn written(result: &Result<Session, Failure<EksAuthError>>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = AuditLog::file(&path).unwrap();
        log.record(NOW, IpAddr::from([10, 0, 0, 7]), "no.real.token", result);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn an_issued_set_is_one_line_without_a_secret() {
        let secret = |text: &str| Secret::from(text.to_owned());
        let credentials = Credentials::new("ASIAEXAMPLE", secret("hush"), secret("hush"), NOW);
        let mut session = Session::new(credentials, "shop", "cart");
        session.association_id = "a-1".into();
        let line = written(&Ok(session));
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains("hush"), "{line}");
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["outcome"], "issued");
        assert_eq!(json["namespace"], "shop");
        assert_eq!(json["source"], "10.0.0.7");
        assert_eq!(json["time"], "2026-03-01T12:00:00Z");
    }

    #[test]
    fn a_refusal_names_its_code_and_request() {
        let error = EksAuthError::Refused {
            status: 400,
            code: "AccessDeniedException".into(),
            message: "no".into(),
            request_id: Some("r-1".into()),
        };
        let line = written(&Err(Failure::new(FailureClass::Denied, error)));
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&json["outcome"], &json["request-id"]),
            (&json!("AccessDeniedException"), &json!("r-1"))
        );
    }

    #[test]
    fn only_well_formed_names_are_repeated() {
        for good in ["cart-0", "a", "cart.shop.example", "0a"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a..b",
            "a\nb",
            "a\"b",
            &"a".repeat(254),
        ] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }
}
