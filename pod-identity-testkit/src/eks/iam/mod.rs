//! Roles and their trust policies.

pub(crate) mod attempt;
pub(crate) mod condition;
pub(crate) mod role;
pub(crate) mod roles;
pub(crate) mod trust_policy;
pub(crate) mod wildcard;
