use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pod_identity_figure::{Figure, Line};

use super::run::{Record, Run};
use super::scenario::{
    Agents, EXCHANGES_PER_SECOND, NODES, PODS_PER_NODE, SCENARIOS, START, Scenario,
};

/// Runs all scenarios with both agents, and writes `docs/fleet.md` with its figures.
pub(super) fn write(nodes: usize) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::create_dir_all(docs.join("fleet")).unwrap();
    let mut page = include_str!("page.md").replace("{fleet}", &fleet(nodes));
    for scenario in &SCENARIOS {
        let [ours, official] = [Agents::Ours, Agents::Official]
            .map(|agents| Run::new(scenario, agents, nodes).finish());
        let (name, title) = (scenario.name, scenario.title);
        write!(
            page,
            "\n## {title}\n\n![exchanges per second](fleet/{name}-exchanges.svg)\n\n![pods without credentials](fleet/{name}-without.svg)\n\n\
             | | this agent | the official agent's rules |\n|---|---|---|\n"
        )
        .unwrap();
        for (what, cell) in CELLS {
            let what = match nodes {
                NODES => what.replace(" of the sample", ""),
                _ => what.to_owned(),
            };
            writeln!(
                page,
                "| {what} | {} | {} |",
                cell(&ours, scenario),
                cell(&official, scenario)
            )
            .unwrap();
        }
        for (kind, unit, values) in [
            (
                "exchanges",
                "calls of EKS Auth per second",
                calls as fn(&Record) -> Vec<f64>,
            ),
            ("without", "pods without credentials, of 1,000", without),
        ] {
            let lines = [
                ("official agent's rules", "#c0504d", &official),
                ("this agent", "#1f5fa8", &ours),
            ]
            .map(|(label, colour, record)| Line {
                label,
                colour,
                values: values(record),
            });
            // One value for each minute.
            let minutes = lines.iter().map(|line| line.values.len()).max();
            let hours = (0..minutes.unwrap_or_default()).step_by(60);
            let figure = Figure {
                title,
                unit,
                scale: hours
                    .map(|minute| (minute, format!("{} h", minute / 60)))
                    .collect(),
                lines: lines.into(),
            }
            .draw();
            fs::write(docs.join(format!("fleet/{name}-{kind}.svg")), figure).unwrap();
        }
    }
    fs::write(docs.join("fleet.md"), page).unwrap();
}

/// What is simulated.
fn fleet(nodes: usize) -> String {
    let whole = format!(
        "a fleet of {} nodes with {PODS_PER_NODE} pods each, whose EKS Auth grants the account \
         {EXCHANGES_PER_SECOND} exchanges per second, in virtual time.",
        thousands(NODES as u64)
    );
    match nodes {
        NODES => whole,
        _ => format!(
            "a sample of {whole} The sample is {nodes} nodes and the same share of the limit. Nodes only meet at \
             EKS Auth, so shares and times are about those of the whole fleet; counts and rates are those of the \
             sample, to be multiplied by {}.",
            NODES as f64 / nodes as f64
        ),
    }
}

type Cell = fn(&Record, &Scenario) -> String;

const CELLS: [(&str, Cell); 7] = [
    (
        "pods of the sample that were without credentials",
        |record, _| thousands(record.gaps.len() as u64),
    ),
    ("longest without", |record, _| {
        shown(record.longest_without())
    }),
    (
        "until all pods have credentials again",
        |record, scenario| {
            let cause = scenario
                .outage
                .map(|(from, _)| from)
                .or(scenario.step.map(|(from, ..)| from));
            let from = START + cause.or(scenario.upgrade).unwrap_or(scenario.from);
            record
                .last_gap
                .map_or("–".to_owned(), |at| shown(at.saturating_since(from)))
        },
    ),
    ("calls of the sample that were granted", |record, _| {
        thousands(record.granted)
    }),
    ("calls of the sample that were throttled", |record, _| {
        thousands(record.throttled)
    }),
    ("calls of the sample that failed", |record, _| {
        thousands(record.failed)
    }),
    ("most calls of the sample in one second", |record, _| {
        thousands(record.peak.into())
    }),
];

fn calls(record: &Record) -> Vec<f64> {
    record
        .calls
        .iter()
        .map(|calls| f64::from(*calls) / 60.0)
        .collect()
}

fn without(record: &Record) -> Vec<f64> {
    record.without.clone()
}

fn shown(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{} s", time.as_secs()),
        60..7200 => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}
