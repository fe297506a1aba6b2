//! The API of EKS: associations, and of clusters and add-ons what tools call around them.

pub(crate) mod associations_api;
