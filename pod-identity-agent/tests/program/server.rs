//! `server` as a process: its command line, its logs, its shutdown.

use std::io::ErrorKind;
use std::net::TcpListener;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::client::{self, Client, Request};
use crate::support::process::{NODE_CREDENTIALS, Program, Server, address_of, arguments};
use crate::support::shop::{shop, token};
use crate::support::{SECOND, soon};

/// The kernel of a client delays an acknowledgement by 40 ms. A response in several writes waits for it each time if
/// the agent's send buffer is smaller than the response.
#[tokio::test]
async fn a_page_of_metrics_on_a_kept_connection_waits_for_no_acknowledgement() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let mut scraper = Client::connect(server.metrics).await;
    let mut fastest = SECOND;
    for scrape in 0..20 {
        let began = Instant::now();
        let page = scraper.ask(Request::of("/metrics")).await;
        assert!(
            page.body.len() > 4608,
            "more than the kernel's least buffer"
        );
        // The first acknowledgements are not delayed.
        if scrape >= 5 {
            fastest = fastest.min(began.elapsed());
        }
    }
    assert!(fastest < SECOND * 35 / 1000, "{fastest:?}");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_process_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let eks = shop().await;
        let server = Server::start(&eks, &["--answer-within", "30s"]).await;
        let gate = eks.gate();
        let token = token(&eks);
        let mut in_flight = Client::connect(server.credentials).await;
        in_flight.send(Request::with_token(&token)).await;
        soon(gate.wait_for(1)).await;
        server.program.signal(signal);
        let received = server.program.stdout.says("shutdown signal received").await;
        let name = if signal == Signal::TERM {
            "SIGTERM"
        } else {
            "SIGINT"
        };
        assert_eq!(received["signal"], name);
        server.program.stdout.says("stopping").await;
        gate.release();
        assert_eq!(in_flight.answer().await.key(), eks.minted()[0]);
        assert_eq!(server.program.end().await.code, Some(0));
    }
}

#[tokio::test]
async fn requests_that_arrived_before_the_signal_are_answered_even_on_new_connections() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let token = token(&eks);
    client::insist(server.credentials, &token).await.key();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(server.credentials).await);
    }
    // While it is stopped, both arrive.
    server.program.signal(Signal::STOP);
    for _ in 0..40 {
        clients.push(Client::connect(server.credentials).await);
    }
    for client in &mut clients {
        client.send(Request::with_token(&token)).await;
    }
    server.program.signal(Signal::TERM);
    server.program.signal(Signal::CONT);
    for client in &mut clients {
        client.answer().await.key();
    }
    assert_eq!(server.program.end().await.code, Some(0));
}

