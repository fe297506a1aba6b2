use std::error::Error;

/// Escapes the [unprintable](is_printable) characters of a message, as in a literal of Rust, so that it is one line and
/// shows all that it quotes.
///
/// ```
/// let quoted = "role\u{2028}pod\u{202e}\n";
/// assert_eq!(pod_identity_core::printable(quoted), r"role\u{2028}pod\u{202e}\n");
/// ```
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match is_printable(character) {
            true => printable.push(character),
            false => printable.extend(character.escape_debug()),
        }
    }
    printable
}

/// Returns whether a character of a message shows as itself, in its place, on one line.
///
/// What does not: control characters, line and paragraph separators, spaces other than U+0020, most marks that combine with
/// the character before them, and invisible ones, such as those that change the direction of the text behind them.
/// A message that quotes them can look like another message.
pub fn is_printable(character: char) -> bool {
    match character {
        '\\' | '"' | '\'' => true,
        // Letters, or a symbol, without ink: fillers of Hangul and the empty Braille pattern.
        '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => false,
        _ => character.escape_debug().len() == 1,
    }
}

/// Leaves out words of more than `longest` characters of base64, also where it is encoded once more for a URL, HTML or
/// XML: they may be tokens. A service that is asked may repeat the headers that it was sent.
///
/// ```
/// let said = "x-amz-security-token:IQoJb3JpZ2luX2VjEXAMPLE is not valid";
/// let shown = pod_identity_core::without_long_words(said, 20);
/// assert_eq!(shown, "x-amz-security-token:<left out> is not valid");
/// ```
pub fn without_long_words(text: &str, longest: usize) -> String {
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

/// Returns an error and its causes on one line, each once.
pub fn with_causes(error: &dyn Error) -> String {
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
    fn a_character_is_printable_if_it_is_seen_on_one_line() {
        for seen in " a0\\\"'~éßж漢→–…€🙂".chars() {
            assert!(is_printable(seen), "{seen:?}");
        }
        for unseen in [
            '\n',
            '\r',
            '\t',
            '\0',
            '\x1b',
            '\x7f',
            '\u{85}',
            '\u{9b}',
            '\u{a0}',
            '\u{ad}',
            '\u{301}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{e0041}',
            '\u{e0100}',
        ] {
            assert!(!is_printable(unseen), "{unseen:?}");
        }
    }

    #[test]
    fn long_words_are_left_out_in_every_encoding() {
        let token = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCXVzLXdlc3QtMiJGMEQCIH+abc=";
        for encoded in [
            token.to_owned(),
            token.replace('/', "%2F").replace('+', "%2B"),
            token.replace('/', "&#x2F;").replace('+', "&#43;"),
        ] {
            let page = format!("<p>x-amz-security-token: {encoded}</p> blocked by policy 17");
            let kept = without_long_words(&page, 40);
            assert_eq!(
                kept,
                "<p>x-amz-security-token: <left out></p> blocked by policy 17"
            );
        }
        assert_eq!(without_long_words("blöcked é", 40), "blöcked é");
    }

    #[test]
    fn a_word_is_left_out_if_it_is_longer_than_40_characters() {
        let (short, long) = ("x".repeat(40), "x".repeat(41));
        let kept = without_long_words(&format!("{short} {long}"), 40);
        assert_eq!(kept, format!("{short} <left out>"));
        assert_eq!(without_long_words("", 40), "");
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
