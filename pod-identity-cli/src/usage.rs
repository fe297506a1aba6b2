use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};
use pod_identity_core::printable;

use crate::Failure;

/// Parses a command line, of which the first argument is the program's own name.
///
/// # Errors
/// Returns the exit code with which to end at once: 0 if the arguments ask for help or the version, which
/// is then on standard output; 64 if they are wrong, and then one line on standard error names the argument
/// and the remedy.
pub fn parse<C: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    C::try_parse_from(&arguments).map_err(|error| {
        match usage_error(&error, &C::command(), &arguments) {
            Some(failure) => failure.report(C::command().get_name()),
            None => {
                // Nobody reads standard output, so there is nobody to tell.
                let _unwritten = error.print();
                ExitCode::SUCCESS
            }
        }
    })
}

/// The usage error that [`parse`] reports for an error of clap's, which is about these arguments of this command;
/// `None` if they ask for help or the version.
pub fn usage_error(
    error: &clap::Error,
    command: &Command,
    arguments: &[OsString],
) -> Option<Failure> {
    if let ErrorKind::DisplayHelp | ErrorKind::DisplayVersion = error.kind() {
        return None;
    }
    let line = command_to_run(error, command, arguments)
        .unwrap_or_else(|| one_line(error, command, arguments));
    Some(Failure::usage(line))
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
        let unexpected = quotable(unexpected);
        format!("to run the command `{unexpected}`, put `--` before it: {name} -- {unexpected}")
    })
}

/// Clap's first sentence, its suggestion, and where to read on.
fn one_line(error: &clap::Error, command: &Command, arguments: &[OsString]) -> String {
    let cause = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let of = last_named(command, arguments);
            let names: Vec<_> = of.get_subcommands().map(Command::get_name).collect();
            format!("a command is missing: {}", names.join(", "))
        }
        ErrorKind::InvalidUtf8 => {
            let wrong = not_utf8(command, arguments);
            format!("'{}' is not UTF-8", quotable(&wrong.to_string_lossy()))
        }
        _ => first_sentence(error),
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

/// The innermost command that the arguments name, which may have commands of its own.
fn last_named<'a>(command: &'a Command, arguments: &[OsString]) -> &'a Command {
    let named = arguments.iter().skip(1);
    named.fold(command, |of, argument| {
        of.find_subcommand(argument).unwrap_or(of)
    })
}

/// What clap writes before its first empty line, in one line.
fn first_sentence(error: &clap::Error) -> String {
    let mut rendered = error.render().to_string();
    // What it quotes of the command line may be anything, and ends up in the log of a container.
    for kind in [
        ContextKind::InvalidArg,
        ContextKind::InvalidValue,
        ContextKind::InvalidSubcommand,
    ] {
        if let Some(ContextValue::String(quoted)) = error.get(kind) {
            rendered = rendered.replace(quoted, &quotable(quoted));
        }
    }
    // The names of missing arguments are on lines of their own.
    let lines = rendered.lines().take_while(|line| !line.trim().is_empty());
    let lines = lines.map(|line| line.trim().trim_start_matches("error: "));
    lines.collect::<Vec<_>>().join(" ")
}

/// A part of the command line, without user and password of a URL.
fn quotable(argument: &str) -> String {
    printable(&without_user_info(argument))
}

/// The argument that clap finds not to be UTF-8, and does not name. Others may be, such as paths.
fn not_utf8(command: &Command, arguments: &[OsString]) -> OsString {
    let texts: Vec<OsString> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned().into())
        .collect();
    let candidates = arguments.iter().zip(&texts).enumerate();
    let mut candidates = candidates.filter(|(_, (argument, text))| argument != text);
    let wrong = candidates.find(|(index, (argument, _))| {
        let mut alone = texts.clone();
        alone.splice(index..=index, [(*argument).clone()]);
        let parsed = command.clone().try_get_matches_from(alone);
        parsed.is_err_and(|error| error.kind() == ErrorKind::InvalidUtf8)
    });
    wrong.map_or_else(OsString::new, |(_, (argument, _))| argument.clone())
}

