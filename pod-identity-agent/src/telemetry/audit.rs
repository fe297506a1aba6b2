use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pod_identity_core::{BoundPod, Timestamp};
use serde_json::{Map, Value, json};

use crate::telemetry::audit_file::AuditFile;
use crate::telemetry::json_line::json_line;

/// A log with one JSON line for each exchange with EKS Auth, and for each new token that is answered without
/// one because the agent has verified it.
///
/// `time`, `outcome` (`issued`, `verified` for an answer without an exchange, or the error's code), `source`
/// (the address that asked), `namespace` and `service-account` as EKS Auth or the agent verified them,
/// `pod` and `pod-uid` if the agent has verified the token, or else `claimed-pod` from the token if it is a
/// well-formed name, `association`, `role-session`, `request-id`, `expiration`. Never a secret.
///
/// With [`AgentBuilder::audit_hits`](crate::AgentBuilder::audit_hits) also one for each address that gets the
/// credentials of a token with which another one asked first: `outcome` is `hit`, and `first-source` that other
/// address.
///
/// The task of the exchange writes the line: put a writer that can block, such as a pipe that nobody reads,
/// behind one that only queues.
pub struct AuditLog {
    /// Held to write one line.
    to: Option<Mutex<Box<dyn Write + Send>>>,
}

impl AuditLog {
    /// Writes nothing.
    pub fn off() -> Self {
        Self { to: None }
    }

    /// Writes to standard output, among the lines of the log.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// Writes to any writer; each write is one line.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self {
            to: Some(Mutex::new(Box::new(writer))),
        }
    }

    /// Appends to a file, which is created if there is none. Its owner and group may read it: permissions of
    /// others are taken away.
    ///
    /// # Errors
    /// Fails when the file cannot be opened, or when those permissions cannot be taken away.
    pub fn file(path: &Path) -> io::Result<Self> {
        AuditFile::open(path).map(Self::to)
    }

    /// Writes one line.
    pub(crate) fn record(&self, entry: &AuditEntry<'_>) {
        let Some(to) = &self.to else {
            return;
        };
        let line = json_line(&entry.to_json());
        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
        // Credentials are served even if the audit cannot be written; a metric counts the lost lines.
        let _unwritten = to.write_all(line.as_bytes()).and_then(|()| to.flush());
    }
}

/// One line of the audit. Fields are left out where they are `None`.
#[derive(Debug)]
pub(crate) struct AuditEntry<'a> {
    pub(crate) time: Timestamp,
    /// The address that first asked.
    pub(crate) address: IpAddr,
    /// `issued`, or the code or text of the error.
    pub(crate) outcome: Cow<'a, str>,
    /// As the token claims it, unverified.
    pub(crate) claimed_pod: Option<&'a str>,
    /// As the agent has verified it.
    pub(crate) verified: Option<Verified<'a>>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) issued: Option<Issued<'a>>,
    pub(crate) hit: Option<Hit<'a>>,
}

/// The pod of a token that the agent has verified.
#[derive(Debug)]
pub(crate) struct Verified<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) service_account: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) pod_uid: &'a str,
}

impl<'a> From<&'a BoundPod> for Verified<'a> {
    fn from(pod: &'a BoundPod) -> Self {
        Self {
            namespace: &pod.namespace,
            service_account: &pod.service_account,
            pod: &pod.name,
            pod_uid: &pod.uid,
        }
    }
}

/// The session that EKS Auth issued.
#[derive(Debug)]
pub(crate) struct Issued<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) service_account: &'a str,
    pub(crate) association: &'a str,
    pub(crate) role_session: &'a str,
    pub(crate) expiration: Timestamp,
}

/// Credentials from the cache that another address got than the one that asked first.
#[derive(Debug)]
pub(crate) struct Hit<'a> {
    pub(crate) first_address: IpAddr,
    /// As the token names them, which EKS Auth has accepted.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) service_account: Option<&'a str>,
}

impl AuditEntry<'_> {
    fn to_json(&self) -> Value {
        let mut entry = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                entry.insert(name.to_owned(), value);
            }
        };
        put("level", json!("info"));
        put("msg", json!("audit"));
        put("time", json!(self.time));
        put("source", json!(self.address));
        put("outcome", json!(self.outcome));
        put("claimed-pod", json!(self.claimed_pod));
        if let Some(verified) = &self.verified {
            put("namespace", json!(verified.namespace));
            put("service-account", json!(verified.service_account));
            put("pod", json!(verified.pod));
            put("pod-uid", json!(verified.pod_uid));
        }
        put("request-id", json!(self.request_id));
        if let Some(issued) = &self.issued {
            put("namespace", json!(issued.namespace));
            put("service-account", json!(issued.service_account));
            put("association", json!(issued.association));
            put("role-session", json!(issued.role_session));
            put("expiration", json!(issued.expiration));
        }
        if let Some(hit) = &self.hit {
            put("first-source", json!(hit.first_address));
            put("namespace", json!(hit.namespace));
            put("service-account", json!(hit.service_account));
        }
        Value::Object(entry)
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("on", &self.to.is_some())
            .finish_non_exhaustive()
    }
}
