use serde::de::DeserializeOwned;
use serde_json::{Error, Map, Value};

/// Reads the body of a request. It is an object: serde would read a struct from an array, too.
///
/// # Errors
/// Fails if it is no object, or has an unknown member or value.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let members: Map<String, Value> = serde_json::from_slice(json)?;
    serde_json::from_value(members.into())
}
