//! The AWS side of one cluster for tools in any language: EKS Auth, the associations API, STS.
//!
//! ```sh
//! cargo run --package pod-identity-testkit --example eks -- [port] [off|warn|enforce]
//! ```
//!
//! When it is ready it prints one line of JSON, with the endpoint and a pod's projected token for
//! `shop/cart`, and runs until it is killed. `aws eks … --endpoint-url` and boto3 talk to it unchanged;
//! with `enforce` their key must be the one that it prints, or one that it has minted.

use std::env;
use std::error::Error;
use std::future;

use pod_identity_core::{Clock, Secret, SystemClock};
use pod_identity_testkit::{MockEksAuth, ProjectedVolume, SignatureCheck};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = env::args().nth(1).map_or(Ok(0), |port| port.parse())?;
    let check = match env::args().nth(2).as_deref() {
        None | Some("off") => SignatureCheck::Off,
        Some("warn") => SignatureCheck::Warn,
        Some("enforce") => SignatureCheck::Enforce,
        Some(other) => return Err(format!("{other} is none of off, warn and enforce").into()),
    };
    let eks = MockEksAuth::builder()
        .listener(TcpListener::bind(("127.0.0.1", port)).await?)
        .signatures(check)
        .node_key(KEY_ID, Secret::from(SECRET_KEY.to_owned()))
        .start()
        .await?;
    let volume = ProjectedVolume::new()?;
    volume.write(eks.issuer().token("shop", "cart").mint(SystemClock.now()))?;
    print_ready(&serde_json::json!({
        "endpoint": eks.endpoint(),
        "cluster": eks.cluster(),
        "region": eks.region(),
        "token_file": volume.token_path(),
        "access_key_id": KEY_ID,
        "secret_access_key": SECRET_KEY,
    }));
    future::pending().await
}

#[expect(clippy::print_stdout, reason = "the line is what this program is for")]
fn print_ready(ready: &serde_json::Value) {
    println!("{ready}");
}

/// The ones of AWS's documentation.
const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
