//! Estimates of the memory that values take besides their own size, so that a record can be bounded. They are of a
//! 64-bit system, and rather too high.

use std::collections::BTreeMap;
use std::mem;

use http::HeaderMap;
use pod_identity_core::UnverifiedClaims;
use serde_json::Value;

/// Of a text on the heap, with what an allocator adds to it.
pub(crate) fn of_text(text: &str) -> usize {
    text.len() + ALLOCATION
}

/// Of a text that may be absent.
pub(crate) fn of_option(text: Option<&String>) -> usize {
    text.map_or(0, |text| of_text(text))
}

/// Of a tree. It is ten times its text and more: an object of one member takes a whole node of a B-tree.
pub(crate) fn of_json(value: &Value) -> usize {
    match value {
        Value::String(text) => of_text(text),
        Value::Array(elements) => {
            let own = elements.capacity() * mem::size_of::<Value>() + ALLOCATION;
            own + elements.iter().map(of_json).sum::<usize>()
        }
        Value::Object(members) => {
            let nodes = members.len().div_ceil(MEMBERS_OF_A_NODE);
            let members = members
                .iter()
                .map(|(name, value)| of_text(name) + of_json(value));
            nodes * NODE + members.sum::<usize>()
        }
        _ => 0,
    }
}

/// Of texts by their name.
pub(crate) fn of_texts(texts: &BTreeMap<String, String>) -> usize {
    let nodes = texts.len().div_ceil(MEMBERS_OF_A_NODE);
    let texts = texts
        .iter()
        .map(|(name, text)| of_text(name) + of_text(text));
    nodes * NODE + texts.sum::<usize>()
}

pub(crate) fn of_headers(headers: &HeaderMap) -> usize {
    let texts = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER);
    texts.sum()
}

pub(crate) fn of_claims(claims: &UnverifiedClaims) -> usize {
    let texts = [&claims.issuer, &claims.subject].map(|text| of_option(text.as_ref()));
    let audience = claims.audience.iter();
    let audience = audience.map(|text| mem::size_of::<String>() + of_text(text));
    texts.iter().sum::<usize>() + audience.sum::<usize>() + 6 * NAME
}

/// Header and rounding of an allocation.
const ALLOCATION: usize = 24;

/// A node of a B-tree of texts and values: eleven of each, and the links.
const NODE: usize = 11 * (mem::size_of::<String>() + mem::size_of::<Value>()) + 64;

/// A node is at least half full, but for the only one.
const MEMBERS_OF_A_NODE: usize = 7;

/// The places for a name and a value in the map, which may be half empty, and the allocation of the value.
const HEADER: usize = 256;

/// A name in a token: that of a pod, or a UID.
const NAME: usize = 64;
