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

/// Reads the cells of each row from a document; [`NOT_TRIED`] if it does not have the row.
pub(crate) fn cells(document: &str, groups: &[Group], columns: usize) -> Cells {
    let of_group = |group: &Group| {
        let sections = document.split("\n## ");
        let is_this = |section: &&str| section.lines().next() == Some(group.title);
        let section = sections.into_iter().find(is_this).unwrap_or_default();
        let of_row = |row: &Row| {
            let known = section.lines().find_map(|line| cells_in(line, row));
            known.unwrap_or_else(|| vec![NOT_TRIED.to_owned(); columns])
        };
        group.rows.iter().map(of_row).collect()
    };
    groups.iter().map(of_group).collect()
}

/// Returns the cells of a line that is for this row, possibly among others.
fn cells_in(line: &str, row: &Row) -> Option<Vec<String>> {
    let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let mut cells = line.split(" | ").map(str::to_owned);
    let name = cells.next()?;
    let what = name.strip_prefix(&row.subject)?;
    let what = what.strip_prefix(": ").unwrap_or(what);
    what.split("; ")
        .any(|what| what == row.what)
        .then(|| cells.collect())
}

/// Returns one table. Neighbouring rows with equal cells are merged.
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

/// A client that was not run for the row.
const NOT_TRIED: &str = "not tried";
const STRING: &str = "a string must take more";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::groups;

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let groups = groups();
        let clients = Client::all().unwrap();
        let known = include_str!("../../../docs/faults.md");
        let cells = cells(known, &groups, clients.len());
        assert_eq!(document(&clients, &groups, &cells), known);
    }
}
