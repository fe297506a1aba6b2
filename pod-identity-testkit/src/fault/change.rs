use bytes::Bytes;
use serde_json::{Map, Value};

use crate::fault::fault::Fault;
use crate::fault::field_defect::Defect;
use crate::http::answer::{Answer, Missing};

/// A success with the members changed that the fault changes.
pub(crate) fn change(answer: Answer, fault: &Fault) -> Answer {
    if fault.without.is_none() && fault.fields.is_empty() {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let mut json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let without = fault.without.iter().map(|path| (path, &Defect::Missing));
    let missing = without
        .chain(&fault.fields)
        .filter(|(path, defect)| !change_member(&mut json, path, defect));
    // Such as the policy of an association that has none.
    let missing: Vec<String> = missing.map(|(path, _)| path.clone()).collect();
    head.extensions.insert(Missing(missing));
    Answer::from_parts(head, Bytes::from(json.to_string()))
}

/// Returns whether there was such a member.
fn change_member(body: &mut Value, path: &str, defect: &Defect) -> bool {
    let (parent, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (format!("/{}", parent.replace('.', "/")), name),
        None => (String::new(), path),
    };
    let parent = body.pointer_mut(&parent).and_then(Value::as_object_mut);
    parent.is_some_and(|parent| change_in(parent, name, defect))
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
