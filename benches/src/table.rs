use std::io::{self, Write};
use std::process::ExitCode;

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

    /// Writes the table to standard output. The exit code is 0 if all limits were met.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&self) -> io::Result<ExitCode> {
        let mut out = io::stdout().lock();
        let mut missed = 0;
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
            writeln!(
                out,
                "{what:<44} {measured:>10.1} {unit:<4} {verdict}{bound}"
            )?;
        }
        Ok(if missed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
