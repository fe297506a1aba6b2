//! The environment of the program on nodes: proxies, private roots, credentials from different sources.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::getuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::client::{self, Answer, Request};
use crate::support::process::{NODE_CREDENTIALS, Program, address_of, arguments};
use crate::support::shop::{shop, token};
use crate::support::{SECOND, soon};

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_neither_for_probes_nor_for_hosts_of_no_proxy() {
    let eks = shop().await;
    let proxy = Proxy::start().await;
    let environment = [
        ("HTTP_PROXY", proxy.url.as_str()),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let agent = Agent::start(&eks.endpoint(), &environment).await;
    agent.ready().await;
    assert_eq!(agent.get(&token(&eks)).await.status, 200);
    let probes = address_of(&agent.program, "probes").await;
    let alive = client::ask(probes, Request::of("/healthz")).await;
    assert_eq!(alive.status, 200);
    assert_eq!(proxy.asked(), None);
}

#[tokio::test]
async fn eks_auth_is_called_through_the_proxy_of_https_proxy() {
    let eks = shop().await;
    let front = TlsFront::start(eks.address()).await;
    let mut proxy = Proxy::start().await;
    let environment = [
        ("HTTPS_PROXY", proxy.url.as_str()),
        ("AWS_CA_BUNDLE", front.root.to_str().unwrap()),
    ];
    let agent = Agent::start(&front.endpoint(), &environment).await;
    assert_eq!(agent.get(&token(&eks)).await.status, 200);
    let first = soon(proxy.requests.recv()).await.unwrap();
    let port = front.address.port();
    assert!(
        first.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")),
        "{first}"
    );
}

#[tokio::test]
async fn instance_metadata_is_never_requested_through_a_proxy() {
    let eks = shop().await;
    let proxy = Proxy::start().await;
    let metadata = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", metadata.local_addr().unwrap());
    let environment = [
        ("HTTP_PROXY", proxy.url.as_str()),
        ("HTTPS_PROXY", proxy.url.as_str()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", address.as_str()),
        ("AWS_REGION", "us-west-2"),
    ];
    let endpoint = eks.endpoint();
    let _agent = Program::start(&arguments(eks.cluster(), &endpoint), &environment);
    let (mut stream, _agents) = soon(metadata.accept()).await.unwrap();
    let mut head = [0; 4];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"PUT ", "a token is asked for first");
    assert_eq!(proxy.asked(), None);
}

#[tokio::test]
async fn a_private_root_is_trusted_only_if_aws_ca_bundle_names_it() {
    let eks = shop().await;
    let front = TlsFront::start(eks.address()).await;
    let token = token(&eks);
    let bundle = ("AWS_CA_BUNDLE", front.root.to_str().unwrap());
    let trusting = Agent::start(&front.endpoint(), &[bundle]).await;
    assert_eq!(trusting.get(&token).await.key(), eks.minted()[0]);

    let strict = Agent::start(&front.endpoint(), &[]).await;
    let refused = async {
        loop {
            let answer = client::ask(strict.address, Request::with_token(&token)).await;
            answer.assert_try_again();
            // The first exchange reads the roots of the system, for which a busy machine needs its whole time.
            if !answer.body.contains("has not answered in time") {
                break answer;
            }
        }
    };
    let answer = soon(refused).await;
    assert!(answer.body.contains("certificate"), "{}", answer.body);
    assert_eq!(eks.request_count(), 1);
}

#[tokio::test]
async fn the_roots_of_the_system_are_those_in_the_file_of_ssl_cert_file() {
    let eks = shop().await;
    let front = TlsFront::start(eks.address()).await;
    let roots = ("SSL_CERT_FILE", front.root.to_str().unwrap());
    let agent = Agent::start(&front.endpoint(), &[roots]).await;
    assert_eq!(agent.get(&token(&eks)).await.key(), eks.minted()[0]);
}

/// What cannot be read at the start, because all open files are in use, is read later.
#[tokio::test]
async fn the_roots_of_the_system_are_read_when_there_are_open_files_again() {
    let eks = shop().await;
    let front = TlsFront::start(eks.address()).await;
    let files = tempfile::tempdir().unwrap();
    let [first, root] = ["first.pem", "root.pem"].map(|name| files.path().join(name));
    std::fs::copy(&front.root, &root).unwrap();
    // The agent waits at it until there is a writer.
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, &first, mode).unwrap();
    let environment = [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "us-west-2"),
        ("SSL_CERT_FILE", first.to_str().unwrap()),
        ("SSL_CERT_DIR", files.path().to_str().unwrap()),
    ];
    let environment = [&NODE_CREDENTIALS[..], &environment].concat();
    let endpoint = front.endpoint();
    let program = Program::start(&arguments(eks.cluster(), &endpoint), &environment);
    let address = address_of(&program, "credentials").await;
    let opened = pipe::OpenOptions::new();
    let writer = soon(async {
        loop {
            match opened.open_sender(&first) {
                Ok(writer) => break writer,
                Err(error) => {
                    // There is no reader yet.
                    assert_eq!(Errno::from_io_error(&error), Some(Errno::NXIO));
                    sleep(SECOND / 100).await;
                }
            }
        }
    });
    let writer = writer.await;
    program.limit_open_files(0);
    std::fs::remove_file(&first).unwrap();
    drop(writer);
    let said = program.stdout.says("not ready").await;
    let reason = said["reason"].as_str().unwrap();
    let expected = "the root certificates of this system cannot be read";
    assert!(reason.starts_with(expected), "{said}");
    for part in ["(os error 24)", "; raise the limit of open files"] {
        assert!(reason.contains(part), "{said}");
    }

    program.limit_open_files(1024);
    client::insist(address, &token(&eks)).await.key();
}

