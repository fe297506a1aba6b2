//! Keys of the cluster: kept on disk, and used at the next start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::MockEksAuth;
use rustix::process::Signal;

use crate::support::client::{self, Request};
use crate::support::process::Server;
use crate::support::shop::{shop, token};
use crate::support::soon;

#[tokio::test]
async fn the_keys_of_the_last_start_are_used_in_an_outage_of_their_issuer() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys").join("jwks-cache.json");
    let server = verifying(&eks, &file).await;
    server
        .program
        .stdout
        .says("tokens are verified with the keys of the cluster")
        .await;
    soon(async {
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    end(server).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    eks.set_issuer_outage(true);
    let server = verifying(&eks, &file).await;
    server
        .program
        .stdout
        .says("tokens are verified with the keys of the last start")
        .await;
    let count = eks.requests().len();
    let forged = eks.issuer().token("shop", "cart").forged();
    let forged = forged.mint(SystemClock.now());
    let answer = client::ask(server.credentials, Request::with_token(&forged)).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        eks.requests()[count..]
            .iter()
            .all(|seen| seen.token.is_none()),
        "no exchange"
    );
    client::insist(server.credentials, &token(&eks)).await.key();
    end(server).await;
}

#[tokio::test]
async fn stored_keys_that_cannot_be_read_are_logged_once_and_ignored() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks-cache.json");
    fs::write(&file, "{\"keys\": garbage").unwrap();
    let server = verifying(&eks, &file).await;
    let line = server
        .program
        .stdout
        .says("the stored keys of the cluster are not used")
        .await;
    assert_eq!(line["path"], file.to_str().unwrap());
    server
        .program
        .stdout
        .says("tokens are verified with the keys of the cluster")
        .await;
    client::insist(server.credentials, &token(&eks)).await.key();
    end(server).await;
    assert!(fs::read_to_string(&file).unwrap().contains("\"cluster\":"));
}

#[tokio::test]
async fn verification_can_be_turned_off() {
    let eks = shop().await;
    let endpoint = eks.endpoint();
    let flags = [
        "--oidc-issuer",
        &endpoint,
        "--key-cache=off",
        "--verify-tokens=false",
    ];
    let server = Server::start(&eks, &flags).await;
    let forged = eks.issuer().token("shop", "cart").forged();
    let forged = forged.mint(SystemClock.now());
    let answer = client::ask(server.credentials, Request::with_token(&forged)).await;
    assert!(
        answer.body.contains("fault: client"),
        "EKS Auth refuses it: {}",
        answer.body
    );
    end(server).await;
}

async fn verifying(eks: &MockEksAuth, file: &Path) -> Server {
    let endpoint = eks.endpoint();
    let flags = [
        "--oidc-issuer",
        &endpoint,
        "--key-cache",
        file.to_str().unwrap(),
    ];
    Server::start(eks, &flags).await
}

async fn end(server: Server) {
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.end().await.code, Some(0));
}
