use std::io;
use std::net::Ipv4Addr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tokio::net::TcpListener;

/// Whose token it is.
#[derive(Debug, Args)]
pub(super) struct Pod {
    /// Namespace of the pod
    #[arg(long, default_value = "default", value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespace: String,
    /// Service account of the pod
    #[arg(long, default_value = "app", value_parser = NonEmptyStringValueParser::new())]
    pub(super) service_account: String,
}

/// `namespace/service-account`.
pub(super) fn identity(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() => {
            Ok((namespace.to_owned(), account.to_owned()))
        }
        _ => Err("expected namespace/service-account, such as shop/cart".to_owned()),
    }
}

/// A port of 127.0.0.1; 0 is a free one.
///
/// # Errors
/// When it is taken, which the words tell.
pub(super) async fn listen(port: u16) -> io::Result<TcpListener> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    bound.map_err(|error| {
        let cure = "take another one with --port, or none for a free one";
        io::Error::new(
            error.kind(),
            format!("cannot listen on 127.0.0.1:{port}: {error}; {cure}"),
        )
    })
}
