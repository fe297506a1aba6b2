use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use pod_identity_core::printable;

/// Why a [`Scenario`](crate::Scenario) cannot be read. Its message names the file, the line, the cause and
/// the remedy; the project's `docs/scenario.md` lists all keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file cannot be read, or is not UTF-8. Remedy: the right path.
    #[error("{}: {source}", shown(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not TOML, or has an unknown key or value. Remedy: what the message names, on that line.
    #[error("{}: {cause}", place(path.as_deref(), *line))]
    Invalid {
        /// The file, if the text comes from one.
        path: Option<PathBuf>,
        /// The line, counted from 1.
        line: usize,
        /// The cause and the remedy.
        cause: String,
    },
}

impl ScenarioError {
    pub(super) fn at(span: Range<usize>, text: &str, cause: impl fmt::Display) -> Self {
        let before = text.as_bytes().iter().take(span.start);
        Self::Invalid {
            path: None,
            line: before.filter(|byte| **byte == b'\n').count() + 1,
            // One line: the parser's message can have several.
            cause: printable(&cause.to_string().replace('\n', ", ")),
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

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

fn place(path: Option<&Path>, line: usize) -> String {
    match path {
        Some(path) => format!("{}:{line}", shown(path)),
        None => format!("line {line}"),
    }
}
