use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use pod_identity_agent::cli;

use super::{Check, Target, is_secret};

pub(super) const TARGET: Target = Target {
    name: "command_line",
    cases: 1_000,
    words: &[
        "\0--port\0",
        "\0--port=",
        "\0--metrics-port=",
        "\0--cluster-name\0c",
        "\0--bind-hosts=",
        "\0-b\0localhost",
        "\0--rotate-credentials",
        "\0--rotate-credentials=false",
        "\0--rotate-credentials\0true",
        "\0--enable-imds-credentials=T",
        "\0--max-cache-size\0-1",
        "\0--max-service-qps=0x1",
        "\0--max-credential-retention-before-renewal\0-1h",
        "\0--endpoint\0http://operator:wJalrXUtnFEMIK7MDENG@proxy.example",
        "\0--max_cache_size=1",
        "\0--audit-hits=",
        "\0-v",
        "\0-v=2",
        "\0-vtrace",
        "\0--verbosity\0debug",
        "\0-c=",
        "\0-",
        "\0--",
        "\0---",
        "\0stray",
        "\0",
        "=",
    ],
    check,
};

/// A command line, as `/proc/<pid>/cmdline` has it: either an error in one line that names what is wrong and quotes
/// no password, or read in one way however pflag lets it be written.
fn check() -> Check {
    Box::new(|input| {
        let arguments = input.split(|byte| *byte == 0).map(OsStr::from_bytes);
        let arguments: Vec<OsString> = arguments.map(OsStr::to_owned).collect();
        let read = read(&arguments);
        if let Err(Some(line)) = &read {
            check_error(line, &arguments);
        }
        let Some((program, rest)) = arguments.split_at_checked(2) else {
            return;
        };
        let Some(given) = Given::read(rest).filter(|_| program.ends_with(&["server".into()]))
        else {
            return;
        };
        let respelled = |given: &Given| self::read(&[program, &given.spelled()].concat());
        match read {
            Ok(read) => {
                // The last of several uses of a flag wins.
                for given in [&given, &given.without_what_is_overridden()] {
                    assert_eq!(respelled(given).as_ref(), Ok(&read));
                }
            }
            Err(_) => assert!(respelled(&given).is_err(), "with `=` it is read"),
        }
    })
}

/// What the program has read, or the error that it reports; `None` if it prints its help.
fn read(arguments: &[OsString]) -> Result<String, Option<String>> {
    match cli::read(arguments) {
        Ok(read) => Ok(format!("{read:?}")),
        Err(failure) => Err(failure.map(|failure| failure.to_string())),
    }
}

/// What a message says of an argument that it does not name.
const NOT_UTF_8: &str = "is not UTF-8 (see --help)";

fn check_error(line: &str, arguments: &[OsString]) {
    assert!(
        line.chars().all(pod_identity_core::is_printable),
        "{line:?}"
    );
    let names_an_argument = line.contains('\'') || line.contains("--");
    assert!(names_an_argument || line.contains("command"), "{line}");
    assert!(
        line.contains("see --help") || line.contains("put `--`"),
        "{line}"
    );
    let arguments: Vec<_> = arguments.iter().map(|it| it.to_string_lossy()).collect();
    // What stands between a colon and the last @ before the next colon may be a password.
    let (mut passwords, mut others) = (Vec::new(), String::new());
    for argument in &arguments {
        others.push('\n');
        for (number, part) in argument.split(':').enumerate() {
            match part.rsplit_once('@').filter(|_| number > 0) {
                Some((password, rest)) => {
                    passwords.push(password);
                    others.push('@');
                    others.push_str(rest);
                }
                None => others.push_str(part),
            }
            others.push(':');
        }
    }
    for password in passwords {
        // The same words elsewhere are none, and the message has quotes, spaces and words of its own.
        let words = password.trim_matches(|character: char| !character.is_alphanumeric());
        let is_elsewhere = others.contains(words) || NOT_UTF_8.contains(words);
        assert!(
            !is_secret(words) || is_elsewhere || !line.contains(words),
            "{line}"
        );
    }
}

