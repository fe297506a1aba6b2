//! The page `docs/flags.md`, made from the command line.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

pub(super) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let program = Cli::command();
    let verbosity = program.get_arguments().filter(is_shown);
    page += "\n## All commands\n";
    table(&mut page, verbosity);
    for name in ["server", "initialize", "probe", "doctor"] {
        let command = program
            .find_subcommand(name)
            .expect("the command must exist");
        section(&mut page, name, command);
        for question in command.get_subcommands() {
            section(
                &mut page,
                &format!("{name} {}", question.get_name()),
                question,
            );
        }
    }
    page
}

fn section(page: &mut String, name: &str, command: &Command) {
    let about = command
        .get_about()
        .expect("a command must have help")
        .to_string();
    let _written = writeln!(page, "\n## `{name}`\n\n{}.", on_one_line(&about));
    if command.get_arguments().any(|argument| is_shown(&argument)) {
        table(page, command.get_arguments().filter(is_shown));
    }
}

fn table<'a>(page: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    page.push_str("\n| flag | default | meaning |\n|---|---|---|\n");
    for argument in arguments {
        let help = on_one_line(
            &argument
                .get_help()
                .expect("a flag must have help")
                .to_string(),
        );
        let _written = writeln!(
            page,
            "| {} | {} | {help} |",
            name(argument),
            default(argument)
        );
    }
}

fn is_shown(argument: &&Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

fn name(argument: &Arg) -> String {
    let Some(long) = argument.get_long() else {
        let values = argument.get_value_names().unwrap_or_default();
        return format!("`<{}>`", values.join(" "));
    };
    match argument.get_short() {
        Some(short) => format!("`-{short}`, `--{long}`"),
        None => format!("`--{long}`"),
    }
}

fn default(argument: &Arg) -> String {
    let values = argument.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    match values.join(",").as_str() {
        "" => "–".to_owned(),
        values => format!("`{values}`"),
    }
}

fn on_one_line(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

const INTRODUCTION: &str = "\
# Flags

The command line of `pod-identity-agent` as images have it, made from its source: `just pages` renews this page. \
`--help` prints the same, and `version --help` and `dev --help` the two commands that are not here. `dev` is not in \
images. A flag that is on or off takes its value after `=`, as in `--audit-hits=false`; alone it means `true`. \
[operating.md](operating.md) says what the flags are for, and [environment.md](environment.md) lists the variables \
that are read.
";
