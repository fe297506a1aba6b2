use pod_identity_core::Secret;

use crate::doctor::findings::{self, NODE_NOT_ALLOWED, UNEXPECTED_ANSWER};
use crate::doctor::node::known::Known;
use crate::doctor::step::Outcome;
use crate::eks_auth::exchange::{EksAuth, EksAuthError};

/// Whether the agent's own role may ask EKS Auth: it is asked with a token of no pod, which it refuses after
/// it has looked at the caller.
pub(super) async fn check(known: &mut Known) -> Outcome {
    if !known.has_cluster {
        return Outcome::Skipped(
            "no cluster is known; `doctor node -- --cluster-name <name>` names it",
        );
    }
    if !known.may_ask {
        return Outcome::Skipped("EKS Auth cannot be asked");
    }
    let token = Secret::from(NO_TOKEN.to_owned());
    let asked = known.eks_auth.assume_role(&token).await;
    let error = match asked {
        Ok(_session) => {
            return Outcome::found(&UNEXPECTED_ANSWER, "EKS Auth accepted a token of no pod");
        }
        Err(failure) => failure.error,
    };
    let EksAuthError::Refused { code, message, .. } = &error else {
        let finding = findings::in_message(&error.to_string());
        return Outcome::found(finding.unwrap_or(&UNEXPECTED_ANSWER), error.to_string());
    };
    if TOKEN_REFUSED.contains(&code.as_str()) {
        return Outcome::Fine(format!(
            "EKS Auth answers {code} to a token of no pod, so the agent may ask"
        ));
    }
    if code == "AccessDeniedException" {
        return Outcome::found(&NODE_NOT_ALLOWED, message.clone());
    }
    let finding = findings::in_message(&error.to_string()).unwrap_or(&UNEXPECTED_ANSWER);
    Outcome::found(finding, error.to_string())
}

/// The form of a token, `{"alg":"RS256"}` and `{}`, with nothing in it.
const NO_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.e30.bm9uZQ";

/// What EKS Auth says to a token that it does not accept.
const TOKEN_REFUSED: [&str; 4] = [
    "InvalidTokenException",
    "ExpiredTokenException",
    "InvalidParameterException",
    "InvalidRequestException",
];