/// A command line as pflag documents it: `--flag`, `--flag=value`, `--flag value` for flags that are no booleans,
/// `-f value`, `-fvalue` and `-f=value`. Flags end after `--`, and may stand after other arguments.
struct Given {
    flags: Vec<(&'static str, OsString)>,
    others: Vec<OsString>,
}

impl Given {
    /// `None` if there is a flag that the official agent does not have, or one without its value.
    fn read(arguments: &[OsString]) -> Option<Self> {
        let mut given = Self {
            flags: Vec::new(),
            others: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                given.others.extend(arguments.by_ref().cloned());
            } else if let Some(long) = bytes.strip_prefix(b"--") {
                let (name, value) = match long.iter().position(|byte| *byte == b'=') {
                    Some(at) => (long.get(..at)?, long.get(at + 1..)),
                    None => (long, None),
                };
                let is = |flag: &&&str| flag.as_bytes() == name;
                let value = value.map(OsStr::from_bytes).map(OsStr::to_owned);
                if let Some(flag) = BOOLEANS.iter().find(is) {
                    let value = value.unwrap_or_else(|| "true".into());
                    given.flags.push((flag, value));
                } else {
                    let flag = WITH_VALUES.iter().map(|(_, flag)| flag).find(is)?;
                    let value = value.or_else(|| arguments.next().cloned())?;
                    given.flags.push((flag, value));
                }
            } else if let [b'-', letter, rest @ ..] = bytes {
                let is = |(short, _): &&(u8, _)| short == letter;
                let (_, flag) = WITH_VALUES.iter().find(is)?;
                let value = match rest {
                    [] => arguments.next()?.clone(),
                    // The value of `-c=` is "=" for pflag, and nothing for everybody else.
                    [b'='] => return None,
                    [b'=', value @ ..] => OsStr::from_bytes(value).to_owned(),
                    value => OsStr::from_bytes(value).to_owned(),
                };
                given.flags.push((flag, value));
            } else {
                given.others.push(argument.clone());
            }
        }
        Some(given)
    }

    fn without_what_is_overridden(&self) -> Self {
        let all = self.flags.iter().enumerate();
        let counts = |(at, (flag, _)): &(usize, &(&str, OsString))| {
            let later = self.flags.iter().skip(at + 1);
            // The values of this flag add up.
            *flag == "bind-hosts" || !later.into_iter().any(|(other, _)| other == flag)
        };
        Self {
            flags: all.filter(counts).map(|(_, flag)| flag.clone()).collect(),
            others: self.others.clone(),
        }
    }

    /// The same in the longest spelling.
    fn spelled(&self) -> Vec<OsString> {
        let flags = self.flags.iter().map(|(flag, value)| {
            let mut argument = OsString::from(format!("--{flag}="));
            argument.push(value);
            argument
        });
        let others = ["--".into()].into_iter().chain(self.others.iter().cloned());
        flags.chain(others).collect()
    }
}

/// Flags of the official agent that have values, with their letters.
const WITH_VALUES: [(u8, &str); 17] = [
    (b'b', "bind-hosts"),
    (b'c', "cluster-name"),
    (b'p', "port"),
    (b'v', "verbosity"),
    (0, "bundle-refresh-interval"),
    (0, "endpoint"),
    (0, "jwt-svid-duration"),
    (0, "max-cache-size"),
    (0, "max-credential-retention-before-renewal"),
    (0, "max-service-qps"),
    (0, "metrics-address"),
    (0, "metrics-port"),
    (0, "probe-port"),
    (0, "svid-renewal-fraction"),
    (0, "svid-renewal-jitter"),
    (0, "workload-identity-provider-arn"),
    (0, "x509-svid-duration"),
];

const BOOLEANS: [&str; 2] = ["enable-imds-credentials", "rotate-credentials"];
