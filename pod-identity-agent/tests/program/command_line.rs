//! Every command line that the official agent accepts starts the program.

use pod_identity_core::{Clock, SystemClock};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{self, Request};
use crate::support::process::{NODE_CREDENTIALS, Program, Server, address_of, arguments};
use crate::support::shop::{shop, token};
use crate::support::soon;

/// What the official chart renders for its daemonsets, after `/go-runner /eks-pod-identity-agent`, with
/// metrics on and off and with additional arguments, of which each is rendered as two.
const CHART: [&[&str]; 7] = [
    &[
        "server",
        "--port",
        "80",
        "--cluster-name",
        "c",
        "--probe-port",
        "2703",
        "-v",
        "trace",
    ],
    &[
        "server",
        "--port",
        "80",
        "--cluster-name",
        "c",
        "--probe-port",
        "2703",
        "-v",
        "trace",
        "--rotate-credentials",
        "true",
    ],
    &[
        "server",
        "--port",
        "80",
        "--cluster-name",
        "c",
        "--probe-port",
        "2703",
        "-v",
        "info",
        "--metrics-address",
        "127.0.0.1",
        "--metrics-port",
        "2705",
    ],
    &[
        "server",
        "--port",
        "80",
        "--cluster-name",
        "c",
        "--probe-port",
        "2703",
        "-v",
        "info",
        "--endpoint",
        "https://eks-auth.example",
        "--max-service-qps",
        "10",
    ],
    &[
        "server",
        "--port",
        "80",
        "--cluster-name",
        "c",
        "--probe-port",
        "2703",
        "-b",
        "169.254.170.23",
        "-b",
        "[fd00:ec2::23]",
        "--rotate-credentials",
        "false",
    ],
    &["initialize", "-v", "trace", "--help"],
    &["version", "-v", "trace"],
];

/// Further spellings that the official program accepts, with the flags of newer versions.
const ALSO_TAKEN: [&[&str]; 33] = [
    &["--rotate-credentials"],
    &["--rotate-credentials", "true"],
    &["--rotate-credentials=1"],
    &["--rotate-credentials=t"],
    &["--rotate-credentials=TRUE"],
    &["--rotate-credentials=False"],
    &["--port", "80", "--port", "81"],
    &["--port", "0x50"],
    &["--probe-port", "2703", "--probe-port", "2704"],
    &["-v", "warning"],
    &["-v", "INFO"],
    &["-v", "Trace"],
    &["-vdebug"],
    &["-v=debug"],
    &["-b", "localhost"],
    &["-b", "127.0.0.1,[::1]"],
    &["--metrics-address", "localhost"],
    &["--metrics-address", ""],
    &["--endpoint", ""],
    &["--endpoint", "host-without-scheme"],
    &["--max-service-qps", "0"],
    &["--max-service-qps", "-1"],
    &["--max-cache-size", "-1"],
    &["--max-credential-retention-before-renewal", "-1h"],
    &["stray", "words"],
    &["--", "--not-a-flag"],
    &["--enable-imds-credentials"],
    &["--enable-imds-credentials=false"],
    &["--x509-svid-duration", "6h", "--jwt-svid-duration", "6h"],
    &[
        "--svid-renewal-fraction",
        "0.5",
        "--svid-renewal-jitter",
        "0.1",
    ],
    &["--bundle-refresh-interval", "5m"],
    &[
        "--workload-identity-provider-arn",
        "arn:aws:iam::111122223333:x",
    ],
    &["--cluster-name", "first", "--cluster-name", "second"],
];

#[tokio::test]
async fn every_argument_list_of_the_official_chart_starts_the_program() {
    for arguments in CHART {
        starts(arguments).await;
    }
}

#[tokio::test]
async fn every_spelling_that_pflag_accepts_starts_the_program() {
    let fixed = arguments("c", "http://127.0.0.1:9");
    for more in ALSO_TAKEN {
        starts(&[&fixed[..], more].concat()).await;
    }
}

/// `POD_IDENTITY_VECTORS=<folder> cargo test -p pod-identity-agent --test program vectors -- --ignored`
#[tokio::test]
#[ignore = "needs the folder of published vectors in POD_IDENTITY_VECTORS"]
async fn the_published_vectors_start_the_program() {
    let folder = pod_identity_cli::variable("POD_IDENTITY_VECTORS").expect("it must be set");
    let path = std::path::Path::new(&folder).join("agent-arguments.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut started = 0;
    for case in vectors["cases"].as_array().unwrap() {
        // The runner and the program's name come first.
        let mut list = texts(&case["command"]).split_off(2);
        list.extend(texts(&case["args"]));
        if list[0] == "initialize" {
            list.push("--help".to_owned());
        }
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        starts(&list).await;
        started += 1;
    }
    let fixed = arguments("c", "http://127.0.0.1:9");
    for more in vectors["also_taken_by_the_official_program"]
        .as_array()
        .unwrap()
    {
        let more = texts(more);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        starts(&[&fixed[..], &more].concat()).await;
        started += 1;
    }
    assert!(started > 20, "{started}");
}

/// `server` runs until it is stopped; every other command exits by itself. None is a usage error.
async fn starts(arguments: &[&str]) {
    let program = Program::start(arguments, &environment());
    if arguments[0] == "server" {
        // At the level of warnings the first line is that EKS Auth is unreachable.
        let is_up = |line: &str| line.contains("listen") || line.contains("not ready");
        program.stdout.line(is_up).await;
        program.signal(Signal::TERM);
    }
    let ended = program.end().await;
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{arguments:?}"
    );
}

