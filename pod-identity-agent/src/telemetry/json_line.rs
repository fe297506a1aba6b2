use std::fmt::Write;

use pod_identity_core::is_printable;
use serde_json::Value;

/// Returns a value as one line of JSON, with its line feed. What fields quote of other programs may be anything, so
/// characters that are not printable are escaped.
pub(crate) fn json_line(value: &Value) -> String {
    let json = value.to_string();
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if is_printable(character) {
            line.push(character);
        } else {
            // serde_json has escaped ASCII, so it is in a string, where JSON escapes units of UTF-16.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(line, "\\u{unit:04x}");
            }
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_shows_every_character_and_keeps_its_value() {
        let value = json!({"path": "a\u{2028}\u{202e}\u{e0041}\"\\é\n\x7f"});
        let line = json_line(&value);
        let shown = r#"{"path":"a\u2028\u202e\udb40\udc41\"\\é\n\u007f"}"#;
        assert_eq!(line, format!("{shown}\n"));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
