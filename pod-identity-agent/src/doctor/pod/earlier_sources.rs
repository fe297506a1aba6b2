use crate::doctor::findings::{KEYS_FIRST, PROFILE_FIRST, WEB_IDENTITY_FIRST};
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;
use crate::doctor::surroundings::Surroundings;

/// Looks for what the default chains of SDKs ask before container credentials.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let around = &known.around;
    let mut found = Vec::new();
    let both = |names: [&str; 2]| names.iter().all(|name| around.variable(name).is_some());
    if both(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) {
        found.push(KEYS_FIRST.with("AWS_ACCESS_KEY_ID is set"));
    }
    if both(["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"]) {
        found.push(WEB_IDENTITY_FIRST.with("AWS_WEB_IDENTITY_TOKEN_FILE is set"));
    }
    let profile = around.variable("AWS_PROFILE").unwrap_or("default");
    let has_credentials = |path: &String| {
        let text = around.read(path).unwrap_or_default();
        holds_credentials(&String::from_utf8_lossy(&text), profile)
    };
    if let Some(path) = shared_files(around).find(has_credentials) {
        found.push(PROFILE_FIRST.with(format!("the profile {profile:?} in {path}")));
    }
    Outcome::of(found, "none")
}

fn shared_files(around: &Surroundings) -> impl Iterator<Item = String> {
    let home = around.variable("HOME").unwrap_or("/root");
    [
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        ("AWS_CONFIG_FILE", "config"),
    ]
    .into_iter()
    .map(move |(variable, name)| {
        around
            .variable(variable)
            .map_or_else(|| format!("{home}/.aws/{name}"), str::to_owned)
    })
}

/// Whether a profile of a shared file has a setting that leads to credentials.
fn holds_credentials(text: &str, profile: &str) -> bool {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let name = section.split(']').next().unwrap_or_default().trim();
            inside = name.strip_prefix("profile ").unwrap_or(name).trim() == profile;
        } else if inside && let Some((key, _value)) = line.split_once('=') {
            let key = key.trim().to_ascii_lowercase();
            if SOURCES.contains(&key.as_str()) {
                return true;
            }
        }
    }
    false
}

const SOURCES: [&str; 6] = [
    "aws_access_key_id",
    "role_arn",
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_account_id",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_counts_if_it_leads_to_credentials() {
        let config = "[default]\nregion = us-west-2\n[profile dev]\nrole_arn = arn\n# [other]\n";
        assert!(!holds_credentials(config, "default"));
        assert!(holds_credentials(config, "dev"));
        assert!(!holds_credentials(config, "other"));
        assert!(holds_credentials(
            "[default]\nAWS_ACCESS_KEY_ID=x",
            "default"
        ));
    }
}