#[tokio::test]
async fn the_last_occurrence_of_a_flag_wins_and_bind_hosts_accumulate() {
    let eks = shop().await;
    let server = Server::start(&eks, &["--cluster-name", "other", "-b", "127.0.0.2"]).await;
    let said = server.program.stdout.says("starting").await;
    assert_eq!(said["cluster-name"], "other");
    let second = server
        .program
        .stdout
        .line(|line| line.contains("\"127.0.0.2:"));
    second.await;
}

#[tokio::test]
async fn odd_values_are_logged() {
    for (more, message) in [
        (&["stray"][..], "positional arguments are ignored"),
        (
            &["--rotate-credentials", "false"],
            "positional arguments are ignored",
        ),
        (
            &["--max-service-qps", "0"],
            "--max-service-qps of 0 or less",
        ),
        (&["--max-cache-size", "-1"], "caching is disabled"),
        (
            &["--max-credential-retention-before-renewal", "-1h"],
            "caching is disabled",
        ),
        (&["--endpoint", "host"], "--endpoint has no scheme"),
        (
            &["--jwt-svid-duration", "6h"],
            "flags of newer official agents have no effect",
        ),
    ] {
        let arguments = [&arguments("c", "http://127.0.0.1:9")[..], more].concat();
        let program = Program::start(&arguments, &environment());
        program.stdout.says(message).await;
    }
}

#[tokio::test]
async fn with_odd_values_a_pod_still_gets_credentials() {
    let eks = shop().await;
    let more = [
        "--rotate-credentials",
        "true",
        "--max-cache-size",
        "-1",
        "--max-service-qps",
        "0",
    ];
    let server = Server::start(&eks, &more).await;
    client::insist(server.credentials, &token(&eks)).await.key();
}

