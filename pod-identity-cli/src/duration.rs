use std::time::Duration;

/// Parses a duration as Go writes it: `3h`, `1h30m`, `1.5h`, `90s`, `250ms`, `0`.
///
/// The official agent's flags use this syntax, so charts and manifests hold it. Its units are `h`, `m`,
/// `s`, `ms`, `us` (or `µs`) and `ns`.
///
/// # Errors
/// Fails if the text has another form, is negative, or exceeds [`Duration::MAX`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(DurationError::Syntax);
    }
    if rest.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(DurationError::Syntax)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let number: f64 = number
            .parse()
            .map_err(|_not_a_number| DurationError::Syntax)?;
        let (_, seconds) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(DurationError::Syntax)?;
        let part = Duration::try_from_secs_f64(number * seconds)
            .map_err(|_too_large| DurationError::TooLong)?;
        total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        rest = next;
    }
    Ok(total)
}

/// Parses the lifetime of a token or of credentials: a duration, as [`parse_duration`] reads it, from 1 s to
/// 365 days. EKS accepts much less; tests of expiry need the short ones.
///
/// # Errors
/// Fails as [`parse_duration`] does, and if the duration is out of this range.
pub fn parse_lifetime(text: &str) -> Result<Duration, DurationError> {
    parse_duration_within(Duration::from_secs(1)..=365 * DAY, text)
}

/// Parses a duration within bounds, which are inclusive.
///
/// # Errors
/// Fails as [`parse_duration`] does, and if the duration is out of bounds.
pub fn parse_duration_within(
    bounds: std::ops::RangeInclusive<Duration>,
    text: &str,
) -> Result<Duration, DurationError> {
    let duration = parse_duration(text)?;
    if bounds.contains(&duration) {
        Ok(duration)
    } else {
        let (least, most) = bounds.into_inner();
        Err(DurationError::OutOfBounds { least, most })
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// It is not a sequence of numbers with units.
    #[error("expected a duration such as 3h, 90m, 1h30m or 45s")]
    Syntax,
    /// It is below zero.
    #[error("expected a duration that is not negative")]
    Negative,
    /// It exceeds [`Duration::MAX`].
    #[error("the duration is too long")]
    TooLong,
    /// It is not within the bounds of its flag.
    #[error("expected a duration from {} to {}", go(*.least), go(*.most))]
    OutOfBounds {
        /// The shortest duration that is accepted.
        least: Duration,
        /// The longest duration that is accepted.
        most: Duration,
    },
}

/// The duration in its largest unit without a fraction, among hours, seconds and milliseconds.
fn go(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Go's units, in seconds. Both spellings of micro are Go's.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
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
            ("+0", 0),
            ("3h", 10_800_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("3h0m0s", 10_800_000),
            ("90s", 90_000),
            ("250ms", 250),
            ("+1m", 60_000),
            (".5s", 500),
        ] {
            let expected = Ok(Duration::from_millis(millis));
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn any_other_text_is_refused() {
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
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_lifetime_out_of_bounds_is_refused_with_the_bounds() {
        assert_eq!(parse_lifetime("20m"), Ok(Duration::from_secs(1200)));
        for text in ["0", "999ms", "8761h"] {
            let error = parse_lifetime(text).unwrap_err().to_string();
            assert_eq!(error, "expected a duration from 1s to 8760h", "{text}");
        }
    }
}
