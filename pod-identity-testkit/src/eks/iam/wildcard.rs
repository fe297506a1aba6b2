/// Returns whether `text` matches `pattern`, in which `*` matches any characters and `?` one.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return text.chars().count() == pattern.chars().count() && starts_like(text, pattern);
    };
    let Some(mut rest) = without_start(text, before) else {
        return false;
    };
    loop {
        if is_like(rest, after) {
            return true;
        }
        let mut chars = rest.chars();
        if chars.next().is_none() {
            return false;
        }
        rest = chars.as_str();
    }
}

/// Matches as `ArnEquals` and `ArnLike`, which are the same: "each of the six colon-delimited components of the
/// ARN is checked separately and each can include multi-character match wildcards (*) or
/// single-character match wildcards (?)" (IAM user guide).
pub(crate) fn is_arn_like(arn: &str, pattern: &str) -> bool {
    let arn: Vec<&str> = arn.splitn(6, ':').collect();
    let pattern: Vec<&str> = pattern.splitn(6, ':').collect();
    arn.len() == 6
        && pattern.len() == 6
        && arn
            .iter()
            .zip(&pattern)
            .all(|(part, pattern)| is_like(part, pattern))
}

/// Returns the rest after a prefix that matches `start`, which has no `*`.
fn without_start<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let mut chars = text.chars();
    for wanted in start.chars() {
        let there = chars.next()?;
        if wanted != '?' && wanted != there {
            return None;
        }
    }
    Some(chars.as_str())
}

fn starts_like(text: &str, start: &str) -> bool {
    without_start(text, start).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_other_characters() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "*", true),
            ("a", "", false),
            ("prod", "prod", true),
            ("prod", "pro", false),
            ("prod", "pro?", true),
            ("prod", "pro??", false),
            ("prod-eu", "prod-*", true),
            ("prod", "prod-*", false),
            ("a-b-c", "*-c", true),
            ("a-b-c", "a*b*c", true),
            ("a-b-c", "a*c*b", false),
            ("aab", "*ab", true),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} like {pattern}");
        }
    }

    #[test]
    fn a_star_in_an_arn_does_not_match_a_colon_before_the_resource() {
        let arn = "arn:aws:eks:us-west-2:111122223333:cluster/prod";
        for (pattern, expected) in [
            ("arn:aws:eks:us-west-2:111122223333:cluster/prod", true),
            ("arn:aws:eks:*:111122223333:cluster/*", true),
            ("arn:aws:eks:us-west-?:111122223333:cluster/pr*", true),
            ("arn:aws:eks:*:cluster/*", false),
            ("arn:aws:eks:*", false),
            ("*", false),
            ("arn:aws:eks:us-west-2:111122223333:cluster/dev", false),
        ] {
            assert_eq!(is_arn_like(arn, pattern), expected, "{pattern}");
        }
    }
}
