//! `doctor` in a pod: each finding is provoked and recognised.

use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Command, Stdio};

use pod_identity_core::{Clock, Secret, SystemClock, variables};
use pod_identity_testkit::{Issuer, MockAgent, MockEksAuth};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::metadata::Metadata;
use crate::support::namespace::Namespace;
use crate::support::process::{Ended, Program, Server};
use crate::support::shop::{shop, token};
use crate::support::{MINUTE, soon};

type Variables<'a> = [(&'a str, &'a str)];

#[tokio::test]
async fn in_a_healthy_pod_every_step_is_fine_and_no_secret_is_printed() {
    let agent = soon(MockAgent::start()).await;
    for flags in [&["--json"][..], &[]] {
        let ended = doctor(flags, &of(&agent)).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        agent.assert_no_secrets(&ended.stdout);
        agent.assert_no_secrets(&ended.stderr);
    }
    let report = examine(&of(&agent)).await;
    assert_eq!(report["healthy"], true);
    for step in [
        "environment",
        "earlier sources",
        "token",
        "proxy",
        "address",
        "answer",
        "credentials",
    ] {
        assert_eq!(outcome(&report, step), "fine", "{report:#}");
    }
    let ended = doctor(&[], &of(&agent)).await;
    assert!(
        ended.stdout.contains("✓ credentials: of the account "),
        "{ended:?}"
    );
    assert!(
        ended
            .stdout
            .contains("its SDK may be older than Pod Identity"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_pod_without_the_variables_is_told_to_restart_and_that_sdks_use_the_nodes_role() {
    let metadata = Metadata::start(&[(
        "/latest/meta-data/iam/security-credentials/",
        "node-role-of-shop",
    )])
    .await;
    let url = format!("http://{}", metadata.address);
    let report = examine(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())]).await;
    assert_fault(&report, "no-environment", 3);
    assert_eq!(outcome(&report, "address"), "skipped");
    let advice = finding(&report, "node-role").unwrap();
    assert_eq!(advice["detail"], "the role is node-role-of-shop");
    let ended = doctor(&[], NOTHING).await;
    for part in [
        "older than its association",
        "restart the pod",
        "✓ role of the node",
    ] {
        assert!(ended.stdout.contains(part), "no {part} in {}", ended.stdout);
    }
}

#[tokio::test]
async fn an_environment_that_eks_did_not_set_is_named() {
    let uri = (variables::FULL_URI, "http://169.254.170.23/v1/credentials");
    let relative = (variables::RELATIVE_URI, "/secret-path");
    for (environment, code) in [
        (&[(variables::TOKEN_FILE, "/token")][..], "half-configured"),
        (&[(variables::FULL_URI, "http://10.0.0.7/")], "invalid-uri"),
        (&[uri, relative], "relative-uri-wins"),
    ] {
        let ended = doctor(&["--json", "--timeout", "1ms"], environment).await;
        assert!(!ended.stdout.contains("secret-path"), "{}", ended.stdout);
        assert_fault(&read(&ended), code, 3);
    }
}

#[tokio::test]
async fn sources_that_come_first_are_named_though_the_agent_answers() {
    let agent = soon(MockAgent::start()).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let file = home.path().join(".aws/credentials");
    std::fs::write(file, "[default]\naws_access_key_id = AKIAFILE\n").unwrap();
    let home = home.path().to_str().unwrap();
    let key = ("AWS_ACCESS_KEY_ID", "AKIAFIRST");
    for (more, code) in [
        (
            &[key, ("AWS_SECRET_ACCESS_KEY", "first-secret")][..],
            "keys-first",
        ),
        (
            &[
                ("AWS_ROLE_ARN", "arn"),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/x"),
            ],
            "web-identity-first",
        ),
        (&[("HOME", home)], "profile-first"),
    ] {
        let environment = [&of(&agent)[..], &owned(more)[..]].concat();
        let ended = doctor(&["--json"], &environment).await;
        assert!(!ended.stdout.contains("first-secret"), "{}", ended.stdout);
        let report = read(&ended);
        assert_fault(&report, code, 3);
        assert_eq!(outcome(&report, "credentials"), "fine");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_token_is_said_before_anybody_is_asked() {
    let agent = soon(MockAgent::start()).await;
    let now = SystemClock.now();
    let builder = || Issuer::new().token("shop", "cart");
    let good = builder().mint(now);
    for (content, code, exit) in [
        (String::new(), "token-file", 4),
        (format!("Bearer {good}"), "token-bearer", 4),
        ("no token".to_owned(), "token-malformed", 4),
        (
            builder().lifetime(MINUTE).mint(now - 5 * MINUTE),
            "token-expired",
            4,
        ),
        (builder().mint(now + 60 * MINUTE), "token-not-yet-valid", 4),
        (
            builder().audience("sts.amazonaws.com").mint(now),
            "token-audience",
            4,
        ),
        (
            builder().node("fargate-ip-10-0-0-7.ec2.internal").mint(now),
            "fargate",
            3,
        ),
    ] {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &content).unwrap();
        let uri = agent.uri();
        let path = file.path().to_str().unwrap();
        let environment = [(variables::FULL_URI, &*uri), (variables::TOKEN_FILE, path)];
        let ended = doctor(&["--json"], &environment).await;
        assert!(
            content.is_empty() || !ended.stdout.contains(&content),
            "{}",
            ended.stdout
        );
        assert_fault(&read(&ended), code, exit);
    }
    let uri = agent.uri();
    let report = examine(&[(variables::FULL_URI, uri.as_str())]).await;
    assert_fault(&report, "token-not-set", 4);
    let missing = [
        (variables::FULL_URI, &*uri),
        (variables::TOKEN_FILE, "/nonexistent"),
    ];
    let report = examine(&missing).await;
    assert_fault(&report, "token-file", 4);
    let detail = finding(&report, "token-file").unwrap()["detail"].to_string();
    assert!(detail.contains("/nonexistent: does not exist"), "{detail}");
}

#[tokio::test]
async fn a_proxy_that_would_get_the_token_is_named_without_its_password() {
    let agent = soon(MockAgent::start()).await;
    for (no_proxy, passes) in [
        ("example.com", false),
        ("127.0.0.1", true),
        ("127.0.0.0/8", true),
    ] {
        let proxy = ("HTTP_PROXY", "http://user:password@proxy:3128");
        let more = [proxy, ("NO_PROXY", no_proxy)];
        let environment = [&of(&agent)[..], &owned(&more)[..]].concat();
        let ended = doctor(&["--json"], &environment).await;
        assert!(!ended.stdout.contains("password"), "{}", ended.stdout);
        let report = read(&ended);
        if passes {
            assert_eq!(report["healthy"], true);
        } else {
            assert_fault(&report, "proxied", 5);
            assert_eq!(outcome(&report, "credentials"), "fine");
        }
    }
}

#[tokio::test]
async fn an_address_that_gives_no_connection_is_told_apart() {
    let agent = soon(MockAgent::start()).await;
    let closed = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_fault(&examine(&at(&agent, closed)).await, "refused", 5);

    // A queue that is full drops what comes, as a policy does.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting = StdStream::connect(address).unwrap();
    let ended = doctor(&["--json", "--timeout", "300ms"], &at(&agent, address)).await;
    assert_fault(&read(&ended), "timed-out", 5);

    let mut named = of(&agent);
    set(&mut named, variables::FULL_URI, "http://nowhere.invalid/");
    let ended = doctor(&["--json", "--timeout", "300ms"], &named).await;
    assert_fault(&read(&ended), "unresolved", 5);
}

/// As root only: in a network of its own.
#[test]
fn a_route_that_is_unreachable_is_told_apart() {
    let Some(network) = Namespace::new() else {
        return;
    };
    let (_code, report) = network.json(
        "ip route add unreachable 169.254.170.23; \
         AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/v1/credentials \
         AWS_EC2_METADATA_DISABLED=true $0 doctor pod --json",
    );
    assert!(finding(&report, "no-route").is_some(), "{report:#}");
}

#[tokio::test]
async fn what_answers_in_the_place_of_an_agent_or_refuses_is_recognised() {
    let text = "content-type: text/plain; charset=utf-8\r\n";
    let html = "content-type: text/html\r\nserver: nginx\r\n";
    let soon_again = "content-type: text/plain; charset=utf-8\r\nretry-after: 0\r\n";
    let json = "content-type: application/json\r\n";
    let refused = |code: &str, message: &str| format!("[r-1]: ({code}): {message}, fault: client");
    let association =
        "The token included in the request has no service account role association for it.";
    let trust =
        "Unauthorized Exception! EKS does not have permissions to assume the associated role.";
    let node =
        "User: x is not authorized to perform: eks-auth:AssumeRoleForPodIdentity on resource: y";
    let asked = |reason: &str| format!("EKS Auth could not be asked: {reason}; try again");
    for (status, headers, body, code, exit) in [
        (
            404,
            html,
            "<html>not here</html>".to_owned(),
            "another-server",
            6,
        ),
        (404, text, "404 page not found".to_owned(), "wrong-path", 6),
        (
            403,
            text,
            "Access Denied. Called agent through invalid address".to_owned(),
            "wrong-host",
            6,
        ),
        (418, text, "a new reason".to_owned(), "unexpected-answer", 6),
        (
            503,
            soon_again,
            "too many tokens wait for EKS Auth already; try again".to_owned(),
            "agent-busy",
            6,
        ),
        (200, json, "{}".to_owned(), "unusable-answer", 6),
        (
            404,
            text,
            refused("ResourceNotFoundException", association),
            "no-association",
            7,
        ),
        (
            404,
            text,
            refused("ResourceNotFoundException", "No cluster found for name: c."),
            "no-cluster",
            7,
        ),
        (
            400,
            text,
            refused("AccessDeniedException", trust),
            "role-trust",
            7,
        ),
        (
            400,
            text,
            refused("AccessDeniedException", "no"),
            "access-denied",
            7,
        ),
        (
            400,
            text,
            refused("InvalidTokenException", "no"),
            "token-refused",
            7,
        ),
        (
            400,
            text,
            refused("AccessDeniedException", node),
            "node-not-allowed",
            9,
        ),
        (
            503,
            soon_again,
            refused("ThrottlingException", "slow down") + "; try again",
            "throttled",
            9,
        ),
        (
            503,
            soon_again,
            asked("the agent has no credentials of its own: no source has any"),
            "no-node-credentials",
            9,
        ),
        (
            503,
            soon_again,
            asked("no region is known: set AWS_REGION"),
            "no-region",
            9,
        ),
        (
            503,
            soon_again,
            asked("EKS Auth has no endpoint: FIPS"),
            "misconfigured",
            9,
        ),
        (
            503,
            soon_again,
            asked("HTTP 403 without an AWS error code, as a proxy answers: no"),
            "not-eks-auth",
            9,
        ),
        (
            503,
            soon_again,
            asked("10.0.0.1:443 cannot be connected to: Connection refused"),
            "eks-auth-out-of-reach",
            9,
        ),
    ] {
        let server = Canned::start(status, headers, &body).await;
        let agent = soon(MockAgent::start()).await;
        let report = examine(&at(&agent, server.address)).await;
        assert_fault(&report, code, exit);
    }
}

#[tokio::test]
async fn an_address_that_accepts_and_never_answers_is_told_apart() {
    let agent = soon(MockAgent::start()).await;
    let server = Canned::silent().await;
    assert_fault(&examine(&at(&agent, server.address)).await, "no-answer", 6);
}

#[tokio::test]
async fn the_agent_and_eks_auth_together_lead_to_the_missing_association() {
    let eks = shop().await;
    let agent = Server::start(&eks, &[]).await;
    let unknown = eks.issuer().token("shop", "nobody").mint(SystemClock.now());
    for (token, code) in [(token(&eks), None), (unknown, Some("no-association"))] {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &token).unwrap();
        let uri = format!("http://{}/v1/credentials", agent.credentials);
        let path = file.path().to_str().unwrap();
        let environment = [(variables::FULL_URI, &*uri), (variables::TOKEN_FILE, path)];
        let ended = doctor(&["--json"], &environment).await;
        eks.assert_no_secrets(&ended.stdout);
        let report = read(&ended);
        assert_eq!(report["fault"], Value::from(code), "{report:#}");
    }
}

#[tokio::test]
async fn the_credentials_are_used_once_if_asked_for() {
    let eks = shop().await;
    let agent = soon(agent_before(&eks)).await;
    let sts = eks.endpoint();
    let more = [
        ("AWS_ENDPOINT_URL_STS", sts.as_str()),
        ("AWS_REGION", "us-west-2"),
    ];
    let environment = [&of(&agent)[..], &owned(&more)[..]].concat();
    let ended = doctor(&["--json", "--get-caller-identity"], &environment).await;
    eks.assert_no_secrets(&ended.stdout);
    let report = read(&ended);
    assert_eq!(outcome(&report, "caller identity"), "fine", "{report:#}");
    assert!(
        ended.stdout.contains(":assumed-role/cart/"),
        "{}",
        ended.stdout
    );

    // STS quotes the headers that it calculates another signature from.
    let minted = eks.secrets();
    let minted: Vec<&str> = minted
        .iter()
        .map(Secret::expose)
        .filter(|it| it.len() > 200)
        .collect();
    assert!(!minted.is_empty());
    let quoted = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>It should have been \
         'x-amz-security-token:{}'</Message></Error><RequestId>r-1</RequestId></ErrorResponse>",
        minted.join(" ")
    );
    let quoting = Canned::start(403, "content-type: text/xml\r\n", &quoted).await;
    let mut environment = environment;
    let url = format!("http://{}", quoting.address);
    set(&mut environment, "AWS_ENDPOINT_URL_STS", &url);
    for format in [&["--json"][..], &[]] {
        let ended = doctor(&[format, &["--get-caller-identity"]].concat(), &environment).await;
        eks.assert_no_secrets(&ended.stdout);
        assert!(
            ended.stdout.contains("SignatureDoesNotMatch"),
            "{}",
            ended.stdout
        );
    }

    let nowhere = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nowhere = format!("http://{nowhere}");
    set(&mut environment, "AWS_ENDPOINT_URL_STS", &nowhere);
    let ended = doctor(&["--json", "--get-caller-identity"], &environment).await;
    eks.assert_no_secrets(&ended.stdout);
    assert_fault(&read(&ended), "sts-failed", 7);
}

