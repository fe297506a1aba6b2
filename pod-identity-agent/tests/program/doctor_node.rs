//! `doctor` on a node: each finding is provoked and recognised.

use std::net::TcpListener as StdListener;
use std::sync::Arc;

use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Clock, SystemClock};
use pod_identity_testkit::{MockEksAuth, ServiceError, SettableClock};
use serde_json::Value;

use super::doctor::{Canned, finding, outcome, read};
use crate::support::namespace::Namespace;
use crate::support::process::{NODE_CREDENTIALS, NODE_SECRET, Program, Server};
use crate::support::shop::shop;
use crate::support::{MINUTE, soon};

#[tokio::test]
async fn before_a_healthy_agent_every_step_to_eks_auth_is_fine() {
    let eks = shop().await;
    let agent = Server::start(&eks, &[]).await;
    let report = examine(&Place::of(&agent, &eks), &NODE_CREDENTIALS).await;
    for step in [
        "ports",
        "agent",
        "own credentials",
        "EKS Auth",
        "permission",
        "clock",
    ] {
        assert_eq!(outcome(&report, step), "fine", "{report:#}");
    }
    assert_eq!(report["healthy"], true, "{report:#}");
    let text = report.to_string();
    assert!(text.contains("InvalidTokenException"), "{text}");
    assert!(!text.contains(NODE_SECRET), "{text}");
}

#[tokio::test]
async fn what_the_agent_lacks_to_ask_eks_auth_is_told_apart() {
    let eks = shop().await;
    let nowhere = closed_port();
    let here = Place::nowhere(&eks.endpoint());
    let away = Place::nowhere(&format!("http://127.0.0.1:{nowhere}"));
    let bundle = [&NODE_CREDENTIALS[..], &[("AWS_CA_BUNDLE", "/nonexistent")]].concat();
    let no_region = [&NODE_CREDENTIALS[..], &[("AWS_REGION", " ")]].concat();
    for (place, environment, step, code) in [
        (&here, &[][..], "own credentials", "no-node-credentials"),
        (&here, &no_region, "own credentials", "no-region"),
        (&here, &bundle, "own credentials", "misconfigured"),
        (
            &away,
            &NODE_CREDENTIALS,
            "EKS Auth",
            "eks-auth-out-of-reach",
        ),
    ] {
        let report = examine(place, environment).await;
        assert_eq!(outcome(&report, step), "fault", "{report:#}");
        assert!(finding(&report, code).is_some(), "{code}: {report:#}");
        assert_eq!(outcome(&report, "permission"), "skipped");
    }
}

#[tokio::test]
async fn a_role_that_may_not_ask_and_an_unknown_cluster_are_told_apart() {
    let eks = shop().await;
    let message = "User: node is not authorized to perform: eks-auth:AssumeRoleForPodIdentity";
    eks.inject_always(ServiceError::from(ErrorCode::AccessDenied).message(message));
    let report = examine(&Place::nowhere(&eks.endpoint()), &NODE_CREDENTIALS).await;
    assert_eq!(
        finding(&report, "node-not-allowed").unwrap()["detail"],
        message
    );
    eks.clear_faults();
    let other = Place {
        cluster: "other".to_owned(),
        ..Place::nowhere(&eks.endpoint())
    };
    let report = examine(&other, &NODE_CREDENTIALS).await;
    assert!(finding(&report, "no-cluster").is_some(), "{report:#}");
}

#[tokio::test]
async fn a_clock_that_is_minutes_behind_is_told() {
    let clock = Arc::new(SettableClock::at(SystemClock.now() + 10 * MINUTE));
    let eks = MockEksAuth::builder().clock(clock).start();
    let eks = soon(eks).await.unwrap();
    let report = examine(&Place::nowhere(&eks.endpoint()), &NODE_CREDENTIALS).await;
    assert!(finding(&report, "clock").is_some(), "{report:#}");
}

#[tokio::test]
async fn a_proxy_before_eks_auth_is_named_without_its_password() {
    let proxy = StdListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let url = format!("http://user:password@{address}");
    let place = Place::nowhere("https://eks-auth.us-west-2.api.aws");
    let environment = [&NODE_CREDENTIALS[..], &[("HTTPS_PROXY", url.as_str())]].concat();
    let report = examine(&place, &environment).await;
    drop(proxy);
    let text = report.to_string();
    assert!(
        text.contains(&format!(
            "eks-auth.us-west-2.api.aws through the proxy {address}"
        )),
        "{text}"
    );
    assert!(!text.contains("password"), "{text}");
}

