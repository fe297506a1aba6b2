//! The environment of `server`; `docs/environment.md` lists every variable that is read.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use http::Uri;
use pod_identity_cli::{Failure, variable};
use tracing::warn;

use super::values;
use crate::url::is_complete;

/// Restarts the program without the blank variables that it reads, if there are any: for the official agent
/// a blank variable is an unset one, and the libraries below read the environment by themselves.
///
/// The process keeps its id. The alternative, to remove variables from a running process, is unsafe.
pub(super) fn restart_without_blank_variables(arguments: &[OsString]) {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;

        let Some(kept) = without_blank(std::env::vars_os()) else {
            return;
        };
        if let (Ok(program), Some((name, arguments))) =
            (std::env::current_exe(), arguments.split_first())
        {
            let mut command = std::process::Command::new(program);
            command.arg0(name).args(arguments).env_clear().envs(kept);
            // It returns only on failure, as without /proc; then blank variables are what they are.
            let _not_restarted = command.exec();
        }
    }
}

/// The environment without the blank variables that are read; `None` if there are none. Of several variables
/// of one name, which only a careless parent leaves, the first that is not blank is kept: so every reader
/// finds the same one.
fn without_blank(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Option<HashMap<OsString, OsString>> {
    let mut kept = HashMap::new();
    let mut is_any_blank = false;
    for (name, value) in variables {
        if is_ours(&name) && value.to_string_lossy().trim().is_empty() {
            is_any_blank = true;
        } else {
            kept.entry(name).or_insert(value);
        }
    }
    is_any_blank.then_some(kept)
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
    url.parse().is_ok_and(|url: Uri| is_complete(&url))
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

    fn kept(variables: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let variables = variables.iter();
        let kept = without_blank(variables.map(|(name, value)| (name.into(), value.into())))?;
        let text = |text: OsString| text.into_string().unwrap();
        let mut kept: Vec<_> = kept
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        kept.sort();
        Some(kept)
    }

    #[test]
    fn of_two_variables_of_one_name_the_one_that_is_not_blank_is_kept() {
        let region = Some(vec![("AWS_REGION".to_owned(), "us-west-2".to_owned())]);
        for order in [["us-west-2", " "], ["", "us-west-2"]] {
            let variables = order.map(|value| ("AWS_REGION", value));
            assert_eq!(kept(&variables), region);
        }
        let foreign = ("EDITOR", "");
        assert_eq!(kept(&[foreign]), None, "nothing of ours is blank");
        let expected = Some(vec![("EDITOR".to_owned(), String::new())]);
        assert_eq!(kept(&[foreign, ("AWS_PROFILE", "\t")]), expected);
    }

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
