use std::time::Duration;

use pod_identity_cli::parse_duration;

use super::{Target, of_text};

pub(super) const TARGET: Target = Target {
    name: "duration",
    cases: 100_000,
    words: &[
        "h", "m", "s", "ms", "us", "µs", "μs", "ns", "1h30m", ".5", ".",
    ],
    check: || of_text(check),
};

/// A duration is what Go's `time.ParseDuration` documents, computed here in whole numbers.
fn check(text: &str) {
    let expected = nanoseconds(text);
    match (parse_duration(text), expected) {
        (Ok(parsed), Some(nanos)) => {
            let distance = parsed.as_nanos().abs_diff(nanos);
            // The fraction of a number is a binary one, and each part is rounded.
            let parts = text.matches(char::is_alphabetic).count() as u128;
            assert!(
                distance <= parts.max(nanos >> 48),
                "{parsed:?} is not {nanos} ns"
            );
        }
        (Err(error), Some(nanos)) => {
            assert!(
                nanos > Duration::MAX.as_nanos() - (Duration::MAX.as_nanos() >> 40),
                "{error}"
            );
        }
        (Ok(parsed), None) => panic!("it is no duration, and read as {parsed:?}"),
        (Err(_), None) => {}
    }
}

/// `None` if the text has another form: `[+]`, and then `0` or parts of digits with a fraction and a unit.
fn nanoseconds(text: &str) -> Option<u128> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u128;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after
            .find(|it: char| it == '.' || it.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole = if whole.is_empty() {
            0
        } else {
            whole.parse().unwrap_or(u128::MAX)
        };
        total = total.saturating_add(whole.saturating_mul(unit));
        let fraction: &str = fraction.get(..fraction.len().min(18)).unwrap_or_default();
        if !fraction.is_empty() {
            let numerator: u128 = fraction.parse().unwrap_or(0);
            total = total.saturating_add(numerator * unit / 10_u128.pow(fraction.len() as u32));
        }
        rest = next;
    }
    Some(total)
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|it: char| !it.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}
