use std::io::{self, Write};

use serde_json::{Map, Value};

/// Says on standard output that the mock is ready: one line of JSON, and nothing else ever.
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn say(ready: Map<String, Value>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", Value::from(ready))?;
    stdout.flush()
}
