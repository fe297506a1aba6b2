/// The names in `eks.amazonaws.com/skip-containers`: the first record of a CSV file, as the
/// `encoding/csv` of Go reads it. Nothing is trimmed; what is not CSV names no container.
pub(crate) fn names(annotation: &str) -> Vec<String> {
    let mut rest = annotation.trim_start_matches(['\r', '\n']);
    let mut names = Vec::new();
    // An empty file has no record, where an empty field of a record would be a name.
    while !rest.is_empty() || !names.is_empty() {
        let Some((name, after)) = field(rest) else {
            return Vec::new();
        };
        names.push(name);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    names
}

/// A field, and what comes after it: a comma, the end of the line, or nothing.
fn field(text: &str) -> Option<(String, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_field(quoted),
        None => plain_field(text),
    }
}

fn plain_field(text: &str) -> Option<(String, &str)> {
    let end = text.find([',', '\n']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let name = match after.starts_with(',') {
        true => name,
        false => name.strip_suffix('\r').unwrap_or(name),
    };
    (!name.contains('"')).then(|| (name.to_owned(), after))
}

fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                name.push('"');
                rest = next;
            }
            None => return ends_field(after).then_some((name, after)),
        }
    }
}

fn ends_field(after: &str) -> bool {
    after.is_empty() || after.starts_with([',', '\n']) || after.starts_with("\r\n")
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn skipped_containers_are_parsed_as_csv() {
        for (annotation, expected) in [
            ("a", &["a"][..]),
            ("a,b", &["a", "b"]),
            ("a, b", &["a", " b"]),
            (" a ,b", &[" a ", "b"]),
            ("a,,b", &["a", "", "b"]),
            ("a,", &["a", ""]),
            (",", &["", ""]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""a""b""#, &["a\"b"]),
            ("a\nb", &["a"]),
            ("a\r\nb", &["a"]),
            ("\na,b", &["a", "b"]),
            (r#""""#, &[""]),
        ] {
            assert_eq!(names(annotation), expected, "{annotation:?}");
        }
    }

    #[test]
    fn invalid_csv_skips_nothing() {
        for annotation in ["", "\n", "a\"b", "\"a", "\"a\"b", "a,\"b", "a, \"b\""] {
            assert!(names(annotation).is_empty(), "{annotation:?}");
        }
    }
}
