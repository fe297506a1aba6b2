//! The environment of `server`; `docs/environment.md` lists every variable that is read.

use std::ffi::{OsStr, OsString};

use http::Uri;
use pod_identity_cli::{Failure, variable};
use tracing::warn;

use super::values;

/// Restarts the program without the blank variables that it reads, if there are any: for the official agent
/// a blank variable is an unset one, and the libraries below read the environment by themselves.
///
/// The process keeps its id. The alternative, to remove variables from a running process, is unsafe.
pub(super) fn restart_without_blank_variables(arguments: &[OsString]) {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;

        let blank: Vec<_> = std::env::vars_os()
            .filter(|(name, value)| is_ours(name) && value.to_string_lossy().trim().is_empty())
            .map(|(name, _)| name)
            .collect();
        if blank.is_empty() {
            return;
        }
        if let (Ok(program), Some((name, arguments))) =
            (std::env::current_exe(), arguments.split_first())
        {
            let mut command = std::process::Command::new(program);
            command.arg0(name).args(arguments);
            for name in blank {
                command.env_remove(name);
            }
            // It returns only on failure, as without /proc; then blank variables are what they are.
            let _not_restarted = command.exec();
        }
    }
}

fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let upper = name.to_ascii_uppercase();
    name.starts_with("AWS_")
        || name.starts_with("SSL_CERT_")
        || upper.ends_with("_PROXY")
        || name == "NODE_NAME"
}

/// The URL in `AWS_ENDPOINT_URL_EKS_AUTH`, checked as `--endpoint` is.
///
/// # Errors
/// Fails with a usage error that names the variable.
pub(super) fn endpoint() -> Result<Option<String>, Failure> {
    const NAME: &str = "AWS_ENDPOINT_URL_EKS_AUTH";
    let checked = variable(NAME).map(|url| values::endpoint(&url));
    checked
        .transpose()
        .map(Option::flatten)
        .map_err(|error| Failure::usage(format!("{NAME} is not valid: {error}")))
}

/// Logs each proxy variable that is not a URL. The value is left out, because it may
/// hold a password.
pub(super) fn warn_of_invalid_proxies() {
    for name in PROXIES {
        if variable(name).is_some_and(|url| !is_proxy(&url)) {
            warn!(
                variable = name,
                "the proxy is not a URL such as http://proxy.example:3128; correct it or unset it"
            );
        }
    }
}

fn is_proxy(text: &str) -> bool {
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    // The parser accepts any text as a port and then returns none.
    url.authority().is_some_and(|authority| {
        let name = authority.as_str().rsplit('@').next().unwrap_or_default();
        let port = name.strip_prefix(authority.host()).unwrap_or_default();
        !authority.host().is_empty() && (port.is_empty() || authority.port_u16().is_some())
    })
}

const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_url_with_or_without_a_scheme() {
        for text in [
            "http://proxy:3128",
            "proxy:3128",
            "https://user:pw@proxy",
            "[::1]:80",
        ] {
            assert!(is_proxy(text), "{text}");
        }
        for text in ["http://", "http://a b", "http://proxy:port"] {
            assert!(!is_proxy(text), "{text}");
        }
    }
}