#[tokio::test]
async fn a_token_that_the_agent_refuses_by_the_keys_of_the_cluster_is_named() {
    let eks = shop().await;
    let endpoint = eks.endpoint();
    let server = Server::start(&eks, &["--oidc-issuer", &endpoint, "--key-cache=off"]).await;
    server.program.stdout.says("tokens are verified").await;
    let forged = eks.issuer().token("shop", "cart").forged();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), forged.mint(SystemClock.now())).unwrap();
    let uri = format!("http://{}/v1/credentials", server.credentials);
    let path = file.path().to_str().unwrap();
    let report = examine(&[(variables::FULL_URI, &*uri), (variables::TOKEN_FILE, path)]).await;
    assert_fault(&report, "token-signature", 4);
}

/// As from a container that `kubectl debug` has added.
#[tokio::test]
async fn another_process_is_looked_into_by_its_number() {
    let agent = soon(MockAgent::start()).await;
    let mut application = Command::new("sleep");
    application.arg("600").env_clear().stdout(Stdio::null());
    application.envs(of(&agent));
    let mut application = application.spawn().unwrap();
    let id = application.id().to_string();
    let ended = doctor(
        &["--json", "--process", &id],
        &[("AWS_ACCESS_KEY_ID", "ours")],
    )
    .await;
    application.kill().unwrap();
    application.wait().unwrap();
    assert_eq!(read(&ended)["healthy"], true, "{ended:?}");

    let ended = doctor(&["--process", "4194304"], NOTHING).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("kubectl debug --target"), "{ended:?}");
}

