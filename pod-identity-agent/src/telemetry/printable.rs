//! Makes text of other programs fit for a log line and for a response.

use pod_identity_core::{is_printable, without_long_words};

/// Returns the first `limit` characters on one line, without words that are too long to be a name: what answers a
/// request may repeat its headers, with a token. Unprintable characters become spaces.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    without_long_words(text, LONGEST_NAME)
        .chars()
        .map(|char| if is_printable(char) { char } else { ' ' })
        .take(limit)
        .collect()
}

/// No word of a sentence is longer. A session token has hundreds of characters, an access key id has 20.
pub(crate) const LONGEST_WORD: usize = 40;

/// The resource of an ARN is not longer, unless a role is in a deep path.
const LONGEST_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_line_of_a_bounded_length() {
        assert_eq!(excerpt("one\r\ntwo\u{2028}", 64), "one  two ");
        assert_eq!(excerpt("é".repeat(9).as_str(), 4), "éééé");
        let long = "t".repeat(201);
        assert_eq!(
            excerpt(&format!("it says {long}."), 64),
            "it says <left out>"
        );
    }
}
