use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};

use crate::Failure;

/// Parses a command line, of which the first argument is the program's own name.
///
/// # Errors
/// Returns the exit code with which to end at once: 0 if the arguments ask for help or the version, which
/// is then on standard output; 64 if they are wrong, and then one line on standard error names the argument
/// and the remedy.
pub fn parse<C: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    C::try_parse_from(&arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody reads standard output, so there is nobody to tell.
            let _unwritten = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let command = C::command();
            let line = match command_to_run(&error, &command, &arguments) {
                Some(remedy) => remedy,
                None => one_line(&error, &command),
            };
            Failure::usage(line).report(command.get_name())
        }
    })
}

/// What to write where the command to run has no `--` before it.
fn command_to_run(
    error: &clap::Error,
    command: &Command,
    arguments: &[OsString],
) -> Option<String> {
    let unexpected = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(argument))) => argument,
        _ => return None,
    };
    let subcommand = command.find_subcommand(arguments.get(1)?)?;
    let runs_commands = subcommand.get_arguments().any(Arg::is_last_set);
    (runs_commands && !unexpected.starts_with('-')).then(|| {
        let name = subcommand.get_name();
        format!("to run the command `{unexpected}`, put `--` before it: {name} -- {unexpected}")
    })
}

/// Clap's first sentence, its suggestion, and where to read on.
fn one_line(error: &clap::Error, command: &Command) -> String {
    let rendered = error.render().to_string();
    let cause = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            format!("a command is missing: {}", names.join(", "))
        }
        // The names of missing arguments are on lines of their own.
        _ => rendered
            .lines()
            .take_while(|line| !line.trim().is_empty())
            .map(|line| line.trim().trim_start_matches("error: "))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let suggestion = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .find_map(|kind| error.get(kind))
    .map(|suggestion| format!("; did you mean {suggestion}?"))
    .unwrap_or_default();
    format!("{cause}{suggestion} (see --help)")
}
