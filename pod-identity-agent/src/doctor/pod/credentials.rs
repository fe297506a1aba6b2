use pod_identity_core::wire::agent::{DecodeError, decode};

use crate::doctor::findings::{self, UNUSABLE_ANSWER};
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;

/// Reads the answer as a provider does.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let Some(success) = &known.success else {
        return Outcome::Skipped("the agent gave none");
    };
    let sent = known.token.as_ref().map(|token| token.as_secret());
    let credentials = match decode(success.body(), sent) {
        Ok(credentials) => credentials,
        Err(DecodeError::Refused(error)) => {
            let finding = findings::in_message(&error.message).unwrap_or(&UNUSABLE_ANSWER);
            return Outcome::found(finding, error.to_string());
        }
        Err(error) => return Outcome::found(&UNUSABLE_ANSWER, error.to_string()),
    };
    let now = known.around.now();
    let expiration = credentials.expiration();
    if expiration <= now {
        return Outcome::found(&UNUSABLE_ANSWER, format!("expired at {expiration}"));
    }
    let account = credentials.account_id().unwrap_or("?").to_owned();
    let minutes = expiration.saturating_since(now).as_secs() / 60;
    known.credentials = Some(credentials);
    Outcome::Fine(format!(
        "of the account {account}, valid for {minutes} more minutes"
    ))
}
