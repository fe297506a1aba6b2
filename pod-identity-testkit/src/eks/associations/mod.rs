//! Pod identity associations.

pub(crate) mod associated;
pub(crate) mod association;
pub(crate) mod json;
pub(crate) mod rules;
pub(crate) mod store;
pub(crate) mod view;
pub(crate) mod visibility;
