//! Makes text of other programs fit for a log line and for a response.

use std::error::Error;

use pod_identity_core::is_printable;

/// Returns the first `limit` characters on one line, without words that are too long to be a name: what answers a
/// request may repeat its headers, with a token. Unprintable characters become spaces.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    without_long_words(text, LONGEST_NAME)
        .chars()
        .map(|char| if is_printable(char) { char } else { ' ' })
        .take(limit)
        .collect()
}

/// Leaves out words of more characters than this that may be secrets: in base64, also where it is encoded once more for
/// a URL or for HTML.
pub(crate) fn without_long_words(text: &str, longest: usize) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|char| !is_in_word(char)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let is_short = word.len() <= longest;
        kept.push_str(if is_short { word } else { "<left out>" });
        let mut behind = behind.chars();
        kept.extend(behind.next());
        rest = behind.as_str();
    }
    kept
}

fn is_in_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || "+/=_-.%&#;".contains(char)
}

/// No word of a sentence is longer. A session token has hundreds of characters, an access key id has 20.
pub(crate) const LONGEST_WORD: usize = 40;

/// The resource of an ARN is not longer, unless a role is in a deep path.
const LONGEST_NAME: usize = 200;

/// Returns an error and its causes on one line, each once.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !causes.contains(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_left_out_in_every_encoding() {
        let token = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCXVzLXdlc3QtMiJGMEQCIH+abc=";
        for encoded in [
            token.to_owned(),
            token.replace('/', "%2F").replace('+', "%2B"),
            token.replace('/', "&#x2F;").replace('+', "&#43;"),
        ] {
            let page = format!("<p>x-amz-security-token: {encoded}</p> blocked by policy 17");
            let kept = without_long_words(&page, LONGEST_WORD);
            assert_eq!(
                kept,
                "<p>x-amz-security-token: <left out></p> blocked by policy 17"
            );
        }
        assert_eq!(without_long_words("blöcked é", LONGEST_WORD), "blöcked é");
    }

    #[test]
    fn a_word_is_left_out_if_it_is_longer_than_40_characters() {
        let (short, long) = ("x".repeat(40), "x".repeat(41));
        let kept = without_long_words(&format!("{short} {long}"), LONGEST_WORD);
        assert_eq!(kept, format!("{short} <left out>"));
        assert_eq!(without_long_words("", LONGEST_WORD), "");
    }

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

    #[test]
    fn each_cause_is_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Caused(&'static str, #[source] Option<Box<Caused>>);

        let caused = |text, cause: Option<Caused>| Caused(text, cause.map(Box::new));
        let error = caused(
            "request",
            Some(caused(
                "refused",
                Some(caused("refused", Some(caused("os", None)))),
            )),
        );
        assert_eq!(with_causes(&error), "request: refused: os");
    }
}
