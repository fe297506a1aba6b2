use std::fmt;
use std::io;
use std::net::IpAddr;

use crate::BoxFuture;

/// Resolves a host name to addresses, again for every fetch: neither answers nor failures are cached.
///
/// Only an endpoint with a host *name* needs it: the agents' endpoints are addresses.
/// [`SystemResolver`] is the default.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// Returns all addresses of `host`. The provider checks each of them.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver (`getaddrinfo`), on tokio's blocking threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
