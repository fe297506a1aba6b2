//! The page `docs/troubleshooting.md`: message, cause, remedy.

use std::fmt::Write;

use crate::doctor::finding::{Class, Finding};
use crate::doctor::findings::ALL;

/// The page.
pub(crate) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for class in Class::ALL {
        let mut of_class = ALL.iter().filter(|one| one.class == class).peekable();
        if of_class.peek().is_none() {
            continue;
        }
        let name = class.name();
        let heading =
            name.get(..1).unwrap_or_default().to_uppercase() + name.get(1..).unwrap_or_default();
        let _written = match class.exit_code() {
            0 => write!(
                page,
                "\n## {heading}\n\nNo fault: the exit code does not change.\n"
            ),
            code => write!(page, "\n## {heading}\n\nExit code {code}.\n"),
        };
        for finding in of_class {
            page.push('\n');
            page.push_str(&entry(finding));
        }
    }
    page
}

/// One finding, as on the page.
pub(crate) fn entry(finding: &Finding) -> String {
    let Finding {
        code,
        message,
        seen,
        cause,
        remedy,
        ..
    } = finding;
    let mut entry = format!("### `{code}`\n\n**Message:** {message}.\n");
    if !seen.is_empty() {
        let seen: Vec<_> = seen.iter().map(|part| span(part)).collect();
        let _written = write!(entry, "\n**Seen elsewhere as:** {}\n", seen.join(", "));
    }
    let _written = write!(entry, "\n**Cause:** {cause}\n\n**Remedy:** {remedy}\n");
    entry
}

/// A code span, also of text with backquotes.
fn span(text: &str) -> String {
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

const INTRODUCTION: &str = include_str!("page.md");