#[tokio::test]
async fn a_connection_without_a_request_does_not_delay_shutdown() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    let token = token(&eks);
    let mut idle = Client::connect(server.credentials).await;
    idle.ask(Request::with_token(&token)).await;
    server.program.signal(Signal::TERM);
    idle.closed().await;
    let ended = server.program.end().await;
    assert_eq!(ended.code, Some(0));
    assert!(
        !ended.stdout.contains("still in flight"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn up_to_200_headers_are_accepted() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    for (headers, status) in [(200, 404), (201, 431)] {
        let more = "X: y\r\n".repeat(headers - 1);
        let request = format!("GET / HTTP/1.1\r\nHost: 169.254.170.23\r\n{more}\r\n");
        let mut client = Client::connect(server.credentials).await;
        client.send_bytes(request.as_bytes()).await;
        assert_eq!(client.answer().await.status, status, "{headers}");
    }
}

#[tokio::test]
async fn an_occupied_credentials_port_is_logged_once_and_served_when_it_is_free() {
    let eks = shop().await;
    let (taken, port) = taken_port();
    let endpoint = eks.endpoint();
    let arguments = [&arguments(eks.cluster(), &endpoint)[..], &["--port", &port]].concat();
    let program = Program::start(&replacing(&arguments, "--port"), &environment());
    let said = program.stdout.says("address cannot be bound").await;
    assert_eq!(said["level"], "warning");
    assert_eq!(said["listener"], "credentials");
    assert_eq!(said["address"], format!("127.0.0.1:{port}"));
    assert!(said["remedy"].as_str().unwrap().contains("another port"));
    let probes = address_of(&program, "probes").await;
    assert_eq!(
        client::ask(probes, Request::of("/healthz")).await.status,
        200
    );

    drop(taken);
    let credentials = address_of(&program, "credentials").await;
    client::insist(credentials, &token(&eks)).await.key();
    assert_eq!(program.stdout.said("address cannot be bound").len(), 1);
}

#[tokio::test]
async fn an_address_that_no_interface_has_is_logged_once_and_the_other_is_served() {
    let eks = shop().await;
    let server = Server::start(&eks, &["--bind-hosts", "[fd00:ec2::23]"]).await;
    let said = server.program.stdout.says("address cannot be bound").await;
    assert_eq!(said["address"], "[fd00:ec2::23]:0");
    client::insist(server.credentials, &token(&eks)).await.key();
    let page = client::ask(server.metrics, Request::of("/metrics")).await;
    let up = "pod_identity_listeners_up 1\n";
    assert!(page.body.contains(up), "{}", page.body);
    let ready = client::ask(server.probes, Request::of("/readyz")).await;
    assert_eq!(ready.status, 200, "{}", ready.body);
}

#[tokio::test]
async fn an_occupied_probe_or_metrics_port_does_not_stop_credentials() {
    for (flag, listener) in [("--probe-port", "probes"), ("--metrics-port", "metrics")] {
        let eks = shop().await;
        // Probes listen on 127.0.0.1, and so do metrics here.
        let (taken, port) = taken_port();
        let endpoint = eks.endpoint();
        let arguments = [&arguments(eks.cluster(), &endpoint)[..], &[flag, &port]].concat();
        let program = Program::start(&replacing(&arguments, flag), &environment());
        let said = program.stdout.says("address cannot be bound").await;
        assert_eq!(said["listener"], listener);
        let credentials = address_of(&program, "credentials").await;
        client::insist(credentials, &token(&eks)).await.key();
        drop(taken);
        address_of(&program, listener).await;
    }
}

#[tokio::test]
async fn an_invalid_command_line_prints_cause_and_remedy_in_one_line_and_exits_with_64() {
    let server = |more: &[&'static str]| [&["server", "--cluster-name", "c"], more].concat();
    let table: Vec<(Vec<&str>, &[&str])> = vec![
        (vec![], &["a command is missing: server"]),
        (vec!["-v", "debug"], &["subcommand"]),
        (vec!["sever"], &["'sever'", "did you mean server?"]),
        (vec!["server"], &["--cluster-name <CLUSTER_NAME>"]),
        (vec!["server", "--cluster-name"], &["--cluster-name"]),
        (vec!["server", "--cluster-name", ""], &["--cluster-name"]),
        (server(&["--bogus"]), &["'--bogus'"]),
        (
            server(&["--max-cache-sise", "1"]),
            &["'--max-cache-sise'", "did you mean --max-cache-size?"],
        ),
        (
            server(&["--max-credential-retention-before-renewal", "3 hours"]),
            &[
                "'3 hours'",
                "--max-credential-retention-before-renewal",
                "expected a duration such as 3h",
            ],
        ),
        (
            server(&["--bind-hosts", "somewhere"]),
            &[
                "'somewhere'",
                "--bind-hosts",
                "expected an IP address such as 169.254.170.23",
            ],
        ),
        (
            server(&["--metrics-address", "0.0.0.0:2705"]),
            &["--metrics-address", "expected an IP address"],
        ),
        (
            server(&["--port", "99999"]),
            &["'99999'", "--port", "65535"],
        ),
        (
            server(&["--max-cache-size", "many"]),
            &["'many'", "--max-cache-size", "expected an integer"],
        ),
        (
            server(&["--max-service-qps", "fast"]),
            &["--max-service-qps", "expected a number"],
        ),
        (
            server(&["--endpoint", "ftp://eks-auth.internal"]),
            &["--endpoint", "https://"],
        ),
        (
            server(&["--rotate-credentials=yes"]),
            &["'yes'", "--rotate-credentials", "expected true or false"],
        ),
        (
            server(&["--answer-within", "6m"]),
            &["'6m'", "--answer-within", "from 1ms to 300s"],
        ),
        (
            server(&["--answer-within", "0"]),
            &["--answer-within", "from 1ms to 300s"],
        ),
        (
            server(&["--jwt-svid-duration", "long"]),
            &["'long'", "--jwt-svid-duration", "expected a duration"],
        ),
        (server(&["-v", "loud"]), &["'loud'", "info"]),
    ];
    for (arguments, parts) in table {
        let ended = Program::run(&arguments, &[]).await;
        ended.assert_one_line(64, parts);
        ended.assert_one_line(64, &["--help"]);
    }
}

#[tokio::test]
async fn help_and_version_exit_with_0() {
    let version = env!("CARGO_PKG_VERSION");
    for (arguments, expected) in [
        (
            &["--version"][..],
            format!("pod-identity-agent {version}\n"),
        ),
        (&["-V"], format!("pod-identity-agent {version}\n")),
        (&["version"], format!("{version}\n")),
    ] {
        let ended = Program::run(arguments, &[]).await;
        assert_eq!((ended.code, ended.stdout), (Some(0), expected));
    }
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["server", "--help"],
        &["help", "server"],
    ] {
        let ended = Program::run(arguments, &[]).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(
            ended.stdout.contains("Usage: pod-identity-agent"),
            "{}",
            ended.stdout
        );
    }
}

#[tokio::test]
async fn the_official_flags_exist_with_their_defaults() {
    let help = Program::run(&["server", "--help"], &[]).await.stdout;
    for (flag, default) in [
        ("-c, --cluster-name ", ""),
        ("-p, --port ", "[default: 80]"),
        (
            "-b, --bind-hosts ",
            "[default: 169.254.170.23 fd00:ec2::23]",
        ),
        ("--probe-port ", "[default: 2703]"),
        ("--metrics-address ", "[default: 0.0.0.0]"),
        ("--metrics-port ", "[default: 2705]"),
        (
            "--max-credential-retention-before-renewal ",
            "[default: 3h]",
        ),
        ("--max-cache-size ", "[default: 2000]"),
        ("--max-service-qps ", "[default: 3]"),
        ("--rotate-credentials", "[default: false]"),
        ("--endpoint ", ""),
        ("-v, --verbosity ", "[default: info]"),
    ] {
        let (_, after) = help
            .split_once(flag)
            .unwrap_or_else(|| panic!("{flag}: {help}"));
        let own = after
            .split("\n  -")
            .next()
            .unwrap()
            .split("      --")
            .next()
            .unwrap();
        assert!(own.contains(default), "{flag}: {own}");
    }
}

#[tokio::test]
async fn the_official_flags_are_accepted_as_charts_write_them() {
    let eks = shop().await;
    let more = [
        "--max-credential-retention-before-renewal=1h30m",
        "--max-cache-size=100",
        "--max-service-qps=5",
        "--rotate-credentials=false",
        "-v",
        "info",
    ];
    let endpoint = eks.endpoint();
    let arguments = [
        &arguments(eks.cluster(), &endpoint)[..],
        &more,
        &["-b", "[::1]"],
    ]
    .concat();
    let program = Program::start(&arguments, &environment());
    let said = program.stdout.says("starting").await;
    assert_eq!(said["cluster-name"], eks.cluster());
}

#[tokio::test]
async fn an_outage_is_logged_once_with_its_cause_and_its_end_once() {
    let eks = shop().await;
    let server = Server::start(&eks, &["--answer-within", "100ms"]).await;
    let out = &server.program.stdout;
    eks.stop().await;
    let tokens = [token(&eks), token(&eks)];
    for token in &tokens {
        let answer = client::ask(server.credentials, Request::with_token(token)).await;
        answer.assert_try_again();
    }
    let said = out.says("EKS Auth does not give credentials now").await;
    assert_eq!(said["level"], "warning");
    eks.restart().await.unwrap();
    for token in &tokens {
        client::insist(server.credentials, token).await.key();
    }
    out.says("EKS Auth answers again").await;
    server.program.signal(Signal::TERM);
    out.says("stopping").await;
    assert_eq!(out.said("EKS Auth does not give credentials now").len(), 1);
    assert_eq!(out.said("EKS Auth answers again").len(), 1);
}

#[tokio::test]
async fn a_wrong_cluster_name_is_logged_at_the_first_404_and_the_server_continues() {
    let eks = shop().await;
    let endpoint = eks.endpoint();
    let program = Program::start(&arguments("typo", &endpoint), &environment());
    let address = address_of(&program, "credentials").await;
    for _ in 0..3 {
        assert_eq!(client::insist(address, &token(&eks)).await.status, 404);
    }
    let unknown = "EKS Auth does not know this cluster";
    program.stdout.says(unknown).await;
    let said = program.stdout.said(unknown);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]["error"]
            .as_str()
            .unwrap()
            .contains("No cluster found for name: typo.")
    );
}

