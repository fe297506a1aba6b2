use pod_identity_testkit::Scenario;

use super::{Target, of_text};

pub(super) const TARGET: Target = Target {
    name: "scenario",
    cases: 3_000,
    words: &[
        "[agent]",
        "[eks]",
        "[pod]",
        "[[timeline]]",
        "[[agent.faults]]",
        "[[eks.faults]]",
        "at = \"1m\"",
        "status = 503",
        "latency = \"1s\"",
        "until = \"back\"",
        "count = 2",
        "version = 1",
    ],
    check: || of_text(check),
};

/// A file is read, or an error on one line names the line.
fn check(text: &str) {
    let Err(error) = Scenario::from_toml(text) else {
        return;
    };
    let error = error.to_string();
    let line = error
        .strip_prefix("line ")
        .and_then(|rest| rest.split_once(": "));
    let line = line.and_then(|(line, _cause)| line.parse().ok());
    let lines = text.lines().count().max(1);
    assert!(
        line.is_some_and(|line: usize| (1..=lines + 1).contains(&line)),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}
