//! Warm-up, liveness and readiness. Run: `cargo run -p pod-identity-examples --example health`
//!
//! `/readyz` fails with the reason while a request would have to wait for credentials. `/healthz` does not
//! look at credentials: a restart does not bring them.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pod_identity_provider::PodIdentityProvider;
use support::Pod;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pod = Pod::start().await;
    let provider = pod.provider(); // in a pod: PodIdentityProvider::from_env()
    let listener = TcpListener::bind("127.0.0.1:0").await?; // in a pod: 0.0.0.0:8080
    let address = listener.local_addr()?;
    let mut server = JoinSet::new(); // ends with main
    server.spawn(serve(listener, provider.clone()));

    println!("{}", probe(address, "/readyz").await?);
    provider.warm_up().await?;
    println!("{}", probe(address, "/readyz").await?);
    println!("{}", probe(address, "/healthz").await?);
    Ok(())
}

async fn serve(listener: TcpListener, provider: PodIdentityProvider) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _peer)) = listener.accept().await {
        let provider = provider.clone();
        let service = service_fn(move |request| answer(request, provider.clone()));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    provider: PodIdentityProvider,
) -> Result<Response<String>, Infallible> {
    let (status, text) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "alive".to_owned()),
        _ => readiness(&provider),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    Ok(response)
}

fn readiness(provider: &PodIdentityProvider) -> (StatusCode, String) {
    let state = provider.state();
    match (state.expiration, state.last_error) {
        (Some(until), _) if state.ready => (StatusCode::OK, format!("ready until {until}")),
        (_, Some(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not yet".to_owned()),
    }
}

/// Sends a request as kubelet does.
async fn probe(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.replace("\r\n", " "))
}
