use std::path::Path;
use std::process::Command;

use pod_identity_core::variables;

use crate::variable;

/// The environment of a process whose AWS SDK uses the agent or a mock: the variables to set, and those to
/// unset because an SDK considers them earlier.
#[derive(Debug, Clone)]
pub struct Environment {
    set: Vec<(&'static str, String)>,
    unset: Vec<&'static str>,
}

impl Environment {
    /// The environment of a pod. Its SDK fetches credentials from `credentials_uri` with the token in
    /// `token_file`, and from nowhere else.
    ///
    /// `no_proxy` is the value of [`no_proxy`] outside, which is extended by loopback: some SDKs would send
    /// the token to a proxy.
    pub fn of_pod(
        credentials_uri: &str,
        token_file: &Path,
        region: &str,
        no_proxy: Option<&str>,
    ) -> Self {
        let mut set = vec![
            (variables::FULL_URI, credentials_uri.to_owned()),
            (variables::TOKEN_FILE, token_file.display().to_string()),
        ];
        set.extend(common(region, no_proxy));
        Self {
            set,
            unset: [&EARLIER_IN_THE_CHAIN[..], &STATIC_KEYS].concat(),
        }
    }

    /// The environment of a caller of EKS, EKS Auth and STS at `endpoint`, with a static key: its id, then
    /// its secret.
    pub fn of_caller(
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
        let unset = ["AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"];
        Self {
            set,
            unset: [&EARLIER_IN_THE_CHAIN[..], &unset].concat(),
        }
    }

    /// The variables to set, with their values.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.set.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The variables to unset.
    pub fn unset(&self) -> &[&'static str] {
        &self.unset
    }

    /// Gives a command this environment, on top of the one that it inherits.
    pub fn apply_to(&self, command: &mut Command) {
        for name in &self.unset {
            command.env_remove(name);
        }
        command.envs(self.set());
    }

    /// The same as lines for a POSIX shell, to be sourced.
    pub fn to_shell(&self) -> String {
        let mut shell: String = self
            .set()
            .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
            .collect();
        shell.push_str(&format!("unset {}\n", self.unset.join(" ")));
        shell
    }
}

/// The hosts that `NO_PROXY`, or else `no_proxy`, names in the environment of this process.
pub fn no_proxy() -> Option<String> {
    variable("NO_PROXY").or_else(|| variable("no_proxy"))
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
        // Later in the chain, but an SDK that fails here must not fall back to the machine's own role.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("NO_PROXY", no_proxy.clone()),
        ("no_proxy", no_proxy),
    ]
}

fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-[]".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

const LOOPBACK: &str = "127.0.0.1";

/// With one of these an SDK does not ask the agent, or asks another one.
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

/// What the AWS CLI and the SDKs read instead of `--endpoint-url`.
const ENDPOINTS: [&str; 3] = [
    "AWS_ENDPOINT_URL_EKS",
    "AWS_ENDPOINT_URL_EKS_AUTH",
    "AWS_ENDPOINT_URL_STS",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of_pod() -> Environment {
        Environment::of_pod(
            "http://127.0.0.1:4711/v1/credentials",
            Path::new("/tmp/it's here/token"),
            "us-west-2",
            Some("example.com"),
        )
    }

    #[test]
    fn a_variable_is_either_set_or_unset() {
        let key = ("AKIA", "secret");
        let of_caller = Environment::of_caller("http://127.0.0.1:1", "us-west-2", key, None);
        for environment in [of_pod(), of_caller] {
            for (name, _) in environment.set() {
                assert!(!environment.unset().contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn loopback_is_added_to_the_hosts_without_a_proxy() {
        let no_proxy = |environment: &Environment| {
            let mut set = environment.set();
            set.find_map(|(name, value)| (name == "NO_PROXY").then(|| value.to_owned()))
        };
        assert_eq!(
            no_proxy(&of_pod()).as_deref(),
            Some("example.com,127.0.0.1")
        );
        let alone = Environment::of_caller("http://127.0.0.1:1", "us-west-2", ("", ""), None);
        assert_eq!(no_proxy(&alone).as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn shell_lines_can_be_sourced_whatever_the_path() {
        let shell = of_pod().to_shell();
        assert!(shell.contains(
            "export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:4711/v1/credentials\n"
        ));
        assert!(
            shell.contains(
                r"export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/tmp/it'\''s here/token'"
            )
        );
        assert!(shell.contains("export NO_PROXY='example.com,127.0.0.1'\n"));
        assert!(shell.contains(" AWS_ACCESS_KEY_ID "), "{shell}");
        for line in shell.lines() {
            let is_command = line.starts_with("export ") || line.starts_with("unset ");
            assert!(is_command, "{line}");
        }
    }
}
