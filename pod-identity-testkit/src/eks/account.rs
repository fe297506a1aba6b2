use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::ServiceError;
use crate::eks::granted::{Assumed, Granted};

/// A real AWS account, whose STS mints credentials in place of the mock's.
pub(crate) trait Account: fmt::Debug + Send + Sync {
    /// Assumes the role that the mock has granted.
    fn assume<'a>(&'a self, granted: &'a Granted) -> Assuming<'a>;
}

pub(crate) type Assuming<'a> =
    Pin<Box<dyn Future<Output = Result<Assumed, ServiceError>> + Send + 'a>>;
