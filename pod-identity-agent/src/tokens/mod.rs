//! The cluster's keys, and the verification of tokens with them.

pub(crate) mod api_server_keys;
pub(crate) mod described_issuer;
pub(crate) mod issuer;
pub(crate) mod issuer_url;
pub(crate) mod key_file;
pub(crate) mod key_ring;
pub(crate) mod key_set;
pub(crate) mod key_source;
pub(crate) mod token_keys;
