//! Makes text of other programs fit for a log line and for a response.

use std::error::Error;

/// Returns the first `limit` characters on one line: control characters become spaces.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .take(limit)
        .collect()
}

/// Returns an error and its causes on one line, each once.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !causes.contains(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes.join(": ")
}
