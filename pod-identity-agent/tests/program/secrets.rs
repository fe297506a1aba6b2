//! The whole chain as processes at the finest log level. Everything that comes out of it is searched for secrets.

use std::error::Error;
use std::fmt::Debug;
use std::panic::catch_unwind;

use aws_credential_types::provider::ProvideCredentials;
use futures_util::future::join_all;
use pod_identity_agent::{Agent, AuditLog, SdkEksAuth, logging};
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, Secret, SystemClock, variables};
use pod_identity_provider::{Event, PodIdentityProvider};
use pod_identity_testkit::{
    Fault, MockApiServer, MockEksAuth, PodToken, Stage, TokenBuilder, assert_no_secrets,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tracing_subscriber::filter::LevelFilter;

use super::doctor::{Canned, doctor};
use crate::support::client::{self, Answer, Client, Request};
use crate::support::memory::Memory;
use crate::support::process::{Ended, NODE_SECRET, Program, Server, address_of, arguments};
use crate::support::shop::shop;
use crate::support::{HOUR, SECOND, pod, soon};

#[tokio::test]
async fn no_secret_comes_out_of_the_whole_chain_in_any_form() {
    let mut chain = Chain::start().await;
    let (token, body) = chain.credentials().await;
    chain.refused_requests().await;
    chain.troubles_of_eks_auth().await;
    chain.pages().await;
    chain.applications().await;
    chain.a_node_without_credentials().await;
    chain.a_replaced_answer_is_overwritten(&token, &body).await;
    chain.end().await;
}

/// A cluster with one node, whose agent writes all that it can write.
struct Chain {
    eks: MockEksAuth,
    api_server: MockApiServer,
    server: Server,
    /// That of the agent.
    environment: Vec<(&'static str, String)>,
    files: TempDir,
    out: Out,
    /// Those that the mocks do not know.
    secrets: Vec<String>,
    /// How many there have been. Each has an address of its own, so that no line of the log is suppressed.
    pods: usize,
}

impl Chain {
    async fn start() -> Self {
        let eks = shop().await;
        let api_server = MockApiServer::builder().issuer(eks.issuer().clone());
        let api_server = api_server.start().await.unwrap();
        api_server.add_node(
            "node-1",
            &["eks.amazonaws.com/pod-identity-not-ready:NoExecute"],
        );
        let files = tempfile::tempdir().unwrap();
        let file = |flag: &str, name| format!("--{flag}={}", files.path().join(name).display());
        let account = api_server.service_account_dir().display();
        let named = [
            file("audit-log", AUDIT),
            file("key-cache", KEYS),
            file("probe-socket", SOCKET),
            format!("--kubernetes-service-account={account}"),
        ];
        let flags = named.iter().map(String::as_str).chain([
            "--verbosity=trace",
            "--audit-hits",
            "--debug-endpoints",
            "--startup-taint",
            "--pod-liveness-check",
            "--node-name=node-1",
            "--answer-within=1s",
        ]);
        let flags: Vec<&str> = flags.collect();
        let [host, port] = api_server.env();
        let (session, proxy) = (node_session(), format!("http://me:{PASSWORD}@127.0.0.1:9"));
        let environment = vec![
            ("AWS_REGION", "us-west-2".to_owned()),
            ("AWS_ACCESS_KEY_ID", "ASIANODE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", NODE_SECRET.to_owned()),
            ("AWS_SESSION_TOKEN", session.clone()),
            ("HTTPS_PROXY", proxy),
            host,
            port,
        ];
        let server = Server::with(&eks, &flags, &borrowed(&environment)).await;
        for line in [
            "tokens are verified with the keys of the cluster",
            "the pods of this node are watched",
            "the startup taint is removed",
        ] {
            server.program.stdout.says(line).await;
        }
        let secrets = [
            NODE_SECRET,
            &session,
            PASSWORD,
            CAPABILITY,
            KEY_ONLY,
            TOKEN_ONLY,
        ];
        Self {
            secrets: secrets.map(str::to_owned).to_vec(),
            out: Out::default(),
            pods: 0,
            eks,
            api_server,
            server,
            environment,
            files,
        }
    }

    /// Credentials, which a second address gets too. Returns a token and the answer to it, which expires soon.
    async fn credentials(&mut self) -> (String, String) {
        let token = self.token_of_a_new_pod();
        // Usable for seven seconds.
        self.eks
            .inject(Fault::expires_in(22 * SECOND).token(&token));
        let answer = client::insist(self.server.credentials, &token).await;
        answer.key();
        self.ask(Request::with_token(&token)).await.key();
        assert!(
            leak(&answer.body, &self.secrets()).is_some(),
            "the search finds them where they are"
        );
        (token, answer.body)
    }

    /// Tokens that are refused, and good ones where they do not belong.
    async fn refused_requests(&mut self) {
        let (now, cart) = (SystemClock.now(), self.cart());
        let good = self.known(cart.mint(now));
        for (name, status, token) in [
            ("a forged token", 400, cart.clone().forged().mint(now)),
            (
                "a token without a signature",
                400,
                cart.clone().unsigned().mint(now),
            ),
            ("an expired token", 400, cart.mint(now - 48 * HOUR)),
            (
                "a token for others",
                400,
                cart.clone().audience("sts.amazonaws.com").mint(now),
            ),
            ("a token with a scheme", 400, format!("Bearer {good}")),
            ("two tokens", 400, format!("{good}, {good}")),
            ("a token of a stranger", 404, self.stranger().mint(now)),
        ] {
            let token = self.known(token);
            // A busy machine may not have answered in time.
            let answer = soon(async {
                loop {
                    let answer = self.ask(Request::with_token(&token)).await;
                    if answer.status != 503 {
                        break answer;
                    }
                }
            });
            let answer = answer.await;
            self.answered(name, status, &answer);
        }
        let [below, behind] = ["/", "?token="].map(|sign| format!("/v1/credentials{sign}{good}"));
        let usual = Request::with_token(&good);
        for (name, status, request) in [
            (
                "a token in the path",
                404,
                Request {
                    path: &below,
                    ..usual
                },
            ),
            (
                "a token in the query",
                400,
                Request {
                    path: &behind,
                    token: None,
                    ..usual
                },
            ),
            (
                "a token as the host",
                403,
                Request {
                    host: &good,
                    ..usual
                },
            ),
            (
                "another method",
                405,
                Request {
                    method: "POST",
                    ..usual
                },
            ),
        ] {
            let answer = self.ask(request).await;
            self.answered(name, status, &answer);
        }
        for (name, status, text) in [
            (
                "a token as the method",
                404,
                format!("{good} / HTTP/1.1\r\n\r\n"),
            ),
            (
                "a token as a header",
                400,
                format!("GET / HTTP/1.1\r\n{good}\r\n\r\n"),
            ),
            (
                "too many tokens",
                431,
                format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", good.repeat(30)),
            ),
        ] {
            let mut client = self.connect().await;
            client.send_bytes(text.as_bytes()).await;
            let answer = client.answer().await;
            self.answered(name, status, &answer);
        }
    }

    /// Answers that repeat what EKS Auth was asked with, and such with a part of the secrets.
    async fn troubles_of_eks_auth(&mut self) {
        let part = format!(
            r#"{{"credentials":{{"secretAccessKey":"{KEY_ONLY}","sessionToken":"{TOKEN_ONLY}"}}}}"#
        );
        let broken = part.replace('{', "[");
        let token = repeating(400, JSON, |_request, token| error_body(token));
        let request = repeating(403, JSON, |request, _token| error_body(request));
        let page = repeating(403, "text/html", |request, _token| format!("<p>{request}"));
        for (name, status, expected, fault) in [
            (
                "a refusal",
                400,
                "AccessDeniedException",
                ErrorCode::AccessDenied.into(),
            ),
            ("a refusal with the token", 400, "): <token>, ", token),
            (
                "a refusal with the request",
                403,
                "Canonical String",
                request,
            ),
            (
                "no expiration",
                500,
                "credentials.expiration",
                Fault::without("credentials.expiration"),
            ),
            (
                "no access key id",
                500,
                "credentials.accessKeyId",
                Fault::without("credentials.accessKeyId"),
            ),
            ("a part of a success", 500, "is missing", Fault::body(part)),
            ("broken JSON", 500, "JSON object", Fault::body(broken)),
            (
                "an error of the server",
                503,
                "InternalServerException",
                ErrorCode::InternalServer.into(),
            ),
            (
                "a reset",
                503,
                "could not be asked",
                Fault::reset(Stage::BeforeHeaders),
            ),
            (
                "a page with the request",
                503,
                "HTTP 403 without an AWS error code",
                page,
            ),
            (
                "throttling",
                503,
                "ThrottlingException",
                ErrorCode::Throttling.into(),
            ),
        ] {
            let token = self.token_of_a_new_pod();
            self.eks.inject(fault.token(&token).always());
            // A busy machine may not have answered in time.
            let is_it = |answer: &Answer| answer.status != 503 || answer.body.contains(expected);
            let answer = soon(async {
                loop {
                    let answer = self.ask(Request::with_token(&token)).await;
                    if is_it(&answer) {
                        break answer;
                    }
                }
            });
            let answer = answer.await;
            assert!(answer.body.contains(expected), "{name}: {}", answer.body);
            self.answered(name, status, &answer);
        }
    }

    /// Applications in processes of their own, and `doctor` in their place, where the environment is fine or wrong.
    async fn applications(&mut self) {
        let uri = format!("http://{}/v1/credentials", self.server.credentials);
        let query = format!("{uri}?capability={CAPABILITY}");
        let password = uri.replace("//", &format!("//me:{PASSWORD}@"));
        let (now, cart) = (SystemClock.now(), self.cart());
        let token = PodToken::project(cart.clone(), now).unwrap();
        self.out
            .add("Debug of a pod's token", format!("{token:?}"), "PodToken");
        let file = token.volume().token_path().to_str().unwrap();
        let good = self.known(token.current().expose().to_owned());
        let [forged, stranger] =
            [cart.forged(), self.stranger()].map(|it| self.known(it.mint(now)));
        let [bearer, lines] = [format!("Bearer {good}"), format!("{good}\n{good}")];

        let part = format!(r#"{{"SecretAccessKey":"{KEY_ONLY}","Token":"{TOKEN_ONLY}"}}"#);
        let refusal = format!(r#"{{"code":"{good}","message":"No: {good}"}}"#);
        let (json, text) = (
            "content-type: application/json\r\n",
            "content-type: text/plain\r\n",
        );
        let servers = [
            Canned::start(200, json, &part).await,
            Canned::start(200, json, &part.replace('}', "")).await,
            Canned::start(400, json, &refusal).await,
            Canned::start(400, text, &refusal).await,
        ];
        let uris = servers
            .each_ref()
            .map(|server| format!("http://{}/", server.address));
        let [part, torn, json, text] = uris.each_ref().map(String::as_str);
        let (full, token, path) = (variables::FULL_URI, variables::TOKEN, variables::TOKEN_FILE);
        let uri = uri.as_str();
        let cases = [
            ("a pod", [(full, &*query), (path, file)], "obtained", ""),
            (
                "a stranger",
                [(full, uri), (token, &stranger)],
                "404",
                "no-association",
            ),
            (
                "a forger",
                [(full, uri), (token, &forged)],
                "HTTP 400",
                "token-signature",
            ),
            (
                "a scheme",
                [(full, uri), (token, &bearer)],
                "HTTP 400",
                "token-bearer",
            ),
            (
                "two lines",
                [(full, uri), (token, &lines)],
                "header may carry",
                "token-file",
            ),
            (
                "no path",
                [(full, uri), (path, &good)],
                "token file",
                "token-file",
            ),
            (
                "swapped variables",
                [(full, &good), (path, uri)],
                "names no host",
                "invalid-uri",
            ),
            (
                "a password",
                [(full, &password), (path, file)],
                "user information",
                "invalid-uri",
            ),
            (
                "no slash",
                [(variables::RELATIVE_URI, CAPABILITY), (path, file)],
                "slash",
                "invalid-uri",
            ),
            (
                "a part",
                [(full, part), (path, file)],
                "cannot be used",
                "unusable-answer",
            ),
            (
                "a torn answer",
                [(full, torn), (path, file)],
                "cannot be used",
                "unusable-answer",
            ),
            (
                "a repeated token",
                [(full, json), (path, file)],
                "<token>",
                "another-server",
            ),
            (
                "a token in text",
                [(full, text), (path, file)],
                "<token>",
                "unexpected-answer",
            ),
        ];
        let sts = self.eks.endpoint();
        let caller = [("AWS_ENDPOINT_URL_STS", &*sts), ("AWS_REGION", "us-west-2")];
        // Together, because some of them try several times.
        let applications = cases
            .iter()
            .map(|(_, variables, ..)| application(variables));
        let applications = join_all(applications).await;
        for ((name, variables, outcome, fault), application) in cases.iter().zip(applications) {
            let running = format!("the application with {name}");
            self.ended(&running, application, outcome);
            let variables = [&variables[..], &caller].concat();
            let report = doctor(&["--get-caller-identity"], &variables).await;
            self.ended(&format!("doctor with {name}"), report, "environment");
            let fault = match *fault {
                "" => r#""healthy":true"#.to_owned(),
                code => format!(r#""fault":"{code}""#),
            };
            let report = doctor(&["--json"], &variables).await;
            self.ended(&format!("doctor with {name}, in JSON"), report, &fault);
        }
    }

    /// What the agent tells of itself, and what the testkit does.
    async fn pages(&mut self) {
        let socket = self.files.path().join(SOCKET).display().to_string();
        for (question, part) in [
            ("state", "HTTP 403 without an AWS error code"),
            ("log-level", "trace"),
            ("healthz", "ok"),
            ("readyz", "degraded: EKS Auth could not be asked"),
        ] {
            let text = until(part, || async {
                let ended = Program::run(&["probe", question, "--socket", &socket], &[]).await;
                ended.stdout + &ended.stderr
            });
            self.out.add(&format!("probe {question}"), text.await, part);
        }
        let ports = [
            self.server.credentials,
            self.server.probes,
            self.server.metrics,
        ];
        let [port, probes, metrics] = ports.map(|at| at.port().to_string());
        let endpoint = self.eks.endpoint();
        let place = [
            ("--cluster-name", self.eks.cluster()),
            ("--endpoint", &endpoint),
            ("--bind-hosts", "127.0.0.1"),
            ("--port", &port),
            ("--probe-port", &probes),
            ("--metrics-port", &metrics),
            ("--metrics-address", "127.0.0.1"),
        ];
        let place = place.iter().flat_map(|(flag, value)| [*flag, value]);
        let doctor: Vec<&str> = ["doctor", "node", "--"].into_iter().chain(place).collect();
        let ended = Program::run(&doctor, &borrowed(&self.environment)).await;
        self.ended("doctor on the node", ended, "✓ permission");
        self.eks.clear_faults();
        let token = self.known(self.cart().mint(SystemClock.now()));
        for (address, path, part) in [
            (
                self.server.metrics,
                "/metrics",
                "pod_identity_http_response",
            ),
            (self.server.metrics, "/nothing", "not found"),
            (self.server.probes, "/readyz", "\"ok"),
            (self.server.probes, "/healthz", "ok"),
            (self.server.probes, "/debug/state", "not found"),
        ] {
            let with_token = format!("{path}?token={token}");
            let request = Request {
                path: &with_token,
                ..Request::with_token(&token)
            };
            let text = until(part, || async {
                format!("{:?}", client::ask(address, request).await)
            });
            self.out.add(&format!("the page {path}"), text.await, part);
        }
        let with_password = endpoint.replace("//", &format!("//me:{PASSWORD}@"));
        let agent = Agent::builder(SdkEksAuth::new("shop").with_endpoint(with_password));
        let agent = agent.audit(AuditLog::stdout()).audit_hits(true);
        let requests = self.eks.requests();
        let values: [(&str, &dyn Debug, &str); 5] = [
            ("an agent", &agent, "AgentBuilder"),
            ("EKS Auth", &self.eks, "MockEksAuth"),
            ("its requests", &requests, "AssumeRoleForPodIdentity"),
            ("the API server", &self.api_server, "MockApiServer"),
            ("its requests", &self.api_server.requests(), "PatchNode"),
        ];
        for (name, value, part) in values {
            self.out
                .add(&format!("Debug of {name}"), format!("{value:?}"), part);
        }
    }

    /// An agent whose own key stands in a line of its file that cannot be read.
    async fn a_node_without_credentials(&mut self) {
        let [shared, socket] =
            ["credentials", "other.sock"].map(|name| self.files.path().join(name));
        let profile = "[default]\naws_access_key_id = AKIANODE\naws_secret_access_key";
        std::fs::write(&shared, format!("{profile} {NODE_SECRET}\n")).unwrap();
        let endpoint = self
            .eks
            .endpoint()
            .replace("//", &format!("//me:{PASSWORD}@"));
        let socket = socket.to_str().unwrap();
        let flags = [
            "--verbosity=trace",
            "--debug-endpoints",
            "--probe-socket",
            socket,
        ];
        let cluster = self.eks.cluster().to_owned();
        let arguments = [&arguments(&cluster, &endpoint)[..], &flags].concat();
        let environment = [
            ("AWS_SHARED_CREDENTIALS_FILE", shared.to_str().unwrap()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_REGION", "us-west-2"),
        ];
        let program = Program::start(&arguments, &environment);
        let address = address_of(&program, "credentials").await;
        program.stdout.says("not ready").await;
        let token = self.token_of_a_new_pod();
        let answer = client::ask(address, Request::with_token(&token)).await;
        self.answered("no credentials of the node", 503, &answer);
        for (question, part) in [("state", "***@127.0.0.1"), ("readyz", "shared")] {
            let ended = Program::run(&["probe", question, "--socket", socket], &[]).await;
            self.ended(
                &format!("probe {question} without credentials"),
                ended,
                part,
            );
        }
        let of_server = [&["doctor", "node", "--"], &arguments[1..]].concat();
        let ended = Program::run(&of_server, &environment).await;
        self.ended("doctor node", ended, "own credentials");
        program.signal(Signal::TERM);
        self.ended(
            "the agent without credentials",
            program.end().await,
            r#""level":"debug""#,
        );
    }

    /// The memory of the agent, as a core dump has it, holds the answer that replaced another, and not the other.
    async fn a_replaced_answer_is_overwritten(&self, token: &str, replaced: &str) {
        let agent = self.server.program.id();
        let in_memory = |body: &str| Memory::of(agent).allocations(body.as_bytes());
        soon(async {
            let renewed = loop {
                let answer = client::insist(self.server.credentials, token).await;
                if answer.body != replaced {
                    break answer.body;
                }
            };
            while in_memory(replaced) > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(in_memory(&renewed), 1, "it must be found while it is held");
        })
        .await;
    }

    async fn end(mut self) {
        let secrets = self.secrets();
        self.server.program.signal(Signal::TERM);
        let ended = self.server.program.end().await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        for level in ["debug", "info", "warning"] {
            let level = format!(r#""level":"{level}""#);
            assert!(ended.stdout.contains(&level), "no {level}");
        }
        for line in ended.stdout.lines() {
            let line: Value = serde_json::from_str(line).expect(line);
            let time = line["time"].as_str().unwrap();
            assert!(line["msg"].is_string() && time.ends_with('Z'), "{line}");
        }
        self.out
            .add("the log of the agent", ended.stdout, "stopping");
        let read = |name: &str| std::fs::read_to_string(self.files.path().join(name)).unwrap();
        let audit = read(AUDIT);
        assert!(audit.contains(r#""outcome":"hit""#), "{audit}");
        self.out.add("the audit", audit, r#""outcome":"issued""#);
        self.out.add("the keys", read(KEYS), r#""kid""#);
        self.out.search(&secrets);
    }

    fn cart(&self) -> TokenBuilder {
        self.eks.issuer().token("shop", "cart")
    }

    fn stranger(&self) -> TokenBuilder {
        self.eks.issuer().token("shop", "stranger")
    }

    fn token_of_a_new_pod(&mut self) -> String {
        let token = self.cart().pod(format!("new-{}", self.secrets.len()));
        self.known(token.mint(SystemClock.now()))
    }

    fn known(&mut self, token: String) -> String {
        self.secrets.push(token.clone());
        token
    }

    /// All that must not come out.
    fn secrets(&self) -> Vec<String> {
        let mocks = [self.eks.secrets(), self.api_server.secrets()].concat();
        let mocks = mocks.iter().map(Secret::expose).map(str::to_owned);
        mocks.chain(self.secrets.iter().cloned()).collect()
    }

    async fn ask(&mut self, request: Request<'_>) -> Answer {
        self.connect().await.ask(request).await
    }

    async fn connect(&mut self) -> Client {
        self.pods += 1;
        soon(Client::connect_from(
            pod(self.pods),
            self.server.credentials,
        ))
        .await
    }

    fn answered(&mut self, name: &str, status: u16, answer: &Answer) {
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        self.out.add(
            &format!("the answer to {name}"),
            format!("{answer:?}"),
            "\"date\"",
        );
    }

    fn ended(&mut self, name: &str, ended: Ended, part: &str) {
        self.out.add(name, ended.stdout + &ended.stderr, part);
    }
}

/// What has come out, each with its name.
#[derive(Default)]
struct Out(Vec<(String, String)>);

impl Out {
    /// It must be what it is meant to be, as this part of it shows.
    #[track_caller]
    fn add(&mut self, name: &str, text: String, part: &str) {
        assert!(text.contains(part), "no {part} in {name}: {text}");
        self.0.push((name.to_owned(), text));
    }

    #[track_caller]
    fn search(&self, secrets: &[String]) {
        let leaks = self.0.iter().filter_map(|(name, text)| {
            let leak = leak(text, secrets)?;
            Some(format!("{name}: {leak}"))
        });
        let leaks: Vec<_> = leaks.collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
    }
}

/// How one of the secrets is in the text, if it is. Its beginning or its end counts too: texts are cut off somewhere.
fn leak(text: &str, secrets: &[String]) -> Option<String> {
    let parts = secrets.iter().flat_map(|secret| {
        // The claims of a token are no secret.
        let piece = secret.rsplit('.').next().unwrap_or_default();
        let ends = [
            piece.get(..ENOUGH),
            piece
                .len()
                .checked_sub(ENOUGH)
                .and_then(|at| piece.get(at..)),
        ];
        ends.into_iter().flatten().chain([secret.as_str()])
    });
    let parts: Vec<&str> = parts.collect();
    let found = catch_unwind(|| assert_no_secrets(text, &parts)).err()?;
    found.downcast_ref::<String>().cloned()
}

/// The application with the provider. All that it does not print are the credentials.
#[tokio::test]
#[ignore = "it runs in the processes that the test before it makes"]
async fn the_application() {
    let log = logging::subscriber(LevelFilter::TRACE, std::io::stderr());
    tracing::subscriber::set_global_default(log).unwrap();
    let builder = PodIdentityProvider::builder();
    let builder = builder.observer(|event: &Event| println!("observed {event:?}"));
    println!("{builder:?}");
    let provider = builder.build().unwrap_or_else(|error| {
        print_error(&error);
        PodIdentityProvider::from(error)
    });
    match provider.provide_credentials().await {
        Ok(credentials) => println!("obtained {credentials:?}"),
        Err(error) => print_error(&error),
    }
    println!(
        "{provider:?} {:?} {:?}",
        provider.state(),
        provider.snapshot()
    );
}

fn print_error(error: &dyn Error) {
    println!("{error}: {error:?}");
    if let Some(cause) = error.source() {
        print_error(cause);
    }
}

/// Asks again until this is in the answer: whether EKS Auth can be asked changes while some exchanges fail.
async fn until<F>(part: &str, ask: impl Fn() -> F + Send + Sync) -> String
where
    F: Future<Output = String> + Send,
{
    soon(async {
        loop {
            let text = ask().await;
            if text.contains(part) {
                break text;
            }
        }
    })
    .await
}

fn borrowed<'a>(environment: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    let borrowed = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    borrowed.collect()
}

/// Runs the application in an environment.
async fn application(environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "secrets::the_application",
            "--ignored",
            "--nocapture",
        ])
        .env_clear()
        .envs(environment.iter().copied())
        .kill_on_drop(true);
    let output = soon(command.output()).await.unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    Ended {
        code: output.status.code(),
        stdout,
        stderr,
        litter: 0,
    }
}

/// Answers with a text made from what AWS quotes of a request whose signature does not match, and from its token.
fn repeating(status: u16, kind: &'static str, body: fn(&str, &str) -> String) -> Fault {
    Fault::respond(move |request| {
        let headers = [
            "host",
            "x-amz-date",
            "x-amz-security-token",
            "authorization",
        ]
        .map(|name| {
            let value = request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            format!("{name}:{}\n", value.unwrap_or_default())
        });
        let sent: Value = serde_json::from_slice(request.body()).unwrap();
        let quoted = format!(
            "The request signature we calculated does not match the signature you provided.\n\n\
             The Canonical String for this request should have been\n'POST\n{}\n\n{}\n{sent}'",
            request.uri().path(),
            headers.concat(),
        );
        let answer = http::Response::builder()
            .status(status)
            .header("content-type", kind);
        answer
            .body(body(&quoted, sent["token"].as_str().unwrap()))
            .unwrap()
    })
}

fn error_body(message: &str) -> String {
    serde_json::json!({ "__type": "InvalidSignatureException", "message": message }).to_string()
}

const JSON: &str = "application/json";

/// The session token of the node, as long as those of instances are.
fn node_session() -> String {
    format!("IQoJb3JpZ2luX2Vj{}", "kX9+vQ2/Zt7LmB4d".repeat(50))
}

const PASSWORD: &str = "correct-horse-battery-staple-of-a-proxy";
/// On ECS, the path of the URI.
const CAPABILITY: &str = "6b1c3f0a-whoever-knows-it-gets-credentials";
/// Answers that have one of them are refused.
const KEY_ONLY: &str = "cH7sJ2kQ9wLxV4bN8mT1rY6uE3oP5aD0fG+/zKey";
const TOKEN_ONLY: &str = "IQoJ8dKq3vRb7nXw2sLm6tYc1pGh9fJz4kUa5eTo+/session";

/// Characters of a secret.
const ENOUGH: usize = 24;

const AUDIT: &str = "audit.log";
const KEYS: &str = "jwks-cache.json";
const SOCKET: &str = "probes.sock";
