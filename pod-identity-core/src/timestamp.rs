use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in wall-clock time, in whole milliseconds since 1970-01-01T00:00:00 UTC.
///
/// The refresh logic uses the wall clock, because credentials expire by it. A finer fraction is rounded down, so
/// that an expiration never moves into the future. All arithmetic saturates.
///
/// `Display` and serde write RFC 3339 in UTC with a trailing `Z`, which is the only form that every SDK reads.
/// [`epoch_seconds`] is the format of EKS Auth.
///
/// ```
/// use std::time::Duration;
/// use pod_identity_core::Timestamp;
///
/// let expiry = Timestamp::parse_rfc3339("2026-03-01T14:00:00+02:00")?;
/// assert_eq!(expiry.to_string(), "2026-03-01T12:00:00Z");
/// assert_eq!(expiry - Duration::from_secs(60), Timestamp::from_unix_secs(1_772_366_340));
/// # Ok::<(), pod_identity_core::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest value, `0000-01-01T00:00:00Z`.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// The latest value, `9999-12-31T23:59:59.999Z`.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Creates a timestamp from seconds since the epoch, clamped to [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub const fn from_unix_secs(secs: i64) -> Self {
        Self::from_unix_millis(secs.saturating_mul(1000))
    }

    /// Creates a timestamp from milliseconds since the epoch, clamped to [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub const fn from_unix_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Returns the milliseconds since the epoch, negative before 1970.
    pub const fn as_unix_millis(self) -> i64 {
        self.0
    }

    /// Returns the seconds since the epoch, rounded down.
    pub const fn as_unix_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Parses RFC 3339, with `Z` or an offset, an optional fraction of a second, and `T` or a space before the
    /// time. The offset may lack its colon (`+0000`), as ISO 8601 allows and some servers write it.
    ///
    /// # Errors
    /// [`TimestampError`] if the text is not such a date and time, or not between the years 0 and 9999.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimestampError> {
        // The parser of `time` accepts any character here.
        if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
            return Err(TimestampError);
        }
        let parsed = OffsetDateTime::parse(text, &Rfc3339)
            .or_else(|_source| OffsetDateTime::parse(&with_colon(text)?, &Rfc3339).map_err(drop))
            .map_err(|()| TimestampError)?;
        let millis = parsed.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis)
            .map(Self::from_unix_millis)
            .map_err(|_out_of_range| TimestampError)
    }

    /// Returns the time from `earlier` to `self`, or zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::from_unix_millis(self.0.saturating_add(millis(duration)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self::from_unix_millis(self.0.saturating_sub(millis(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self::from_unix_millis(millis(since)),
            Err(before) => {
                // A part of a millisecond is dropped towards the past, as after 1970.
                let most_of_one = Duration::from_nanos(999_999);
                Self::from_unix_millis(0) - before.duration().saturating_add(most_of_one)
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let distance = Duration::from_millis(timestamp.0.unsigned_abs());
        if timestamp.0 >= 0 {
            Self::UNIX_EPOCH + distance
        } else {
            Self::UNIX_EPOCH - distance
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .expect("MIN and MAX must lie within the years that `time` knows");
        f.write_str(&moment.format(&Rfc3339).map_err(|_unwritable| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

/// Returns `…+0200` as `…+02:00`.
fn with_colon(text: &str) -> Result<String, ()> {
    let (before, minutes) = text
        .len()
        .checked_sub(2)
        .map_or(Err(()), |middle| text.split_at_checked(middle).ok_or(()))?;
    let sign = before
        .len()
        .checked_sub(3)
        .and_then(|sign| before.as_bytes().get(sign));
    match sign {
        Some(b'+' | b'-') => Ok(format!("{before}:{minutes}")),
        _ => Err(()),
    }
}

/// The error for a text that is not an RFC 3339 date and time such as `2026-03-01T12:00:00Z`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 date and time such as 2026-03-01T12:00:00Z")]
pub struct TimestampError;

/// The format of EKS Auth: seconds since the epoch as a JSON number, which may have a fraction.
///
/// For `#[serde(with = "epoch_seconds")]`. An integer is written if there is no fraction.
pub mod epoch_seconds {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes seconds since the epoch.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = at.as_unix_millis();
        if millis % 1000 == 0 {
            serializer.serialize_i64(millis / 1000)
        } else {
            serializer.serialize_f64(millis as f64 / 1000.0)
        }
    }

    /// Reads seconds since the epoch.
    ///
    /// # Errors
    /// When the value is not a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        // A float holds milliseconds exactly for a quarter of a million years.
        let seconds = f64::deserialize(deserializer)?;
        Ok(Timestamp::from_unix_millis(
            (seconds * 1000.0).floor() as i64
        ))
    }
}

/// As `Duration::as_millis`, without its division of 128 bits: the clock is read on every hot path.
fn millis(duration: Duration) -> i64 {
    let secs = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    secs.saturating_mul(1000)
        .saturating_add(i64::from(duration.subsec_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read_with_z_offset_and_fraction_and_written_with_z() {
        for (text, written) in [
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00Z"),
            ("2026-03-01T14:00:00+0200", "2026-03-01T12:00:00Z"),
            ("2026-03-01T12:00:00.5-0000", "2026-03-01T12:00:00.5Z"),
            ("2026-03-01T12:00:00+00:00", "2026-03-01T12:00:00Z"),
            ("2026-03-01T11:30:00.5-00:30", "2026-03-01T12:00:00.5Z"),
            ("2026-03-01T12:00:00.123456789Z", "2026-03-01T12:00:00.123Z"),
        ] {
            let parsed = Timestamp::parse_rfc3339(text).unwrap();
            assert_eq!(parsed.to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_not_rfc3339_is_refused() {
        for text in [
            "",
            "1772366400",
            "2026-03-01",
            "2026-03-01 12:00",
            "2026-03-01)12:00:00Z",
            "2026-13-01T00:00:00Z",
            "never",
        ] {
            assert_eq!(
                Timestamp::parse_rfc3339(text),
                Err(TimestampError),
                "{text}"
            );
        }
    }

    #[test]
    fn the_epoch_codec_keeps_milliseconds() {
        #[derive(Serialize, Deserialize)]
        struct Wire(#[serde(with = "epoch_seconds")] Timestamp);

        for (json, millis) in [
            ("1772366400", 1_772_366_400_000),
            ("1772366400.25", 1_772_366_400_250),
        ] {
            let wire: Wire = serde_json::from_str(json).unwrap();
            assert_eq!(wire.0.as_unix_millis(), millis);
            assert_eq!(serde_json::to_string(&wire).unwrap(), json);
        }
        assert!(serde_json::from_str::<Wire>("\"1772366400\"").is_err());
        let absurd: Wire = serde_json::from_str("1e300").unwrap();
        assert_eq!(absurd.0, Timestamp::MAX);
    }

    #[test]
    fn arithmetic_saturates_and_the_extremes_can_be_written() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::MAX, Timestamp::MIN);
        assert_eq!(
            Timestamp::MIN.saturating_since(Timestamp::MAX),
            Duration::ZERO
        );
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn system_time_goes_both_ways() {
        for millis in [-1500, 0, 1_772_366_400_123] {
            let at = Timestamp::from_unix_millis(millis);
            assert_eq!(Timestamp::from(SystemTime::from(at)), at);
            let within = SystemTime::from(at) + Duration::from_nanos(999_999);
            assert_eq!(Timestamp::from(within), at);
        }
    }
}
