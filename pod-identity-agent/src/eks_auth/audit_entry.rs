use std::net::IpAddr;

use pod_identity_core::{Failure, ServiceAccountToken, Timestamp, UnverifiedClaims};

use crate::eks_auth::exchange::{EksAuthError, Session};
use crate::telemetry::audit::{AuditEntry, Issued};

/// The line of the audit for one exchange. It holds no secret.
pub(crate) fn audit_entry<'a>(
    now: Timestamp,
    source: IpAddr,
    token: Option<&'a ServiceAccountToken>,
    result: &'a Result<Session, Failure<EksAuthError>>,
) -> AuditEntry<'a> {
    let mut entry = AuditEntry {
        time: now,
        source,
        outcome: "issued".into(),
        claimed_pod: token.and_then(|token| well_formed_pod(token.claims())),
        request_id: None,
        issued: None,
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
        log.record(&audit_entry(NOW, source, None, result));
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