#[tokio::test]
async fn who_holds_the_ports_and_what_answers_there_is_told() {
    let eks = shop().await;
    let ours = StdListener::bind("127.0.0.1:0").unwrap();
    let port = ours.local_addr().unwrap().port();
    let place = Place {
        port,
        ..Place::nowhere(&eks.endpoint())
    };
    let report = examine(&place, &NODE_CREDENTIALS).await;
    let detail = finding(&report, "port-taken").unwrap()["detail"].to_string();
    let id = format!("(process {})", std::process::id());
    assert!(detail.contains(&id), "{detail}");
    assert!(finding(&report, "probes-silent").is_some(), "{report:#}");
    drop(ours);
    let report = examine(&place, &NODE_CREDENTIALS).await;
    assert!(finding(&report, "not-listening").is_some(), "{report:#}");

    let other = Canned::start(200, "", "hello").await;
    let silent = Canned::silent().await;
    let unready = Canned::start(503, "", "not yet, for a new reason").await;
    for (address, code) in [
        (other.address, "another-server"),
        (silent.address, "no-answer"),
    ] {
        let place = Place {
            port: address.port(),
            probes: unready.address.port(),
            ..Place::nowhere(&eks.endpoint())
        };
        let report = examine(&place, &NODE_CREDENTIALS).await;
        assert!(finding(&report, code).is_some(), "{code}: {report:#}");
        assert!(finding(&report, "not-ready").is_some(), "{report:#}");
    }
}

/// An agent cannot listen at all addresses beside a program that listens at one of them.
#[tokio::test]
async fn who_holds_the_port_of_the_metrics_at_one_address_keeps_the_agent_from_all() {
    let place = Place::nowhere("http://127.0.0.1:9");
    let held = StdListener::bind(("127.0.0.1", place.metrics)).unwrap();
    let all = ["--metrics-address", "0.0.0.0"];
    let report = examine_with(&place, &NODE_CREDENTIALS, &all).await;
    let detail = finding(&report, "port-taken").unwrap()["detail"].to_string();
    let address = held.local_addr().unwrap().to_string();
    assert!(detail.contains(&address), "{detail}");
}

#[tokio::test]
async fn where_the_keys_of_the_cluster_come_from_is_told_and_why_they_are_missing_or_old() {
    let eks = shop().await;
    let endpoint = eks.endpoint();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let cache = format!("--key-cache={}", file.display());
    let flags = ["--oidc-issuer", &endpoint, &cache];
    let agent = Server::start(&eks, &flags).await;
    let log = &agent.program.stdout;
    log.says("tokens are verified with the keys of the cluster")
        .await;
    let report = examine_with(&Place::of(&agent, &eks), &NODE_CREDENTIALS, &flags).await;
    assert_eq!(outcome(&report, KEYS), "fine", "{report:#}");
    let text = report.to_string();
    assert!(
        text.contains("1 key from issuer, fetched 0 min ago"),
        "{text}"
    );
    soon(async {
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(agent);

    eks.set_issuer_outage(true);
    let agent = Server::start(&eks, &flags).await;
    let report = examine_with(&Place::of(&agent, &eks), &NODE_CREDENTIALS, &flags).await;
    assert_eq!(outcome(&report, KEYS), "advice", "{report:#}");
    let detail = finding(&report, "old-token-keys").unwrap()["detail"].to_string();
    assert!(
        detail.contains("1 key from disk, stored 0 min ago; issuer: "),
        "{detail}"
    );
    drop(agent);

    let flags = ["--oidc-issuer", &endpoint, "--key-cache=off"];
    let agent = Server::start(&eks, &flags).await;
    let log = &agent.program.stdout;
    log.says("tokens are not verified").await;
    let place = Place::of(&agent, &eks);
    for (flags, reason) in [
        (&flags[..], "issuer: "),
        (&[], "neither an API server nor an issuer is known"),
    ] {
        let report = examine_with(&place, &NODE_CREDENTIALS, flags).await;
        assert_eq!(outcome(&report, KEYS), "advice", "{report:#}");
        let detail = finding(&report, "no-token-keys").unwrap()["detail"].to_string();
        assert!(detail.contains(reason), "{detail}");
    }
    let off = ["--verify-tokens=false"];
    let report = examine_with(&place, &NODE_CREDENTIALS, &off).await;
    assert_eq!(outcome(&report, KEYS), "skipped", "{report:#}");
}

const KEYS: &str = "token keys";

/// As root only: in networks of their own.
#[test]
fn what_is_wrong_with_link_addresses_and_routes_is_told_apart() {
    let make = "$0 initialize --link-kind ifb >/dev/null";
    for (script, code) in [
        ("true", "link-missing"),
        ("MAKE; ip link set pod-id-link0 down", "link-down"),
        (
            "MAKE; ip address del 169.254.170.23/32 dev pod-id-link0",
            "address-missing",
        ),
        (
            "MAKE; ip route del 169.254.170.23 dev pod-id-link0",
            "route-missing",
        ),
        (
            "MAKE; ip address add 169.254.170.23/16 dev lo",
            "address-elsewhere",
        ),
        ("ip route add 169.254.170.23 dev lo", "route-elsewhere"),
        ("ip route add unreachable 169.254.170.23", "route-refuses"),
    ] {
        let Some(network) = Namespace::new() else {
            return;
        };
        let doctor = "AWS_EC2_METADATA_DISABLED=true AWS_REGION=us-west-2 $0 doctor node --json --timeout 100ms";
        let script = format!(
            "({}) >/dev/null 2>&1; {doctor}",
            script.replace("MAKE", make)
        );
        let (code_of_exit, report) = network.json(&script);
        assert_eq!(code_of_exit, Some(8), "{report:#}");
        assert!(finding(&report, code).is_some(), "{code}: {report:#}");
    }
}

/// As root only. What is missing cannot be made while something else is in the way, and an agent that does not serve an
/// address has no need of it.
#[test]
fn what_is_in_the_way_of_an_address_comes_first_and_one_that_is_not_served_is_left_out() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network.run("ip -6 route add unreachable fd00:ec2::23; $0 initialize --link-kind ifb");
    let doctor =
        "AWS_EC2_METADATA_DISABLED=true AWS_REGION=us-west-2 $0 doctor node --json --timeout 100ms";
    let (_code, report) = network.json(doctor);
    assert_eq!(report["fault"], "route-refuses", "{report:#}");
    assert!(finding(&report, "address-missing").is_some(), "{report:#}");
    let one = format!("{doctor} -- --cluster-name shop --bind-hosts 169.254.170.23");
    let (_code, report) = network.json(&one);
    assert_eq!(outcome(&report, "link"), "fine", "{report:#}");
}

/// As root only.
#[tokio::test]
async fn the_agent_whose_flags_count_is_that_of_the_same_network() {
    let Some(network) = Namespace::new() else {
        return;
    };
    let doctor =
        "AWS_EC2_METADATA_DISABLED=true AWS_REGION=us-west-2 $0 doctor node --json --timeout 100ms";
    let eks = shop().await;
    let _elsewhere = Server::start(&eks, &[]).await;
    let (_code, report) = network.json(doctor);
    assert!(finding(&report, "link-missing").is_some(), "{report:#}");
    // Without its addresses the agent's ports are free, which is not to be read as held by it.
    assert!(
        report.to_string().contains("nobody holds one"),
        "{report:#}"
    );

    let server = "server --cluster-name shop --bind-hosts 127.0.0.1 --port 0 --probe-port 0 --metrics-port 0";
    let server: Vec<_> = server.split(' ').collect();
    let region = [("AWS_REGION", "us-west-2")];
    let here = Program::under(network.command().into(), &server, &region);
    here.stdout.says("listening").await;
    let (_code, report) = network.json(doctor);
    // It serves on loopback, which needs no link.
    assert_eq!(outcome(&report, "link"), "skipped", "{report:#}");
}

/// As root only.
#[test]
fn a_node_without_ipv6_is_advice_and_no_fault() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network.run("$0 initialize --link-kind ifb");
    let off = "mount -t proc proc /proc; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
    let doctor = "AWS_EC2_METADATA_DISABLED=true \"$0\" doctor node --json --timeout 100ms";
    let (_code, report) = network.json(&format!("unshare --mount sh -c '{off}; {doctor}' $0"));
    assert_eq!(outcome(&report, "link"), "fine", "{report:#}");
    assert_eq!(outcome(&report, "IPv6"), "advice", "{report:#}");
    assert!(finding(&report, "no-ipv6").is_some(), "{report:#}");
}

