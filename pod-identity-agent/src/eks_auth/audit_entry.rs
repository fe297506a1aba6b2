use std::net::IpAddr;

use pod_identity_core::{Failure, Timestamp};

use crate::eks_auth::exchange::{EksAuthError, Session};
use crate::eks_auth::subject::Subject;
use crate::telemetry::audit::{AuditEntry, Hit, Issued, Verified};

/// The line of the audit for one exchange. It holds no secret.
pub(crate) fn audit_entry<'a>(
    now: Timestamp,
    address: IpAddr,
    subject: &'a Subject,
    result: &'a Result<Session, Failure<EksAuthError>>,
) -> AuditEntry<'a> {
    let mut entry = AuditEntry {
        time: now,
        address,
        outcome: "issued".into(),
        claimed_pod: subject.claimed().and_then(|names| names.pod.as_deref()),
        verified: subject.verified().map(Verified::from),
        request_id: None,
        issued: None,
        hit: None,
    };
    match result {
        Ok(session) => {
            entry.request_id = session.request_id.as_deref();
            entry.issued = Some(Issued {
                namespace: &session.namespace,
                service_account: &session.service_account,
                association: &session.association_id,
                role_session: &session.assumed_role_arn,
                expiration: session.credentials.expiration(),
            });
        }
        Err(failure) => match &failure.error {
            EksAuthError::Refused {
                code, request_id, ..
            } => {
                entry.outcome = code.into();
                entry.request_id = request_id.as_deref();
            }
            error => entry.outcome = error.to_string().into(),
        },
    }
    entry
}

/// The line of the audit for credentials from the cache that another address got than the one that asked
/// first.
pub(crate) fn hit_entry<'a>(
    now: Timestamp,
    address: IpAddr,
    first_address: IpAddr,
    subject: &'a Subject,
) -> AuditEntry<'a> {
    let claimed = subject.claimed();
    AuditEntry {
        time: now,
        address,
        outcome: "hit".into(),
        claimed_pod: claimed.and_then(|names| names.pod.as_deref()),
        verified: subject.verified().map(Verified::from),
        request_id: None,
        issued: None,
        hit: Some(Hit {
            first_address,
            namespace: claimed.and_then(|names| names.namespace.as_deref()),
            service_account: claimed.and_then(|names| names.service_account.as_deref()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use pod_identity_core::{Credentials, FailureClass, Secret};

    use serde_json::{Value, json};

    use super::*;
    use crate::AuditLog;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);

    fn written(result: &Result<Session, Failure<EksAuthError>>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = AuditLog::file(&path).unwrap();
        let source = IpAddr::from([10, 0, 0, 7]);
        log.record(&audit_entry(NOW, source, &Subject::default(), result));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn issued_credentials_are_logged_in_one_line_without_a_secret() {
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
    fn a_refusal_is_logged_with_its_code_and_request_id() {
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
}
