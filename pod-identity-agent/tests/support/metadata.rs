use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Instance metadata (IMDSv2) with so many facts.
pub(crate) struct Metadata {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Metadata {
    pub(crate) async fn start(facts: &'static [(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _peer)) = listener.accept().await {
                let service = service_fn(move |request: Request<_>| {
                    std::future::ready(Ok::<_, Infallible>(metadata(facts, &request)))
                });
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            _serving: serving,
        }
    }
}

fn metadata<B>(facts: &[(&str, &str)], request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/latest/api/token" {
        let response = Response::builder().header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        return response.body("token".into()).unwrap();
    }
    match facts.iter().find(|(known, _)| *known == path) {
        Some((_, fact)) => Response::new((*fact).to_owned().into()),
        None => {
            let response = Response::builder().status(StatusCode::NOT_FOUND);
            response.body(Full::default()).unwrap()
        }
    }
}
