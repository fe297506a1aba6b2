use std::process::Command;

use pod_identity_core::variables;
use serde_json::{Map, Value, json};

use crate::MockAgent;

/// The environment of a process that asks a mock: what is set, and what must not be in it because it
/// comes earlier in an SDK's chain.
#[derive(Debug)]
pub(super) struct Environment {
    set: Vec<(&'static str, String)>,
    unset: Vec<&'static str>,
}

impl Environment {
    /// A pod's. `no_proxy` is what `NO_PROXY` says now: some SDKs would send the token to a proxy.
    pub(super) fn of_pod(agent: &MockAgent, region: &str, no_proxy: Option<&str>) -> Self {
        let mut set = agent.env();
        set.extend(common(region, no_proxy));
        Self {
            set,
            unset: EARLIER_IN_THE_CHAIN
                .into_iter()
                .chain(STATIC_KEYS)
                .collect(),
        }
    }

    /// That of a caller of the AWS side with a static key.
    pub(super) fn of_caller(
        endpoint: &str,
        region: &str,
        key: (&str, &str),
        no_proxy: Option<&str>,
    ) -> Self {
        let mut set = vec![
            ("AWS_ACCESS_KEY_ID", key.0.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", key.1.to_owned()),
        ];
        set.extend(ENDPOINTS.map(|name| (name, endpoint.to_owned())));
        set.extend(common(region, no_proxy));
        Self {
            set,
            unset: EARLIER_IN_THE_CHAIN
                .into_iter()
                .chain(["AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"])
                .collect(),
        }
    }

    pub(super) fn apply_to(&self, command: &mut Command) {
        for name in &self.unset {
            command.env_remove(name);
        }
        command.envs(self.set.iter().map(|(name, value)| (name, value)));
    }

    /// The members `env` and `unset` of the ready line.
    pub(super) fn add_to(&self, ready: &mut Map<String, Value>) {
        let set = self.set.iter();
        let env: Map<_, _> = set
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        ready.insert("env".to_owned(), env.into());
        ready.insert("unset".to_owned(), json!(self.unset));
    }
}

/// What `NO_PROXY` says in our own environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: read once, and handed on as an argument"
)]
pub(super) fn no_proxy() -> Option<String> {
    std::env::var("NO_PROXY")
        .or_else(|_unset| std::env::var("no_proxy"))
        .ok()
        .filter(|hosts| !hosts.is_empty())
}

fn common(region: &str, no_proxy: Option<&str>) -> [(&'static str, String); 7] {
    let no_proxy = no_proxy.map_or_else(
        || LOOPBACK.to_owned(),
        |hosts| format!("{hosts},{LOOPBACK}"),
    );
    let nothing = if cfg!(windows) { "NUL" } else { "/dev/null" };
    [
        ("AWS_REGION", region.to_owned()),
        ("AWS_DEFAULT_REGION", region.to_owned()),
        ("AWS_CONFIG_FILE", nothing.to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", nothing.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("NO_PROXY", no_proxy.clone()),
        ("no_proxy", no_proxy),
    ]
}

const LOOPBACK: &str = "127.0.0.1";

/// With these an SDK does not come to the agent, or not to this one.
const EARLIER_IN_THE_CHAIN: [&str; 5] = [
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    variables::RELATIVE_URI,
    variables::TOKEN,
];

const STATIC_KEYS: [&str; 3] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// What the AWS CLI and the SDKs look for, instead of `--endpoint-url`.
const ENDPOINTS: [&str; 3] = [
    "AWS_ENDPOINT_URL_EKS",
    "AWS_ENDPOINT_URL_EKS_AUTH",
    "AWS_ENDPOINT_URL_STS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_either_set_or_unset() {
        let agent = MockAgent::start().await;
        let key = ("AKIA", "secret");
        for environment in [
            Environment::of_pod(&agent, "us-west-2", Some("example.com")),
            Environment::of_caller("http://127.0.0.1:1", "us-west-2", key, None),
        ] {
            for (name, _) in &environment.set {
                assert!(!environment.unset.contains(name), "{name}");
            }
        }
    }

    #[tokio::test]
    async fn loopback_is_added_to_what_is_not_proxied() {
        let agent = MockAgent::start().await;
        let environment = Environment::of_pod(&agent, "us-west-2", Some("example.com"));
        let no_proxy = ("NO_PROXY", "example.com,127.0.0.1".to_owned());
        assert!(environment.set.contains(&no_proxy));
    }
}
