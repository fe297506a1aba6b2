use std::time::Duration;

/// Reads a duration as Go writes it: `3h`, `1h30m`, `1.5h`, `90s`, `250ms`, `0`.
///
/// The official agent's flags use this syntax, so charts and manifests hold it.
///
/// # Errors
/// A sentence for the command line when the text is not of this form, or negative.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    if rest.starts_with('-') {
        return Err("a negative duration makes no sense here".to_owned());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(EXPECTED)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let number: f64 = number.parse().map_err(|_no_number| EXPECTED)?;
        let (_, seconds) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(EXPECTED)?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_too_large| TOO_LONG)?;
        total = total.checked_add(part).ok_or(TOO_LONG)?;
        rest = next;
    }
    Ok(total)
}

const EXPECTED: &str = "expected a duration such as 3h, 90m, 1h30m or 45s";

const TOO_LONG: &str = "too long";

/// Go's units, in seconds. Both spellings of micro are Go's.
const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("3h", 10_800_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("3h0m0s", 10_800_000),
            ("90s", 90_000),
            ("250ms", 250),
            ("+1m", 60_000),
            (".5s", 500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for text in [
            "",
            "3",
            "h",
            "3 h",
            "3d",
            "1h-3m",
            "-1h",
            "1..5h",
            "+",
            "99999999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