/// Returns `scheme://***@host/path` for `scheme://user:password@host/path`, for each URL in a text.
///
/// What is quoted is often no valid URL: its scheme may be mistyped, and its password may have a slash. Where it is not
/// clear what the password is, everything between the scheme and the last `@` is left out.
pub fn without_user_info(text: &str) -> String {
    let mut shown = String::new();
    let mut left = text;
    loop {
        let (scheme, rest) = match left.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('@') => (format!("{scheme}://"), rest),
            _ => (String::new(), left),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let Some((user_info, host)) = authority.rsplit_once('@') else {
            return shown
                + &match left.rsplit_once('@') {
                    Some((before, host)) if before.contains(':') => format!("{scheme}***@{host}"),
                    _ => left.to_owned(),
                };
        };
        // What follows a colon may still be a password, even if an `@` stands before it. One without a letter
        // or a digit is probably the beginning of a longer one.
        let of_this_url = path.split("://").next().unwrap_or_default();
        let password = user_info.rsplit_once(':').map(|(_user, password)| password);
        let is_of_signs = password.is_some_and(|it| !it.contains(char::is_alphanumeric));
        if (host.contains(':') || is_of_signs) && of_this_url.contains('@') {
            let host = path.rsplit_once('@').map_or(path, |(_password, host)| host);
            return shown + &format!("{scheme}***@{host}");
        }
        shown += &format!("{scheme}***@{host}");
        left = path;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line for an error of a program with a flag for text and one for a path.
    #[cfg(unix)]
    fn line(arguments: &[&[u8]]) -> String {
        use std::os::unix::ffi::OsStringExt;

        let port = Arg::new("port").long("port").value_parser(["80", "81"]);
        let path = Arg::new("path").long("path");
        let path = path.value_parser(clap::value_parser!(std::path::PathBuf));
        let mut command = Command::new("program").args([port, path]);
        let arguments = [&[&b"program"[..]], arguments].concat();
        let arguments = arguments.into_iter().map(<[u8]>::to_vec);
        let arguments: Vec<_> = arguments.map(OsString::from_vec).collect();
        let error = command.try_get_matches_from_mut(&arguments).unwrap_err();
        let failure = usage_error(&error, &command, &arguments);
        failure
            .expect("it must not be a request for help")
            .to_string()
    }

    #[test]
    fn what_is_missing_after_a_command_is_one_of_its_own_commands() {
        let probe = Command::new("probe").subcommands(["alive", "ready"].map(Command::new));
        let probe = probe.subcommand_required(true).arg_required_else_help(true);
        let command = Command::new("program").subcommands([probe, Command::new("run")]);
        let arguments = ["program", "probe"].map(OsString::from);
        let parsed = command.clone().try_get_matches_from(&arguments);
        let error = parsed.unwrap_err();
        let failure = usage_error(&error, &command, &arguments).unwrap();
        let expected = "a command is missing: alive, ready (see --help)";
        assert_eq!(failure.to_string(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn what_a_line_quotes_is_printable_and_without_user_info() {
        for (argument, shown) in [
            (&b"--port=a\n\nb"[..], r"a\n\nb"),
            (b"--port=\x1b[2J", r"\u{1b}[2J"),
            (b"--port=http://me:pw@host/", "http://***@host/"),
            (b"http://me:pw@host/", "http://***@host/"),
            (
                "--port=80\u{2028}\u{202e}18".as_bytes(),
                r"80\u{2028}\u{202e}18",
            ),
            ("\u{2029}\u{200b}".as_bytes(), r"\u{2029}\u{200b}"),
            (b"--port=\xff", "'--port=\u{fffd}' is not UTF-8"),
        ] {
            let line = line(&[argument]);
            assert!(line.contains(shown), "{line}");
            assert!(
                line.ends_with("(see --help)") && !line.contains('\n'),
                "{line}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_argument_that_must_be_utf8_is_named_among_several() {
        for arguments in [
            &[&b"--path=\xfe"[..], b"--port=80\xff"][..],
            &[b"--port=80\xff", b"--path=\xfe"],
            &[b"--path", b"\xfe", b"--port", b"80\xff"],
        ] {
            let line = line(arguments);
            assert!(line.contains("80\u{fffd}' is not UTF-8"), "{line}");
        }
    }

    #[test]
    fn user_info_is_left_out_of_urls_only() {
        for (value, shown) in [
            (
                "http://me:wJalrXUt@proxy.example/path",
                "http://***@proxy.example/path",
            ),
            ("http://me@proxy.example/", "http://***@proxy.example/"),
            ("http://me:wJalrXUt@a/p@th", "http://***@a/p@th"),
            (
                "http://me:wJal@a/,http://me:rXUt@b/",
                "http://***@a/,http://***@b/",
            ),
            ("me:wJalrXUt@eks.example", "***@eks.example"),
            ("ftp://me:wJalr/X#U?t@host/", "ftp://***@host/"),
            ("ftp://me:wJalr@XUt,x@host/", "ftp://***@host/"),
            ("ftp://a/,http://me:wJalrXUt@b/", "ftp://***@b/"),
            ("ftp:/me:wJalrXUt@host", "***@host"),
            ("https//me:wJalrXUt@host", "***@host"),
            ("me:wJalrXUt@ftp://host", "***@ftp://host"),
            ("c@ftp://wJalrXUt@host/", "***@host/"),
            ("http://a@b:/wJalrXUt@host/", "http://***@host/"),
            ("http://me:@wJalr/XUt@host/", "http://***@host/"),
            ("me:@wJalr/XUt@host", "***@host"),
            ("http://me:$%@wJalr/XUt@host/", "http://***@host/"),
            ("http://me:@a/path", "http://***@a/path"),
            ("http://me:wJalrXUt@a:80/path", "http://***@a:80/path"),
            ("/etc/tokens/a@b", "/etc/tokens/a@b"),
        ] {
            assert_eq!(without_user_info(value), shown);
        }
    }
}
