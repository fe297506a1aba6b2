use std::fmt;
use std::sync::Arc;

use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::BytesMut;
use http_body_util::BodyExt;

use crate::eks_auth::clock_skew::ClockSkew;

/// A connector with limits: it bounds bodies, does not reuse a connection on which an answer did not arrive, and
/// compares the clock of EKS Auth with the node's.
#[derive(Debug, Clone)]
pub(super) struct GuardedConnector {
    pub(super) inner: SharedHttpConnector,
    pub(super) clock_skew: Arc<ClockSkew>,
}

impl HttpConnector for GuardedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { inner, clock_skew } = self.clone();
        let mut request = request;
        // The SDK's requests have one, and those that are made elsewhere have none.
        let captured = request.extension::<CaptureSmithyConnection>().cloned();
        let captured = captured.unwrap_or_else(|| {
            let captured = CaptureSmithyConnection::new();
            request.add_extension(captured.clone());
            captured
        });
        let mut guard = RetireIfDropped(Some(captured));
        let signed_at = request.headers().get("x-amz-date").map(str::to_owned);
        HttpConnectorFuture::new(async move {
            let response = inner.call(request).await?;
            let mut response = bounded(response).await?;
            guard.disarm();
            clock_skew.note(signed_at.as_deref(), &mut response);
            Ok(response)
        })
    }
}

/// Reads at most [`MAX_BODY`] bytes of the body: the SDK has no limit.
async fn bounded(response: HttpResponse) -> Result<HttpResponse, ConnectorError> {
    let is_success = response.status().is_success();
    let mut response = response;
    let mut body = response.take_body();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(ConnectorError::io)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let room = MAX_BODY - read.len();
        read.extend_from_slice(data.get(..room).unwrap_or(data));
        if room < data.len() {
            if is_success {
                return Err(ConnectorError::io(TooLong.into()));
            }
            // The status and the beginning of an error suffice.
            break;
        }
    }
    *response.body_mut() = SdkBody::from(read.freeze());
    Ok(response)
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {MAX_BODY} bytes")]
struct TooLong;

/// EKS Auth's longest answer, with a session token of 12 KiB, is a quarter of this.
const MAX_BODY: usize = 64 * 1024;

/// Retires the connection of a request that is dropped before its answer is complete: the attempt's time
/// is over, and a connection that has frozen would fail every later attempt as well. Over HTTP/1.1 it is
/// closed anyway; one of HTTP/2 is shared, and stays open for its other requests.
struct RetireIfDropped(Option<CaptureSmithyConnection>);

impl RetireIfDropped {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for RetireIfDropped {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take().and_then(|captured| captured.get()) {
            connection.poison();
        }
    }
}

impl fmt::Debug for RetireIfDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetireIfDropped").finish()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_smithy_runtime_api::client::connection::ConnectionMetadata;
    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// The length of what is read of an answer that comes in these parts.
    async fn read(status: u16, parts: &[usize]) -> Result<usize, String> {
        let frames = parts.iter().map(|length| {
            let data = Bytes::from(vec![b'x'; *length]);
            Ok::<_, Infallible>(Frame::data(data))
        });
        let frames: Vec<_> = frames.collect();
        let body = SdkBody::from_body_1_x(StreamBody::new(stream::iter(frames)));
        let response = HttpResponse::new(status.try_into().unwrap(), body);
        let read = bounded(response)
            .await
            .map_err(|error| format!("{error:?}"))?;
        Ok(read.body().bytes().unwrap().len())
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_64_kib() {
        assert_eq!(read(200, &[]).await, Ok(0));
        assert_eq!(read(200, &[40_000, 25_536]).await, Ok(MAX_BODY));
        let error = read(200, &[40_000, 25_537]).await.unwrap_err();
        assert!(error.contains("TooLong"), "{error}");
        assert_eq!(read(500, &[40_000, 25_537, 9]).await, Ok(MAX_BODY));
    }

    #[test]
    fn a_connection_is_retired_if_its_answer_did_not_arrive() {
        let retired = Arc::new(AtomicUsize::new(0));
        let guard = || {
            let (captured, retired) = (CaptureSmithyConnection::new(), Arc::clone(&retired));
            captured.set_connection_retriever(move || {
                let retired = Arc::clone(&retired);
                let poison = move || {
                    retired.fetch_add(1, Ordering::Relaxed);
                };
                Some(
                    ConnectionMetadata::builder()
                        .proxied(false)
                        .poison_fn(poison)
                        .build(),
                )
            });
            RetireIfDropped(Some(captured))
        };
        guard().disarm();
        assert_eq!(retired.load(Ordering::Relaxed), 0);
        drop(guard());
        assert_eq!(retired.load(Ordering::Relaxed), 1);
    }
}
