//! Tokens: their issuer, the volume that they are projected into, and the clock.

pub(crate) mod builder;
pub(crate) mod clock;
pub(crate) mod defect;
pub(crate) mod ids;
pub(crate) mod issuer;
pub(crate) mod key_set;
pub(crate) mod keys;
pub(crate) mod layout;
pub(crate) mod pod_token;
pub(crate) mod scratch;
pub(crate) mod secrets;
pub(crate) mod volume;