/// tokio would panic, or wait for ever.
#[tokio::test]
async fn without_enough_threads_it_ends_with_the_limit_to_raise() {
    let arguments = arguments("test-cluster", "http://127.0.0.1:9");
    for limit in 1..=4 {
        let ended = Program::with_threads(limit, &arguments).end().await;
        ended.assert_one_line(1, &["cannot be started", "raise the limit of processes"]);
        // A user who is not root has other processes, which count too.
        if getuid().is_root() && limit > 1 {
            let is_check = ended
                .stderr
                .contains("the agent's threads cannot be started");
            assert!(is_check, "{ended:?}");
        }
    }
}

/// tokio would panic.
#[tokio::test]
async fn without_enough_open_files_it_ends_with_the_limit_to_raise() {
    let arguments = arguments("test-cluster", "http://127.0.0.1:9");
    for limit in [6, 12, 20, 30] {
        let ended = Program::with_open_files(limit, &arguments, &[]).end().await;
        ended.assert_one_line(1, &["cannot be started", "raise the limit of open files"]);
    }
}

#[tokio::test]
async fn a_missing_ca_bundle_is_named_in_the_response_and_in_the_log() {
    let eks = shop().await;
    let agent = Agent::start(&eks.endpoint(), &[("AWS_CA_BUNDLE", "/nonexistent/ca.pem")]).await;
    let expected = "AWS_CA_BUNDLE names /nonexistent/ca.pem, which cannot be used: ";
    let answer = client::ask(agent.address, Request::with_token(&token(&eks))).await;
    answer.assert_try_again();
    assert!(answer.body.contains(expected), "{}", answer.body);
    let said = agent.program.stdout.says("not ready").await;
    assert!(
        said["reason"].as_str().unwrap().starts_with(expected),
        "{said}"
    );
}

#[tokio::test]
async fn fips_with_a_custom_endpoint_is_refused_with_a_reason() {
    let eks = shop().await;
    let agent = Agent::start(&eks.endpoint(), &[("AWS_USE_FIPS_ENDPOINT", "true")]).await;
    let expected = "FIPS and custom endpoint are not supported";
    let answer = client::ask(agent.address, Request::with_token(&token(&eks))).await;
    answer.assert_try_again();
    assert!(answer.body.contains(expected), "{}", answer.body);
    let said = agent.program.stdout.says("not ready").await;
    assert!(
        said["reason"].as_str().unwrap().contains(expected),
        "{said}"
    );
    assert_eq!(eks.request_count(), 0);
}

#[tokio::test]
async fn without_a_region_the_error_names_the_remedy() {
    let eks = shop().await;
    let nowhere = [("AWS_EC2_METADATA_DISABLED", "true")];
    let environment = [&NODE_CREDENTIALS[..], &nowhere].concat();
    let endpoint = eks.endpoint();
    let program = Program::start(&arguments(eks.cluster(), &endpoint), &environment);
    let address = address_of(&program, "credentials").await;
    let answer = client::ask(address, Request::with_token(&token(&eks))).await;
    answer.assert_try_again();
    let expected = "no region is known: set AWS_REGION, or allow instance metadata";
    assert!(answer.body.contains(expected), "{}", answer.body);
    let said = program.stdout.says("not ready").await;
    assert_eq!(said["reason"], expected);
}

