/// Returns the value of an environment variable. A variable that is unset, blank or not UTF-8 is `None`.
///
/// Blank counts as unset because manifests and shells cannot always leave a variable out, and because the
/// AWS SDKs treat it so.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the program, where the environment is read"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}