#[tokio::test]
async fn probes_and_metrics_have_addresses_of_their_own() {
    let eks = shop().await;
    let server = Server::start(&eks, &[]).await;
    client::insist(server.credentials, &token(&eks)).await.key();
    for address in [server.probes, server.metrics] {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(
                client::ask(address, Request::of(path)).await.status,
                200,
                "{path}"
            );
        }
        let nothing = client::ask(address, Request::of("/v1/credentials")).await;
        assert_eq!(nothing.status, 404);
    }
    assert_eq!(
        client::ask(server.probes, Request::of("/metrics"))
            .await
            .status,
        404
    );
    let page = client::ask(server.metrics, Request::of("/metrics")).await;
    assert_eq!(
        page.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(
        page.body
            .contains("pod_identity_http_response{code=\"200\"} 1\n"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_container_provider_in_the_agents_own_environment_is_never_used() {
    let eks = shop().await;
    let tempting = TcpListener::bind("127.0.0.1:0").unwrap();
    tempting.set_nonblocking(true).unwrap();
    let uri = format!("http://{}/v1/credentials", tempting.local_addr().unwrap());
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "itself"),
    ];
    let server = Server::with(&eks, &["--answer-within", "1s"], &environment).await;
    let answer = client::ask(server.credentials, Request::with_token(&token(&eks))).await;
    answer.assert_try_again();
    assert!(answer.body.contains("credentials"), "{}", answer.body);
    let asked = tempting.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(asked, Err(ErrorKind::WouldBlock));
    assert_eq!(eks.request_count(), 0);
}

fn environment() -> Vec<(&'static str, &'static str)> {
    [&NODE_CREDENTIALS[..], &[("AWS_REGION", "us-west-2")]].concat()
}

/// A port that is occupied until this is dropped.
fn taken_port() -> (TcpListener, String) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    (taken, port)
}

/// The arguments without the first use of a flag that is given twice.
fn replacing<'a>(arguments: &[&'a str], flag: &str) -> Vec<&'a str> {
    let first = arguments
        .iter()
        .position(|argument| *argument == flag)
        .unwrap();
    [&arguments[..first], &arguments[first + 2..]].concat()
}