#[tokio::test]
async fn a_code_is_explained_and_an_unknown_one_is_64() {
    let one = doctor(&["--explain", "refused"], NOTHING).await;
    assert_eq!(one.code, Some(0));
    assert!(one.stdout.starts_with("### `refused`\n"), "{one:?}");
    let unknown = doctor(&["--explain", "nothing"], NOTHING).await;
    assert_eq!(unknown.code, Some(64));
    assert!(unknown.stderr.contains("no-environment"), "{unknown:?}");
}

#[tokio::test]
async fn every_finding_is_provoked_by_a_test() {
    let page = doctor(&["--explain"], NOTHING).await.stdout;
    let codes = page.lines().filter_map(|line| line.strip_prefix("### `"));
    let tests = [include_str!("doctor.rs"), include_str!("doctor_node.rs")].concat();
    // Windows has no container with this program; advice about the SDK is the hint of a healthy pod; netlink
    // is refused by security policies of containers only.
    let elsewhere = ["windows", "old-sdk", "no-netlink"];
    for code in codes.map(|line| line.trim_end_matches('`')) {
        let is_provoked = tests.contains(&format!("\"{code}\""));
        assert!(is_provoked || elsewhere.contains(&code), "{code}");
    }
}

const NOTHING: &Variables<'_> = &[];

