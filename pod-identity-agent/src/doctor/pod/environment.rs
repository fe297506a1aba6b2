use pod_identity_core::{Endpoint, variables};

use crate::doctor::findings::{
    HALF_CONFIGURED, INVALID_URI, NO_ENVIRONMENT, RELATIVE_URI_WINS, WINDOWS,
};
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;

/// Reads the endpoint as a provider does.
pub(super) async fn check(known: &mut Known) -> Outcome {
    if cfg!(windows) {
        return Outcome::found(&WINDOWS, "");
    }
    let around = &known.around;
    match Endpoint::from_env(|name| around.variable(name).map(str::to_owned)) {
        Ok(Some(endpoint)) => {
            // Not the path: on ECS it is a capability.
            let scheme = endpoint.uri().scheme_str().unwrap_or_default();
            let host = endpoint.uri().host().unwrap_or_default();
            let place = format!("{scheme}://{host}:{}", endpoint.port());
            known.endpoint = Some(endpoint);
            let relative = known.around.variable(variables::RELATIVE_URI);
            match (relative, known.around.variable(variables::FULL_URI)) {
                (Some(_), Some(_)) => Outcome::found(&RELATIVE_URI_WINS, ""),
                _ => Outcome::Fine(place),
            }
        }
        Ok(None) => match around.first_of(&[variables::TOKEN_FILE, variables::TOKEN]) {
            Some((name, _)) => Outcome::found(&HALF_CONFIGURED, name),
            None => Outcome::found(&NO_ENVIRONMENT, ""),
        },
        Err(error) => Outcome::found(&INVALID_URI, error.to_string()),
    }
}
