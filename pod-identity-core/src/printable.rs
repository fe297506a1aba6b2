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
}