pub(crate) async fn doctor(
    flags: &[&str],
    environment: &[(impl AsRef<str> + Sync, impl AsRef<str> + Sync)],
) -> Ended {
    let arguments = [&["doctor", "pod"], flags].concat();
    let no_metadata = [("AWS_EC2_METADATA_DISABLED", "true")];
    let has_metadata = |(name, _): &(&str, &str)| *name == "AWS_EC2_METADATA_SERVICE_ENDPOINT";
    let given: Vec<_> = environment
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .collect();
    let environment = match given.iter().any(has_metadata) {
        true => given,
        false => [&given[..], &no_metadata].concat(),
    };
    Program::run(&arguments, &environment).await
}

async fn examine(environment: &[(impl AsRef<str> + Sync, impl AsRef<str> + Sync)]) -> Value {
    read(&doctor(&["--json"], environment).await)
}

#[track_caller]
pub(crate) fn read(ended: &Ended) -> Value {
    let report: Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
    assert_eq!(report["exit-code"], Value::from(ended.code), "{report:#}");
    report
}

#[track_caller]
pub(crate) fn assert_fault(report: &Value, code: &str, exit: i32) {
    assert_eq!(report["fault"], code, "{report:#}");
    assert_eq!(report["exit-code"], exit, "{report:#}");
}