/// Where the agent of a test is.
struct Place {
    cluster: String,
    endpoint: String,
    port: u16,
    probes: u16,
    metrics: u16,
}

impl Place {
    fn of(agent: &Server, eks: &MockEksAuth) -> Self {
        Self {
            cluster: eks.cluster().to_owned(),
            endpoint: eks.endpoint(),
            port: agent.credentials.port(),
            probes: agent.probes.port(),
            metrics: agent.metrics.port(),
        }
    }

    fn nowhere(endpoint: &str) -> Self {
        let [port, probes, metrics] = [(); 3].map(|()| closed_port());
        Self {
            cluster: "test-cluster".to_owned(),
            endpoint: endpoint.to_owned(),
            port,
            probes,
            metrics,
        }
    }
}

fn closed_port() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn examine(place: &Place, environment: &[(&str, &str)]) -> Value {
    examine_with(place, environment, &[]).await
}

async fn examine_with(place: &Place, environment: &[(&str, &str)], more: &[&str]) -> Value {
    let [port, probes, metrics] =
        [place.port, place.probes, place.metrics].map(|port| port.to_string());
    let flags = [
        "doctor",
        "node",
        "--json",
        "--",
        "--cluster-name",
        &place.cluster,
        "--endpoint",
        &place.endpoint,
        "--bind-hosts",
        "127.0.0.1",
        "--port",
        &port,
        "--probe-port",
        &probes,
        "--metrics-address",
        "127.0.0.1",
        "--metrics-port",
        &metrics,
    ];
    let region = [
        ("AWS_REGION", "us-west-2"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let environment = [&region[..], environment].concat();
    let flags = [&flags[..], more].concat();
    let report = read(&Program::run(&flags, &environment).await);
    // An agent that serves on loopback needs no link.
    assert_eq!(outcome(&report, "link"), "skipped", "{report:#}");
    report
}
