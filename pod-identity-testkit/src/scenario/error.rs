use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why there is no [`Scenario`](crate::Scenario). Its message names the file, the line, the cause and what
/// would be right; the project's `docs/scenario.md` has all keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file cannot be read, or is no UTF-8. Cure: the right path.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// It is not TOML, or has an unknown key or value. Remedy: what the message says, on that line.
    #[error("{}: {cause}", place(path.as_deref(), *line))]
    Invalid {
        /// The file, if it is from one.
        path: Option<PathBuf>,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what would be right.
        cause: String,
    },
}

impl ScenarioError {
    pub(super) fn at(span: Range<usize>, text: &str, cause: impl fmt::Display) -> Self {
        let before = text.as_bytes().iter().take(span.start);
        Self::Invalid {
            path: None,
            line: before.filter(|byte| **byte == b'\n').count() + 1,
            // One line, whatever the parser thinks.
            cause: cause.to_string().replace('\n', ", "),
        }
    }

    pub(super) fn in_file(self, file: &Path) -> Self {
        match self {
            Self::Invalid { line, cause, .. } => Self::Invalid {
                path: Some(file.to_owned()),
                line,
                cause,
            },
            error @ Self::Unreadable { .. } => error,
        }
    }
}

fn place(path: Option<&Path>, line: usize) -> String {
    match path {
        Some(path) => format!("{}:{line}", path.display()),
        None => format!("line {line}"),
    }
}
