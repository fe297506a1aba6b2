use bytes::Bytes;
use serde_json::{Map, Value};

use crate::fault::fault::Fault;
use crate::fault::field_defect::Defect;
use crate::http::answer::Answer;

/// A success with the members changed that the fault changes.
pub(crate) fn change(answer: Answer, fault: &Fault) -> Answer {
    if fault.without.is_none() && fault.fields.is_empty() {
        return answer;
    }
    answer.map(|body| {
        // A body that is not JSON has no members.
        let mut body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if let Some(path) = &fault.without {
            change_member(&mut body, path, &Defect::Missing);
        }
        for (path, defect) in &fault.fields {
            change_member(&mut body, path, defect);
        }
        Bytes::from(body.to_string())
    })
}

/// # Panics
/// Panics if there is no member at the path.
fn change_member(body: &mut Value, path: &str, defect: &Defect) {
    let (parent, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (format!("/{}", parent.replace('.', "/")), name),
        None => (String::new(), path),
    };
    let parent = body.pointer_mut(&parent).and_then(Value::as_object_mut);
    let is_there = parent.is_some_and(|parent| change_in(parent, name, defect));
    assert!(is_there, "a success must have the member {path} of a fault");
}

/// Returns whether there is such a member.
fn change_in(parent: &mut Map<String, Value>, name: &str, defect: &Defect) -> bool {
    let Some(value) = parent.remove(name) else {
        return false;
    };
    let (name, value) = match defect {
        Defect::Missing => return true,
        Defect::Null => (name.to_owned(), Value::Null),
        Defect::Empty => (name.to_owned(), Value::from("")),
        Defect::WrongType => (name.to_owned(), Value::from([7])),
        Defect::LowerCase => (name.to_ascii_lowercase(), value),
        Defect::UpperCase => (name.to_ascii_uppercase(), value),
        Defect::Renamed(other) => (other.clone(), value),
    };
    parent.insert(name, value);
    true
}
