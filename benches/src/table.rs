use std::env;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::page::Page;

/// What was measured, and how it compares with what must be reached.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(String, f64, &'static str, Limit)>,
}

/// What must be reached.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Limit {
    /// A figure to compare others with.
    None,
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Table {
    /// One more figure.
    pub fn row(&mut self, what: &str, measured: f64, unit: &'static str, limit: Limit) {
        self.rows.push((what.to_owned(), measured, unit, limit));
    }

    /// Writes the table to standard output, and to the page where one is wanted. The exit code is 0 if all limits were met.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&self) -> io::Result<ExitCode> {
        let mut out = io::stdout().lock();
        let mut missed = 0;
        let mut page = "| | measured | limit |\n|---|---:|---|\n".to_owned();
        for (what, measured, unit, limit) in &self.rows {
            let (met, bound) = match limit {
                Limit::None => (true, String::new()),
                Limit::AtMost(most) => (measured <= most, format!(" {most:.1}")),
                Limit::AtLeast(least) => (measured >= least, format!(" {least:.1}")),
            };
            let verdict = match (met, limit) {
                (_, Limit::None) => "",
                (true, _) => "reaches",
                (false, _) => "MISSES",
            };
            missed += usize::from(!met);
            writeln!(page, "| {what} | {measured:.1} {unit} | {verdict}{bound} |")
                .expect("a string must be writable");
            writeln!(
                out,
                "{what:<44} {measured:>10.1} {unit:<4} {verdict}{bound}"
            )?;
        }
        if let (Some(wanted), Some(name)) = (Page::wanted(), env::current_exe()?.file_stem()) {
            wanted.write(&name.to_string_lossy(), &page)?;
        }
        Ok(if missed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
