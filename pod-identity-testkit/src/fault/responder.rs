use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use serde::{Serialize, Serializer};

/// A closure that answers, created by [`Fault::respond`](crate::Fault::respond).
#[derive(Clone)]
pub(crate) struct Responder(Arc<Respond>);

type Respond = dyn Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync;

impl Responder {
    pub(super) fn new<B: Into<Bytes>>(
        answer: impl Fn(&Request<Bytes>) -> Response<B> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| answer(request).map(Into::into)))
    }

    pub(super) fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        (self.0)(request)
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl Serialize for Responder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("..")
    }
}
