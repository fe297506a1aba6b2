use std::time::Duration;

use pod_identity_core::{
    AuthorizationToken, ClaimError, KubernetesName, ServiceAccountToken, Timestamp,
    UnverifiedClaims, variables,
};

use crate::credentials::settings::DEFAULT_AUDIENCE;
use crate::doctor::finding::Found;
use crate::doctor::findings::{
    FARGATE, TOKEN_AUDIENCE, TOKEN_BEARER, TOKEN_EARLY, TOKEN_EXPIRED, TOKEN_FILE, TOKEN_MALFORMED,
    TOKEN_NOT_SET,
};
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;

/// Reads the token as a provider does, and looks at its claims as the agent does.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let (origin, token) = match read(known) {
        Ok(read) => read,
        Err(found) => return Outcome::Found(vec![found]),
    };
    let outcome = look_at(&token, &origin, known.around.now());
    known.token = Some(token);
    outcome
}

/// The token, and where it was.
fn read(known: &Known) -> Result<(String, AuthorizationToken), Found> {
    if let Some(path) = known.around.variable(variables::TOKEN_FILE) {
        let token = known.around.token(path);
        let token = token.map_err(|error| TOKEN_FILE.with(error.to_string()))?;
        return Ok((path.to_owned(), token));
    }
    let Some(token) = known.around.variable(variables::TOKEN) else {
        return Err(TOKEN_NOT_SET.with(""));
    };
    let parsed = AuthorizationToken::parse(token.as_bytes());
    let token =
        parsed.map_err(|error| TOKEN_FILE.with(format!("{}: {error}", variables::TOKEN)))?;
    Ok((variables::TOKEN.to_owned(), token))
}

fn look_at(token: &AuthorizationToken, origin: &str, now: Timestamp) -> Outcome {
    let begins_with_scheme = token.expose().get(..7).unwrap_or_default();
    if begins_with_scheme.eq_ignore_ascii_case("bearer ") {
        return Outcome::found(&TOKEN_BEARER, origin);
    }
    let token = match ServiceAccountToken::parse(token.expose()) {
        Ok(token) => token,
        Err(error) => return Outcome::found(&TOKEN_MALFORMED, format!("{origin}: {error}")),
    };
    let claims = token.claims();
    let node = claims.node.as_deref().unwrap_or_default();
    if node.starts_with("fargate-") {
        return Outcome::found(&FARGATE, format!("the node is {node}"));
    }
    let detail = match claims.check(now, LEEWAY, DEFAULT_AUDIENCE) {
        Ok(()) => return Outcome::Fine(described(claims, now)),
        Err(ClaimError::Expired) => {
            return Outcome::found(&TOKEN_EXPIRED, format!("at {}", claims.expires_at));
        }
        Err(ClaimError::NotYetValid) => {
            let from = claims.not_before.map(|from| format!("from {from} on"));
            return Outcome::found(&TOKEN_EARLY, from.unwrap_or_default());
        }
        Err(_audience) => format!("{:?}", claims.audience),
    };
    Outcome::found(&TOKEN_AUDIENCE, detail)
}

fn described(claims: &UnverifiedClaims, now: Timestamp) -> String {
    let of = |name: &Option<KubernetesName>| name.as_deref().unwrap_or("?").to_owned();
    let minutes = claims.expires_at.saturating_since(now).as_secs() / 60;
    format!(
        "of the service account {}/{} and the pod {}, valid for {minutes} more minutes",
        of(&claims.namespace),
        of(&claims.service_account),
        of(&claims.pod),
    )
}

/// The agent's own, for clocks of nodes that are behind.
const LEEWAY: Duration = Duration::from_secs(5);
