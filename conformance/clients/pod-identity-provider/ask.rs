//! Fetches credentials from one provider of this repository, once for every line of standard input.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "that is what it is for"
)]

use std::error::Error;

use pod_identity_provider::{Credentials, PodIdentityProvider};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let provider = PodIdentityProvider::from_env();
    let mut lines = BufReader::new(stdin()).lines();
    while lines.next_line().await?.is_some() {
        match provider.credentials().await {
            Ok(credentials) => println!("{}", told(&credentials)),
            Err(error) => {
                eprintln!("{error}");
                println!("failed {}", variant(&error));
            }
        }
    }
    Ok(())
}

fn told(credentials: &Credentials) -> String {
    let parts = [
        ("AccessKeyId", credentials.access_key_id()),
        ("SecretAccessKey", credentials.secret_access_key().expose()),
        ("Token", credentials.session_token().expose()),
    ];
    if let Some((name, _)) = parts.iter().find(|(_, part)| part.is_empty()) {
        return format!("without {name}");
    }
    let expiry = credentials.expiration().as_unix_secs();
    format!("key {} {expiry}", credentials.access_key_id())
}

fn variant(error: &dyn Error) -> String {
    let debug = format!("{error:?}");
    debug
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}