#[tokio::test]
async fn a_chart_may_make_two_arguments_of_a_flag_that_is_on_or_off() {
    let eks = shop().await;
    let more = ["--rotate-credentials", "true", "--verify-tokens=false", ""];
    let server = Server::start(&eks, &more).await;
    client::insist(server.credentials, &token(&eks)).await.key();
    server.program.signal(Signal::TERM);
    let ended = server.program.end().await;
    assert!(ended.stdout.contains("starting"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("positional"), "{}", ended.stdout);
}

#[tokio::test]
async fn the_largest_numbers_do_not_fail_a_request() {
    let eks = shop().await;
    let more = [
        "--max-credential-retention-before-renewal",
        "2562047h",
        "--max-cache-size",
        "9223372036854775807",
        "--max-service-qps",
        "1e300",
        "--pod-budget",
        "4294967295/1e300",
        "--node-budget",
        "4294967295/1e300",
        "--answer-within",
        "5m",
    ];
    let server = Server::start(&eks, &more).await;
    let token = token(&eks);
    for _ in 0..3 {
        client::insist(server.credentials, &token).await.key();
    }
    server.program.signal(Signal::TERM);
    let ended = server.program.end().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_routable_address_requires_a_flag_of_its_own() {
    for host in ["0.0.0.0", "[::]", "10.0.0.7"] {
        let more = ["-b", host];
        let arguments = [&arguments("c", "http://127.0.0.1:9")[..], &more].concat();
        let ended = Program::run(&arguments, &environment()).await;
        ended.assert_one_line(64, &["--bind-hosts", "--allow-routable-bind-hosts"]);
    }
    let eks = shop().await;
    let more = ["-b", "0.0.0.0", "--allow-routable-bind-hosts"];
    let server = Server::start(&eks, &more).await;
    client::insist(server.credentials, &token(&eks)).await.key();
}

#[tokio::test]
async fn a_usage_error_is_one_line_without_the_password_of_a_url() {
    let url = "ftp://operator:wJalrXUtnFEMI@eks-auth.example/\n\nx";
    let shown = r"ftp://***@eks-auth.example/\n\nx";
    for command in [&["server"][..], &["doctor", "node", "--"]] {
        let flags = ["-c", "c", "--endpoint", url];
        let ended = Program::run(&[command, &flags].concat(), &[]).await;
        ended.assert_one_line(64, &["--endpoint", shown, "expected a URL"]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn doctor_node_says_what_it_expects_after_two_dashes() {
    let ended = Program::run(&["doctor", "node", "--", "--help"], &[]).await;
    ended.assert_one_line(64, &["flags of the command `server`"]);
}

#[tokio::test]
async fn an_invalid_endpoint_in_the_environment_is_named_and_exits_with_64() {
    let wrong = ("AWS_ENDPOINT_URL_EKS_AUTH", "ftp://eks-auth.internal");
    let list = ["server", "--cluster-name", "c"];
    let ended = Program::run(&list, &[wrong]).await;
    ended.assert_one_line(64, &["AWS_ENDPOINT_URL_EKS_AUTH", "expected a URL"]);
}

#[tokio::test]
async fn a_value_that_would_be_wrong_and_silent_is_a_usage_error() {
    for (flag, value, expected) in [
        ("--audit-log", "stdout", "on (standard output)"),
        ("--audit-log", "true", "a path with a `/`"),
        ("--key-cache", "true", "a path with a `/`"),
        ("--probe-socket", "true", "a path with a `/`"),
        ("--audience", "", "not blank"),
        ("--audience", " ", "not blank"),
        ("--cluster-name", " ", "not blank"),
        ("--node-name", "", "not blank"),
        ("--instance-id", "", "not blank"),
        ("--zone", " ", "not blank"),
        ("--endpoint", "https://x:99999", "expected a URL"),
        ("--oidc-issuer", "https://x:99999", "is not an https URL"),
        ("--kubernetes-api", "https://x:99999", "--kubernetes-api"),
    ] {
        let arguments = [&arguments("c", "http://127.0.0.1:9")[..], &[flag, value]].concat();
        let ended = Program::run(&arguments, &environment()).await;
        ended.assert_one_line(64, &[flag, expected]);
        assert_eq!(ended.litter, 0, "{flag} {value}");
    }
}

#[tokio::test]
async fn a_bind_host_that_is_given_twice_is_bound_once() {
    let eks = shop().await;
    for more in [&[][..], &["--reuse-port"]] {
        let twice = ["-b", "localhost", "-b", "::ffff:127.0.0.1"];
        let server = Server::start(&eks, &[&twice, more].concat()).await;
        client::insist(server.credentials, &token(&eks)).await.key();
        let page = client::ask(server.metrics, Request::of("/metrics")).await;
        for gauge in ["listeners_up", "listeners_wanted"] {
            let line = format!("\npod_identity_{gauge} 1\n");
            assert!(page.body.contains(&line), "{}", page.body);
        }
    }
}

#[tokio::test]
async fn the_endpoint_of_the_environment_is_used_if_the_flag_is_empty() {
    let eks = shop().await;
    let endpoint = eks.endpoint();
    let environment = [
        &environment()[..],
        &[("AWS_ENDPOINT_URL_EKS_AUTH", endpoint.as_str())],
    ]
    .concat();
    let program = Program::start(&arguments(eks.cluster(), ""), &environment);
    let address = address_of(&program, "credentials").await;
    client::insist(address, &token(&eks)).await.key();
}

#[tokio::test]
async fn the_node_name_comes_from_the_environment_unless_a_flag_sets_it() {
    for (more, name) in [(&[][..], "ip-10-0-0-7"), (&["--node-name", "mine"], "mine")] {
        let eks = shop().await;
        let environment = [&NODE_CREDENTIALS[..], &[("NODE_NAME", "ip-10-0-0-7")]].concat();
        let server = Server::with(&eks, more, &environment).await;
        let token = eks.issuer().token("shop", "cart").mint(SystemClock.now());
        client::insist(server.credentials, &token).await.key();
        soon(eks.wait_for_answers(1)).await;
        let told = eks.requests().remove(0);
        assert_eq!(told.eks_node_name.as_deref(), Some(name));
    }
}

#[tokio::test]
async fn an_invalid_proxy_url_is_named_without_its_value() {
    let proxy = ("HTTPS_PROXY", "http://user:hunter2@proxy:not-a-port");
    let environment = [&environment()[..], &[proxy]].concat();
    let program = Program::start(&arguments("c", "http://127.0.0.1:9"), &environment);
    let said = program.stdout.says("the proxy is not a URL").await;
    assert_eq!(said["variable"], "HTTPS_PROXY");
    program.signal(Signal::TERM);
    let ended = program.end().await;
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
}

fn environment() -> Vec<(&'static str, &'static str)> {
    let here = [
        ("AWS_REGION", "us-west-2"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    [&NODE_CREDENTIALS[..], &here].concat()
}
