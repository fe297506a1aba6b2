//! Keys of the cluster: kept on disk, and used at the next start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::{Fault, Issuer, MockApiServer, MockEksAuth, Operation, SignatureCheck};
use rustix::process::Signal;

use crate::support::client::{self, Request};
use crate::support::process::{NODE_CREDENTIALS, NODE_SECRET, Server};
use crate::support::shop::{shop, token};
use crate::support::{ROLE, soon};

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

#[tokio::test]
async fn before_1_34_the_keys_are_those_of_the_issuer_that_eks_describes() {
    let issuer = soon(MockEksAuth::start()).await;
    let url = issuer.endpoint();
    let eks = MockEksAuth::builder()
        .issuer(Issuer::with_url("us-west-2", &url))
        .signatures(SignatureCheck::Enforce)
        .node_key(NODE_CREDENTIALS[0].1, NODE_SECRET.to_owned());
    let eks = eks.start().await.unwrap();
    eks.associate("shop", "cart", ROLE);
    eks.on(Operation::DescribeCluster)
        .inject(Fault::error("AccessDeniedException"));
    let api_server = MockApiServer::builder().issuer(eks.issuer().clone());
    let api_server = api_server.start().await.unwrap();
    api_server.set_version("v1.33.5-eks-0000000");

    let [host, port] = api_server.env();
    let endpoint = eks.endpoint();
    let environment = [
        (host.0, host.1.as_str()),
        (port.0, port.1.as_str()),
        ("AWS_ENDPOINT_URL_EKS", &endpoint),
    ];
    let environment = [&NODE_CREDENTIALS[..], &environment].concat();
    let directory = api_server.service_account_dir().to_str().unwrap();
    let flags = ["--key-cache=off", "--kubernetes-service-account", directory];
    let server = Server::with(&eks, &flags, &environment).await;
    let stdout = &server.program.stdout;
    let warned = stdout.says("tokens are not verified").await;
    let reason = warned["reason"].as_str().unwrap();
    for part in [
        "Kubernetes 1.33",
        "allow eks:DescribeCluster",
        "--oidc-issuer",
    ] {
        assert!(reason.contains(part), "no {part} in {reason}");
    }
    let verified = stdout
        .says("tokens are verified with the keys of the cluster")
        .await;
    assert_eq!(verified["source"], "issuer");
    let forged = eks.issuer().token("shop", "cart").forged();
    let forged = forged.mint(SystemClock.now());
    let answer = client::ask(server.credentials, Request::with_token(&forged)).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    client::insist(server.credentials, &token(&eks)).await.key();
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
