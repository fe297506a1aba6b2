use bytes::Bytes;
use pod_identity_core::wire::agent::Refusal;

use crate::http::answer::Answer;

/// Returns the answer of a refusal.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    refusal.to_response().map(Bytes::from)
}
