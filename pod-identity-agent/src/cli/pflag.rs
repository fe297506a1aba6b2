//! Flag values as the official agent reads them, which parses its flags with Go's pflag.
//!
//! How pflag reads a whole command line is a setting of clap's: the last of several uses of a flag wins
//! (`args_override_self`), the argument after a flag is its value whatever it begins with
//! (`allow_hyphen_values`), a boolean takes its value after `=` only (`require_equals`), and positional
//! arguments are ignored. Charts rely on each of these: the official one renders every additional argument
//! as two, after those that are fixed.

use std::ffi::OsStr;
use std::time::Duration;

use pod_identity_cli::{DurationError, parse_duration};

use super::values::InvalidValue;

/// Parses a boolean as Go's `strconv.ParseBool` does.
pub(super) fn boolean(text: &str) -> Result<bool, InvalidValue> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(InvalidValue::Boolean),
    }
}

/// Returns whether it is the boolean `true`.
pub(super) fn is_true(argument: &OsStr) -> bool {
    argument
        .to_str()
        .map(boolean)
        .is_some_and(|value| value == Ok(true))
}

/// Parses an integer as Go's `strconv.ParseInt` does with base 0: decimal, `0x`, `0o`, `0b`, or octal after
/// a plain `0`.
pub(super) fn integer(text: &str) -> Result<i64, InvalidValue> {
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("-", digits)) => ("-", digits),
        Some(("+", digits)) => ("", digits),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.split_at_checked(2) {
        Some(("0x", digits)) => (16, digits),
        Some(("0o", digits)) => (8, digits),
        Some(("0b", digits)) => (2, digits),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, lower.as_str()),
        _ => (10, lower.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(InvalidValue::Integer);
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix)
        .map_err(|_not_an_integer| InvalidValue::Integer)
}

/// Parses a port, which pflag calls a uint16.
pub(super) fn port(text: &str) -> Result<u16, InvalidValue> {
    let number = integer(text).map_err(|_not_an_integer| InvalidValue::Port)?;
    u16::try_from(number).map_err(|_out_of_range| InvalidValue::Port)
}

/// Parses a duration. A negative one, which Go accepts, is taken as zero.
pub(super) fn duration(text: &str) -> Result<Duration, DurationError> {
    match text.strip_prefix('-') {
        Some(positive) if !positive.starts_with(['+', '-']) => {
            parse_duration(positive).map(|_negative| Duration::ZERO)
        }
        _ => parse_duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_parsed_as_go_parses_them() {
        for (text, value) in [("1", true), ("t", true), ("TRUE", true), ("False", false)] {
            assert_eq!(boolean(text), Ok(value), "{text}");
        }
        for text in ["", "yes", "tRUE", "on", " true"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn integers_are_parsed_as_go_parses_them() {
        for (text, value) in [
            ("0", 0),
            ("2000", 2000),
            ("-1", -1),
            ("+5", 5),
            ("0x50", 80),
            ("0b11", 3),
            ("0o17", 15),
            ("017", 15),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "-",
            "+-1",
            "08",
            "0x",
            "1.5",
            "ten",
            "99999999999999999999",
        ] {
            assert!(integer(text).is_err(), "{text}");
        }
        assert_eq!(port("65535"), Ok(65_535));
        assert!(port("65536").is_err() && port("-1").is_err());
    }

    #[test]
    fn a_negative_duration_is_zero_and_a_malformed_one_is_refused() {
        assert_eq!(duration("-3h"), Ok(Duration::ZERO));
        assert_eq!(duration("3h"), Ok(Duration::from_secs(10_800)));
        for text in ["-", "--3h", "-3", "3"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