#[tokio::test]
async fn a_profile_that_would_make_the_agent_call_itself_is_refused() {
    let eks = shop().await;
    let itself = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/v1/credentials", itself.local_addr().unwrap());
    let files = tempfile::tempdir().unwrap();
    let config = files.path().join("config");
    let profile = "[default]\nrole_arn = arn:aws:iam::111122223333:role/node\n\
                   credential_source = EcsContainer\n";
    std::fs::write(&config, profile).unwrap();
    let environment = [
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "us-west-2"),
    ];
    let endpoint = eks.endpoint();
    let program = Program::start(&arguments(eks.cluster(), &endpoint), &environment);
    let said = program.stdout.says("not ready").await;
    let expected = "credential_source = EcsContainer would make the agent ask itself; \
                 use Ec2InstanceMetadata";
    let reason = said["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the agent has no credentials of its own: "),
        "{said}"
    );
    let said = program
        .stdout
        .says("the agent's own credentials cannot be loaded")
        .await;
    assert!(said["cause"].as_str().unwrap().contains(expected), "{said}");
    let asked = tokio::select! {
        biased;
        _asked = itself.accept() => true,
        () = std::future::ready(()) => false,
    };
    assert!(!asked);
}

#[tokio::test]
async fn credentials_of_a_shared_file_are_used() {
    let eks = shop().await;
    let files = tempfile::tempdir().unwrap();
    let shared = files.path().join("credentials");
    let [(_, key), (_, secret)] = NODE_CREDENTIALS;
    let profile =
        format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(&shared, profile).unwrap();
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "us-west-2"),
    ];
    let endpoint = eks.endpoint();
    for rotate in ["--rotate-credentials=false", "--rotate-credentials"] {
        let arguments = [&arguments(eks.cluster(), &endpoint)[..], &[rotate]].concat();
        let program = Program::start(&arguments, &environment);
        let address = address_of(&program, "credentials").await;
        client::insist(address, &token(&eks)).await.key();
    }
}

struct Agent {
    program: Program,
    address: SocketAddr,
}

impl Agent {
    async fn start(endpoint: &str, environment: &[(&str, &str)]) -> Self {
        let here = [
            ("AWS_REGION", "us-west-2"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let environment = [&NODE_CREDENTIALS[..], &here, environment].concat();
        let program = Program::start(&arguments("test-cluster", endpoint), &environment);
        Self {
            address: address_of(&program, "credentials").await,
            program,
        }
    }

    async fn ready(&self) {
        self.program.stdout.says("EKS Auth is within reach").await;
    }

    async fn get(&self, token: &str) -> Answer {
        client::insist(self.address, token).await
    }
}

/// A proxy that records requests and grants every CONNECT.
struct Proxy {
    url: String,
    requests: mpsc::UnboundedReceiver<String>,
    _serving: JoinSet<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, requests) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _client)) = listener.accept().await {
                let asked = asked.clone();
                connections.spawn(async move {
                    // A failure shows in the response of the client.
                    let _ended = tunnel(stream, &asked).await;
                });
            }
        });
        Self {
            url,
            requests,
            _serving: serving,
        }
    }

    /// A connection without a request counts too.
    fn asked(&self) -> Option<()> {
        (!self.requests.is_empty()).then_some(())
    }
}

async fn tunnel(
    mut client: TcpStream,
    asked: &mpsc::UnboundedSender<String>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let _kept = asked.send(head);
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// TLS for `localhost` in front of a server, with a certificate of a private root.
struct TlsFront {
    address: SocketAddr,
    root: PathBuf,
    _directory: tempfile::TempDir,
    _serving: JoinSet<()>,
}

impl TlsFront {
    async fn start(behind: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("ca.pem");
        let acceptor = TlsAcceptor::from(Arc::new(certified(&root)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _client)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    // A client that does not trust the certificate disconnects.
                    if let Ok(mut client) = acceptor.accept(stream).await
                        && let Ok(mut server) = TcpStream::connect(behind).await
                    {
                        let _ended = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self {
            address,
            root,
            _directory: directory,
            _serving: serving,
        }
    }

    fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

/// Writes the root to a file.
pub(crate) fn certified(root: &Path) -> ServerConfig {
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let certificate = authority.self_signed(&authority_key).unwrap();
    std::fs::write(root, certificate.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}
