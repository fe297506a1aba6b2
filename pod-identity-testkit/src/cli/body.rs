use pod_identity_core::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Error;

/// Reads the body of a request, an object.
///
/// # Errors
/// Fails if it is no object, or has an unknown member or value.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let JsonObject(read) = serde_json::from_slice(json)?;
    Ok(read)
}
