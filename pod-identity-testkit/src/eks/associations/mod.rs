//! Pod identity associations and their API.

pub(crate) mod api;
pub(crate) mod associated;
pub(crate) mod association;
pub(crate) mod json;
pub(crate) mod store;
pub(crate) mod visibility;
