use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use pod_identity_core::Timestamp;

use super::{Target, of_text};

pub(super) const TARGET: Target = Target {
    name: "timestamp",
    cases: 60_000,
    words: &[
        "T",
        "Z",
        "+00:00",
        "-0000",
        ".999999999",
        "2026-03-01",
        "23:59:60",
        "0000-",
        "9999-12-31",
    ],
    check: || of_text(check),
};

/// A time is what the AWS SDK for Rust reads, to the millisecond, and the SDK reads what is written.
fn check(text: &str) {
    let ours = Timestamp::parse_rfc3339(text);
    let theirs = DateTime::from_str(text, Format::DateTimeWithOffset);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => {
            // An offset may lead to a year that cannot be written.
            let millis = theirs.as_nanos().div_euclid(1_000_000);
            let [first, last] =
                [Timestamp::MIN, Timestamp::MAX].map(|it| i128::from(it.as_unix_millis()));
            assert_eq!(i128::from(ours.as_unix_millis()), millis.clamp(first, last));
        }
        (Err(error), Ok(theirs)) => panic!("{error}, and the SDK reads {theirs}"),
        // What ISO 8601 allows besides, an offset without a colon, and RFC 3339 §5.6, a space for the T.
        (Ok(_), Err(error)) => {
            let text = text.replacen(' ', "T", 1);
            let (start, end) = text
                .split_at_checked(text.len().saturating_sub(2))
                .unwrap_or((&text, ""));
            let is_read = |text: &str| DateTime::from_str(text, Format::DateTimeWithOffset).is_ok();
            assert!(
                is_read(&text) || is_read(&format!("{start}:{end}")),
                "the SDK refuses it: {error}"
            );
        }
        (Err(_), Err(_)) => {}
    }
    if let Ok(time) = ours {
        let written = time.to_string();
        assert!(written.ends_with('Z'), "{written}");
        assert_eq!(Timestamp::parse_rfc3339(&written), Ok(time));
        let read = DateTime::from_str(&written, Format::DateTime)
            .expect("the SDK must read what is written");
        assert_eq!(
            read.as_nanos(),
            i128::from(time.as_unix_millis()) * 1_000_000
        );
    }
}
