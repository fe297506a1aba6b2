use std::env;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::page::Page;

/// What was measured, and how it compares with what must be reached.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    measured: Option<f64>,
    of_peer: Option<f64>,
    unit: &'static str,
    limit: Limit,
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
        self.rows.push(Row {
            what: what.to_owned(),
            measured: Some(measured),
            of_peer: None,
            unit,
            limit,
        });
    }

    /// A figure of another program, in the row that has this name, or in one of its own.
    pub fn row_of_peer(&mut self, what: &str, measured: f64, unit: &'static str) {
        match self.rows.iter_mut().find(|row| row.what == what) {
            Some(row) => row.of_peer = Some(measured),
            None => self.rows.push(Row {
                what: what.to_owned(),
                measured: None,
                of_peer: Some(measured),
                unit,
                limit: Limit::None,
            }),
        }
    }

    /// Writes the table to standard output, and to the page where one is wanted. The exit code is 0 if all limits were met.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&self) -> io::Result<ExitCode> {
        let mut out = io::stdout().lock();
        let mut missed = 0;
        let has_peer = self.rows.iter().any(|row| row.of_peer.is_some());
        let mut page = if has_peer {
            "| | this agent | the other | limit |\n|---|---:|---:|---|\n".to_owned()
        } else {
            "| | measured | limit |\n|---|---:|---|\n".to_owned()
        };
        for row in &self.rows {
            let (what, unit) = (&row.what, row.unit);
            let measured = row.measured.unwrap_or(f64::NAN);
            let (met, bound) = match row.limit {
                Limit::None => (true, String::new()),
                Limit::AtMost(most) => (measured <= most, format!(" {most:.1}")),
                Limit::AtLeast(least) => (measured >= least, format!(" {least:.1}")),
            };
            let verdict = match (met, row.limit) {
                (_, Limit::None) => "",
                (true, _) => "reaches",
                (false, _) => "MISSES",
            };
            missed += usize::from(!met);
            let figure = |figure: Option<f64>| {
                figure.map_or_else(String::new, |figure| format!("{figure:.1}"))
            };
            let (ours, peers) = (figure(row.measured), figure(row.of_peer));
            let cell = |figure: &str| {
                let unit = if figure.is_empty() { "" } else { unit };
                format!("{figure} {unit}").trim().to_owned()
            };
            let mut cells = vec![what.clone(), cell(&ours)];
            cells.extend(has_peer.then(|| cell(&peers)));
            cells.push(format!("{verdict}{bound}"));
            writeln!(page, "| {} |", cells.join(" | ")).expect("a string must be writable");
            let peers = if has_peer {
                format!(" {peers:>10}")
            } else {
                String::new()
            };
            writeln!(
                out,
                "{what:<44} {ours:>10}{peers} {unit:<4} {verdict}{bound}"
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