fn steps(report: &Value) -> &[Value] {
    report["steps"].as_array().unwrap()
}

pub(crate) fn outcome<'a>(report: &'a Value, step: &str) -> &'a str {
    let mut found = steps(report).iter().filter(|one| one["step"] == step);
    found.next().unwrap()["outcome"].as_str().unwrap()
}

pub(crate) fn finding<'a>(report: &'a Value, code: &str) -> Option<&'a Value> {
    let findings = steps(report)
        .iter()
        .flat_map(|step| step["findings"].as_array().unwrap());
    findings.into_iter().find(|one| one["code"] == code)
}

/// The environment of a pod of this agent.
fn of(agent: &MockAgent) -> Vec<(String, String)> {
    let variables = agent.env().into_iter();
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The same, with the agent somewhere else.
fn at(agent: &MockAgent, address: SocketAddr) -> Vec<(String, String)> {
    let mut environment = of(agent);
    set(
        &mut environment,
        variables::FULL_URI,
        &format!("http://{address}/v1/credentials"),
    );
    environment
}

fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_owned(), value.to_owned()));
}

fn owned(environment: &Variables<'_>) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    environment.iter().map(owned).collect()
}

async fn agent_before(eks: &MockEksAuth) -> MockAgent {
    MockAgent::builder()
        .eks_auth(eks)
        .service_account("shop", "cart")
        .start()
        .await
        .unwrap()
}

/// A server that gives every request the same answer, or reads it and closes the connection.
pub(crate) struct Canned {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Canned {
    pub(crate) async fn start(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::with(format!(
            "HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await
    }

    pub(crate) async fn silent() -> Self {
        Self::with(String::new()).await
    }

    async fn with(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _peer)) = listener.accept().await {
                let mut head = [0; 8192];
                let _read = stream.read(&mut head).await;
                let _written = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            address,
            _serving: serving,
        }
    }
}
