use crate::doctor::findings::NODE_ROLE;
use crate::doctor::instance_metadata::role_of_node;
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;

/// What an SDK falls back to where container credentials fail.
pub(super) async fn check(known: &mut Known) -> Outcome {
    if known.credentials.is_some() {
        return Outcome::Skipped("the agent gives credentials");
    }
    match role_of_node(&known.around).await {
        Some(role) => Outcome::found(&NODE_ROLE, format!("the role is {role}")),
        None => {
            Outcome::Fine("instance metadata does not answer, so that no SDK uses it".to_owned())
        }
    }
}
