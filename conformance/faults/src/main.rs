//! What real AWS clients do when a pod's agent fails: `docs/faults.md`, made from runs of them.
//!
//! `conformance/faults/run` writes it, `conformance/faults/run --check` compares instead. With words, only
//! the rows that have one of them are run, and printed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports"
)]

mod asker;
mod client;
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
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use client::Client;
use document::Cells;
use row::{Group, Row};
use seen::Cell;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let words: Vec<String> = env::args().skip(1).collect();
    let clients = Arc::new(Client::all()?);
    let mut groups = rows::groups();
    let missing = coverage::missing(&groups)?;
    if !missing.is_empty() {
        return Err(format!("no row has {}", missing.join(", ")).into());
    }
    if words.iter().all(|word| word == "--check") {
        let text = document::document(&clients, &groups, &run(&clients, &groups).await?);
        return keep(&text, !words.is_empty());
    }
    for group in &mut groups {
        group.rows.retain(|row| {
            let name = row.to_string();
            words.iter().any(|word| name.contains(word))
        });
    }
    groups.retain(|group| !group.rows.is_empty());
    for (group, cells) in groups.iter().zip(run(&clients, &groups).await?) {
        println!("{}", document::table(&clients, group, &cells));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the document, or tells where it differs from what is there.
fn keep(text: &str, check: bool) -> Result<ExitCode> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    if !check {
        fs::write(path, text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let known = fs::read_to_string(path)?;
    for line in lines_of(&known, text) {
        println!("- {line}");
    }
    for line in lines_of(text, &known) {
        println!("+ {line}");
    }
    if known == text {
        println!("docs/faults.md says what the clients do");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "docs/faults.md does not say what the clients do: see above; `just faults` writes it anew"
    );
    Ok(ExitCode::FAILURE)
}

/// The lines of one text that another does not have.
fn lines_of<'a>(text: &'a str, other: &str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter(|line| other.lines().all(|one| one != *line))
}

/// Runs every client through every row. Fails for a row that no client has met.
async fn run(clients: &Arc<Vec<Client>>, groups: &[Group]) -> Result<Cells> {
    let rows: Vec<Row> = groups.iter().flat_map(|group| group.rows.clone()).collect();
    let cells = play_all(clients, &rows).await?;
    let mut words = Vec::new();
    for (row, cells) in rows.iter().zip(cells.chunks(clients.len())) {
        if !cells.iter().any(|cell| cell.met) {
            return Err(format!("no client has met {row}").into());
        }
        words.push(cells.iter().map(|cell| cell.words.clone()).collect());
    }
    let mut words = words.into_iter();
    let of_group = |group: &Group| words.by_ref().take(group.rows.len()).collect();
    Ok(groups.iter().map(of_group).collect())
}

/// The cells of all rows, one after the other. The last rows take longest, and so are the first to be run.
async fn play_all(clients: &Arc<Vec<Client>>, rows: &[Row]) -> Result<Vec<Cell>> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for (r, row) in rows.iter().enumerate().rev() {
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

/// Clients spend most of their time waiting: more at once would hurry one another on two cores.
const AT_ONCE: usize = 16;

/// More than a row can take: only a client that neither asks nor says anything comes to this.
const LIMIT: Duration = Duration::from_secs(300);
