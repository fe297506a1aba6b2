use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::identities_file::IdentitiesFile;
use super::review::Review;
use crate::WebhookConfig;
use crate::http::answer::{self, Answer};
use crate::http::server::Service;

/// The webhook behind its socket.
pub(crate) struct WebhookService {
    pub(crate) config: WebhookConfig,
    pub(crate) file: Option<IdentitiesFile>,
    /// Without it, plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Service for WebhookService {
    async fn serve(&self, stream: TcpStream) {
        match &self.tls {
            None => self.serve_http(stream).await,
            Some(tls) => {
                // A failed handshake is no error of the mock.
                if let Ok(stream) = tls.accept(stream).await {
                    self.serve_http(stream).await;
                }
            }
        }
    }
}

impl WebhookService {
    async fn serve_http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let answer = service_fn(|request| self.call(request));
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // Nor is a connection that the client ends.
        served.await.ok();
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let answer = match head.uri.path() {
            PATH => self.mutate(&head, body).await,
            "/healthz" => healthy(),
            _ => answer::text(404, "404 page not found"),
        };
        Ok(answer.map(Full::new))
    }

    async fn mutate(&self, head: &Parts, body: Incoming) -> Answer {
        // Exactly this: with a charset the official one refuses it, too.
        let content_type = head.headers.get(CONTENT_TYPE);
        if content_type.is_none_or(|value| value != "application/json") {
            let message = "Invalid Content-Type, expected `application/json`";
            return answer::text(415, message);
        }
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let message = format_args!("cannot read body: {error}");
                return answer::text(400, message);
            }
        };
        match serde_json::from_slice::<Review>(&body) {
            Ok(review) => self.review(review),
            Err(error) => {
                let message = format_args!("cannot decode AdmissionReview: {error}");
                answer::text(400, message)
            }
        }
    }

    fn review(&self, review: Review) -> Answer {
        let reviewed = match &self.file {
            Some(file) => review.answer(&self.config.knowing(file.current())),
            None => review.answer(&self.config),
        };
        let body = serde_json::to_string(&reviewed).expect("a review must serialize");
        answer::json(200, body)
    }
}

impl fmt::Debug for WebhookService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookService")
            .field("config", &self.config)
            .field("file", &self.file)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

fn healthy() -> Answer {
    let mut answer = answer::bare(200, "ok");
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

pub(crate) const PATH: &str = "/mutate";
/// Twice what the API server accepts as a request itself.
const MAX_BODY: usize = 6 * 1024 * 1024;
