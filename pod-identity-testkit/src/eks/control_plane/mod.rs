//! The API of EKS: associations, and of clusters and add-ons what tools call around them.

pub(crate) mod addons_api;
pub(crate) mod api;
pub(crate) mod associations_api;
pub(crate) mod clusters_api;
