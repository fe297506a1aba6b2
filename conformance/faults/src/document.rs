use std::fmt::Write;

use crate::client::Client;
use crate::row::{Group, Row};

/// What the clients did, group by group and row by row, in the order of both.
pub(crate) type Cells = Vec<Vec<Vec<String>>>;

/// The whole of `docs/faults.md`.
pub(crate) fn document(clients: &[Client], groups: &[Group], cells: &Cells) -> String {
    let version = |client: &Client| {
        let Client {
            title,
            package,
            version,
            ..
        } = client;
        format!("| {title} | `{package}` | {version} |")
    };
    let versions: Vec<String> = clients.iter().map(version).collect();
    let mut text = include_str!("faults.md").replace("{versions}", &versions.join("\n"));
    for (group, cells) in groups.iter().zip(cells) {
        write!(text, "\n## {}\n\n", group.title).expect(STRING);
        if !group.about.is_empty() {
            write!(text, "{}\n\n", group.about).expect(STRING);
        }
        text += &table(clients, group, cells);
    }
    text
}

/// One table, in which neighbours are one row where nothing tells them apart.
pub(crate) fn table(clients: &[Client], group: &Group, cells: &[Vec<String>]) -> String {
    let titles: Vec<&str> = clients.iter().map(|client| client.title).collect();
    let mut text = format!(
        "| | {} |\n|---{}|\n",
        titles.join(" | "),
        "|---".repeat(titles.len())
    );
    for (row, cells) in merged(&group.rows, cells) {
        writeln!(text, "| {row} | {} |", cells.join(" | ")).expect(STRING);
    }
    text
}

fn merged<'a>(rows: &[Row], cells: &'a [Vec<String>]) -> Vec<(String, &'a [String])> {
    let pairs: Vec<(&Row, &Vec<String>)> = rows.iter().zip(cells).collect();
    let alike = |one: &(&Row, &Vec<String>), other: &(&Row, &Vec<String>)| {
        one.0.subject == other.0.subject && one.1 == other.1
    };
    let one = |chunk: &[(&Row, &'a Vec<String>)]| {
        let (row, cells) = chunk.first()?;
        let whats: Vec<&str> = chunk.iter().map(|(row, _)| row.what.as_str()).collect();
        let all = Row {
            what: whats.join("; "),
            ..(*row).clone()
        };
        Some((all.to_string(), cells.as_slice()))
    };
    pairs.chunk_by(alike).filter_map(one).collect()
}

const STRING: &str = "a string must take more";
