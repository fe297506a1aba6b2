use std::net::SocketAddr;
use std::path::Path;

use pod_identity_core::variables;
use pod_identity_core::wire::agent;
use serde_json::json;

/// What a pod's environment says, and what must not be in it because it comes earlier in an SDK's chain.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) set: Vec<(&'static str, String)>,
    pub(super) unset: Vec<&'static str>,
    eks_auth: String,
}

impl Environment {
    /// `no_proxy` is what `NO_PROXY` says now: some SDKs would send the token to a proxy.
    pub(super) fn new(
        agent: SocketAddr,
        token_file: &Path,
        region: &str,
        eks_auth: &str,
        no_proxy: Option<&str>,
    ) -> Self {
        let no_proxy = no_proxy.map(|hosts| format!("{hosts},{}", agent.ip()));
        let no_proxy = no_proxy.unwrap_or_else(|| agent.ip().to_string());
        let nothing = if cfg!(windows) { "NUL" } else { "/dev/null" };
        Self {
            set: vec![
                (
                    variables::FULL_URI,
                    format!("http://{agent}{}", agent::PATH),
                ),
                (variables::TOKEN_FILE, token_file.display().to_string()),
                ("AWS_REGION", region.to_owned()),
                ("AWS_DEFAULT_REGION", region.to_owned()),
                ("AWS_CONFIG_FILE", nothing.to_owned()),
                ("AWS_SHARED_CREDENTIALS_FILE", nothing.to_owned()),
                ("NO_PROXY", no_proxy.clone()),
                ("no_proxy", no_proxy),
            ],
            unset: EARLIER_IN_THE_CHAIN.to_vec(),
            eks_auth: eks_auth.to_owned(),
        }
    }

    /// Lines for a POSIX shell; what is not a command is a comment, so that all of it can be sourced.
    pub(super) fn to_shell(&self) -> String {
        let mut lines = vec!["# The agent is ready. A pod's environment, for a shell:".to_owned()];
        lines.extend(
            self.set
                .iter()
                .map(|(name, value)| format!("export {name}={}", quoted(value))),
        );
        lines.push(format!("unset {}", self.unset.join(" ")));
        lines.push(String::new());
        lines.push("# Two commands to try in it:".to_owned());
        lines.extend(TO_TRY.map(|command| format!("#   {command}")));
        lines.push(String::new());
        lines.push(format!(
            "# {} stops the embedded EKS Auth, and once more restarts it. Ctrl-C ends.",
            switch()
        ));
        lines.join("\n") + "\n"
    }

    /// One JSON object on one line.
    pub(super) fn to_json(&self) -> String {
        let env: serde_json::Map<_, _> = self
            .set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "env": env,
            "unset": self.unset,
            "eks_auth": self.eks_auth,
            "pid": std::process::id(),
            "switch_eks_auth": format!("kill -USR1 {}", std::process::id()),
        })
        .to_string()
    }
}

/// A container that sees one of these does not come to the agent, or not to this one.
const EARLIER_IN_THE_CHAIN: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    variables::RELATIVE_URI,
    variables::TOKEN,
];

const TO_TRY: [&str; 2] = [
    r#"curl -sH "Authorization: $(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")" "$AWS_CONTAINER_CREDENTIALS_FULL_URI""#,
    "python3 -c 'import boto3; print(boto3.Session().get_credentials().access_key)'",
];

fn switch() -> String {
    let pid = std::process::id();
    format!("Enter (in this terminal), or `kill -USR1 {pid}`,")
}

fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-[]".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_lines_can_be_sourced_whatever_the_path() {
        let environment = Environment::new(
            "127.0.0.1:4711".parse().unwrap(),
            Path::new("/tmp/it's here/token"),
            "us-west-2",
            "http://127.0.0.1:1",
            Some("example.com"),
        );
        let shell = environment.to_shell();
        assert!(shell.contains(
            "export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:4711/v1/credentials\n"
        ));
        assert!(
            shell.contains(
                r"export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='/tmp/it'\''s here/token'"
            )
        );
        assert!(shell.contains("unset AWS_ACCESS_KEY_ID "));
        assert!(shell.contains("export NO_PROXY='example.com,127.0.0.1'\n"));
        for line in shell.lines().filter(|line| !line.is_empty()) {
            assert!(
                ["#", "export ", "unset "]
                    .iter()
                    .any(|start| line.starts_with(start)),
                "{line}"
            );
        }
    }
}
