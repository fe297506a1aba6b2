//! Generates `docs/faults.md`, which shows what real AWS clients do when a pod's agent fails, from runs of them.
//!
//! See `Options` for the arguments.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports"
)]

mod client;
mod client_process;
mod coverage;
mod document;
mod play;
mod row;
mod rows;
mod seen;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use client::Client;
use document::Cells;
use row::{Group, Row, Trouble};
use seen::Cell;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// `[--clients=boto3,aws-config] [--check | --write] [filter…]`
#[derive(Debug, Default)]
struct Options {
    /// The folders of the clients to run. Defaults to all. Other clients keep their cells.
    clients: Vec<String>,
    /// Compares with `docs/faults.md`.
    check: bool,
    /// Writes `docs/faults.md`. This is the default without filters.
    write: bool,
    /// Runs only the rows whose names contain one of these texts. Without `--write` or `--check`, their
    /// tables are printed.
    filters: Vec<String>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        for argument in arguments {
            match argument.split_once('=') {
                Some(("--clients", names)) => {
                    options.clients = names.split(',').map(str::to_owned).collect();
                }
                _ if argument == "--check" => options.check = true,
                _ if argument == "--write" => options.write = true,
                _ if argument.starts_with('-') => {
                    return Err(
                        format!("unknown option {argument}; see conformance/README.md").into(),
                    );
                }
                _ => options.filters.push(argument),
            }
        }
        Ok(options)
    }

    fn selects(&self, row: &Row) -> bool {
        let name = row.to_string();
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// Returns the indices of the columns to run.
    fn columns(&self, clients: &[Client]) -> Result<Vec<usize>> {
        for name in &self.clients {
            if !clients.iter().any(|client| client.folder == name) {
                let known: Vec<&str> = clients.iter().map(|client| client.folder).collect();
                return Err(format!("no client {name}; there are {}", known.join(", ")).into());
            }
        }
        let mut columns = Vec::new();
        for (column, client) in clients.iter().enumerate() {
            if self.clients.is_empty() || self.clients.iter().any(|name| client.folder == name) {
                client.check_installed()?;
                columns.push(column);
            }
        }
        Ok(columns)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let options = Options::parse(env::args().skip(1))?;
    let clients = Client::all()?;
    let columns = options.columns(&clients)?;
    let mut groups = rows::groups();
    let missing = coverage::missing(&groups)?;
    if !missing.is_empty() {
        return Err(format!("no row has {}", missing.join(", ")).into());
    }
    let known = fs::read_to_string(document())?;
    if options.check || options.write || options.filters.is_empty() {
        let mut cells = document::cells(&known, &groups, clients.len());
        let text_of = |cells: &Cells| document::document(&clients, &groups, cells);
        run(&options, &columns, &groups, &mut cells).await?;
        return keep(&known, &text_of(&cells), options.check);
    }
    for group in &mut groups {
        group.rows.retain(|row| options.selects(row));
    }
    groups.retain(|group| !group.rows.is_empty());
    let mut cells = document::cells(&known, &groups, clients.len());
    run(&options, &columns, &groups, &mut cells).await?;
    for (group, cells) in groups.iter().zip(&cells) {
        println!("{}", document::table(&clients, group, cells));
    }
    Ok(ExitCode::SUCCESS)
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md")
}

/// Writes the document, or prints where it differs from the existing one.
fn keep(known: &str, text: &str, check: bool) -> Result<ExitCode> {
    if !check {
        fs::write(document(), text)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines_of(known, text) {
        println!("- {line}");
    }
    for line in lines_of(text, known) {
        println!("+ {line}");
    }
    if known == text {
        println!("docs/faults.md is up to date");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("docs/faults.md is out of date: see above; `just faults` updates it");
    Ok(ExitCode::FAILURE)
}

/// Returns the lines of one text that another does not have.
fn lines_of<'a>(text: &'a str, other: &str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter(|line| other.lines().all(|one| one != *line))
}

/// Runs the clients of these columns through the selected rows. Fails for a row whose fault no client met.
async fn run(
    options: &Options,
    columns: &[usize],
    groups: &[Group],
    cells: &mut Cells,
) -> Result<()> {
    let mut clients = Client::all()?;
    let mut column = 0;
    clients.retain(|_client| {
        column += 1;
        columns.contains(&(column - 1))
    });
    let clients = Arc::new(clients);
    let all = groups.iter().flat_map(|group| &group.rows);
    let rows: Vec<Row> = all.filter(|row| options.selects(row)).cloned().collect();
    let played = play_all(&clients, &rows).await?;
    let mut played = rows.iter().zip(played.chunks(clients.len()));
    for (group, cells) in groups.iter().zip(cells) {
        let selected = group.rows.iter().zip(cells);
        for (row, cells) in selected.filter(|(row, _)| options.selects(row)) {
            let (_, played) = played.next().ok_or("every row must have been played")?;
            if !played.iter().any(|cell| cell.met) {
                return Err(format!("no client met the fault of {row}").into());
            }
            for (column, cell) in columns.iter().zip(played) {
                if let Some(known) = cells.get_mut(*column) {
                    known.clone_from(&cell.text);
                }
            }
        }
    }
    Ok(())
}

/// Returns the cells of all rows, in order. That with the connect timeouts takes longest, then the last ones, so
/// they run first.
async fn play_all(clients: &Arc<Vec<Client>>, rows: &[Row]) -> Result<Vec<Cell>> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    let all = rows.iter().enumerate().rev();
    let (longest, others): (Vec<_>, Vec<_>) =
        all.partition(|(_, row)| matches!(row.trouble, Trouble::Unreachable));
    for (r, row) in longest.into_iter().chain(others) {
        for c in 0..clients.len() {
            let (clients, row, turns) = (Arc::clone(clients), row.clone(), Arc::clone(&turns));
            runs.spawn(async move {
                let _turn = turns.acquire().await?;
                let client = clients.get(c).ok_or("no such client")?;
                let played = timeout(LIMIT, play::play(client, &row)).await;
                let played = played.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let cell = played.map_err(|error| format!("{}, {row}: {error}", client.title))?;
                Result::Ok(((r, c), cell))
            });
        }
    }
    let mut cells = BTreeMap::new();
    while let Some(done) = runs.join_next().await {
        let (place, cell) = done??;
        cells.insert(place, cell);
    }
    Ok(cells.into_values().collect())
}

/// Clients spend most of their time waiting. More of them at once would slow each other down on two cores.
const AT_ONCE: usize = 16;

/// More than a row can take: only a client that neither sends a request nor replies reaches it.
const LIMIT: Duration = Duration::from_secs(300);
