use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use pod_identity_core::printable;

/// Why a program stops without having done its work, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A failure with an exit code of its own. The message names the cause, then the remedy. What it quotes of a file or
    /// of the command line may be anything, so it is made [`printable`].
    pub fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: printable(&message.to_string()),
        }
    }

    /// A usage error that clap cannot find, such as a wrong value in an environment variable; exit code 64.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(EX_USAGE, message)
    }

    /// Writes `program: message` to standard error and returns the exit code.
    pub fn report(&self, program: &str) -> ExitCode {
        // Without standard error the exit code still tells.
        let _unwritten = writeln!(io::stderr(), "{program}: {self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(1, error)
    }
}

/// A wrong command line, by the convention of sysexits.h.
const EX_USAGE: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let failure = Failure::from(io::Error::other("a\u{2028}b\r\n\u{202e}\"c\\'"));
        assert_eq!(failure.to_string(), r#"a\u{2028}b\r\n\u{202e}"c\'"#);
    }
}
