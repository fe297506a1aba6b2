use std::io::{self, Write};
use std::process;

use pod_identity_cli::Environment;
use serde_json::{Map, Value, json};

use crate::scenario::VERSION;

/// Writes the ready line, with the members that all of them have: one line of JSON, after which nothing is written to standard output.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn say(ready: Map<String, Value>) -> io::Result<()> {
    let mut line = Map::from_iter([
        ("version".to_owned(), json!(VERSION)),
        ("pid".to_owned(), json!(process::id())),
    ]);
    line.extend(ready);
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", Value::from(line))?;
    stdout.flush()
}

/// Adds the members `env` and `unset` to the ready line.
pub(super) fn add_environment(ready: &mut Map<String, Value>, environment: &Environment) {
    let env: Map<_, _> = environment
        .set()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    ready.insert("env".to_owned(), env.into());
    ready.insert("unset".to_owned(), json!(environment.unset()));
}
