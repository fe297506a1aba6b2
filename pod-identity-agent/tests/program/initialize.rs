//! `initialize` and `--watch-link`, as root only: in networks of their own, with links of the kind `ifb`.
//! `conformance/initialize` does the same with a dummy link on a kernel of its own.

use rustix::process::Signal;
use tokio::time::sleep;

use crate::support::namespace::Namespace;
use crate::support::process::Program;
use crate::support::{SECOND, soon};

const INITIALIZE: &str = "$0 initialize --link-kind ifb";

#[test]
fn it_can_be_made_checked_and_removed_as_often_as_one_likes() {
    let Some(network) = Namespace::new() else {
        return;
    };
    let state = || network.run("ip -o address show; ip route; ip -6 route").1;
    let before = state();
    let (code, log) = network.run("$0 initialize --check");
    assert_eq!(code, Some(1));
    assert!(log.contains("the link pod-id-link0 is not there"), "{log}");
    assert_eq!(state(), before, "--check changes nothing");

    assert_eq!(network.run(INITIALIZE).0, Some(0));
    let made = state();
    for part in [
        "169.254.170.23/32",
        "fd00:ec2::23/128",
        "169.254.170.23 dev pod-id-link0",
    ] {
        assert!(made.contains(part), "no {part} in {made}");
    }
    let unprivileged =
        format!("setpriv --bounding-set=-net_admin --inh-caps=-net_admin {INITIALIZE}");
    for again in [INITIALIZE, &unprivileged] {
        let (code, log) = network.run(again);
        assert_eq!(code, Some(0), "{log}");
    }
    assert_eq!(network.run("$0 initialize --check").0, Some(0));
    assert_eq!(state(), made);

    for log in ["the link is removed", "nothing was removed"] {
        let (code, text) = network.run("$0 initialize --remove");
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(log), "{text}");
    }
    assert_eq!(state(), before);
}

#[test]
fn what_is_missing_is_named_by_check_and_added() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network.run(INITIALIZE);
    for (taken, named) in [
        (
            "ip link set pod-id-link0 down",
            "the link pod-id-link0 is down",
        ),
        (
            "ip address del 169.254.170.23/32 dev pod-id-link0",
            "does not have 169.254.170.23",
        ),
        (
            "ip route del 169.254.170.23/32 dev pod-id-link0",
            "no route leads to 169.254.170.23",
        ),
        (
            "ip address del fd00:ec2::23/128 dev pod-id-link0",
            "does not have fd00:ec2::23",
        ),
    ] {
        let (_code, text) = network.run(taken);
        let (code, log) = network.run("$0 initialize --check");
        assert_eq!(code, Some(1), "{taken}: {text}");
        assert!(log.contains(named), "{taken}: {log}");
        let (code, log) = network.run(INITIALIZE);
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(network.run("$0 initialize --check").0, Some(0), "{taken}");
    }
}

/// Each message ends in the command that mends it.
#[test]
fn what_something_else_holds_is_an_error_with_the_command_that_mends_it() {
    for (taken, command) in [
        (
            "ip address add 169.254.170.23/24 dev other",
            "ip address del 169.254.170.23/24 dev other",
        ),
        (
            "ip route add 169.254.170.23 dev other",
            "ip route del 169.254.170.23/32 dev other",
        ),
        (
            "ip route add unreachable 169.254.170.23",
            "ip route del unreachable 169.254.170.23/32",
        ),
        (
            "ip route add blackhole 169.254.170.23",
            "ip route del blackhole 169.254.170.23/32",
        ),
        (
            "ip route add prohibit 169.254.170.23",
            "ip route del prohibit 169.254.170.23/32",
        ),
        (
            "ip address add 10.9.0.5 peer 169.254.170.23 dev other",
            "ip address del 10.9.0.5 peer 169.254.170.23/32 dev other",
        ),
        (
            "ip address add 169.254.170.23 peer 10.9.0.6 dev other",
            "ip address del 169.254.170.23 peer 10.9.0.6/32 dev other",
        ),
        (
            "ip route add 169.254.170.23 nexthop via 10.7.0.2 dev other nexthop via 10.8.0.2 dev other",
            "ip route del 169.254.170.23/32 dev other",
        ),
        (
            "ip route add 169.254.170.23 dev other tos 0x10",
            "ip route del 169.254.170.23/32 dev other tos 0x10",
        ),
        (
            "ip route add blackhole 169.254.170.23 tos 0x08",
            "ip route del blackhole 169.254.170.23/32 tos 0x08",
        ),
        (
            "ip nexthop add id 7 via 10.7.0.2 dev other && ip route add 169.254.170.23 nhid 7",
            "ip route del 169.254.170.23/32 nhid 7",
        ),
        (
            "ip nexthop add id 7 blackhole && ip route add 169.254.170.23 nhid 7",
            "ip route del 169.254.170.23/32 nhid 7",
        ),
    ] {
        let Some(network) = Namespace::new() else {
            return;
        };
        network.run(
            "ip link add name other type ifb; ip link set other up; \
             ip address add 10.7.0.1/24 dev other; ip address add 10.8.0.1/24 dev other",
        );
        assert_eq!(network.run(taken).0, Some(0), "{taken}");
        let (code, text) = network.run(INITIALIZE);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("`{command}`")), "{text}");
        let there = network.run("ip link show pod-id-link0").0;
        assert_eq!(there, Some(1), "nothing was made");
        assert_eq!(network.run(command).0, Some(0), "{command}");
        assert_eq!(network.run(INITIALIZE).0, Some(0), "{command}");
    }
}

/// The kernel finds it by that name too.
#[test]
fn a_link_of_another_name_is_neither_taken_for_the_agents_nor_removed() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network
        .run("ip link add name eth7 type ifb; ip link property add dev eth7 altname pod-id-link0");
    for command in [
        INITIALIZE,
        "$0 initialize --check",
        "$0 initialize --remove",
    ] {
        let (code, text) = network.run(command);
        assert_eq!(code, Some(1), "{command}: {text}");
        assert!(text.contains("an alternative name"), "{text}");
    }
    let (code, text) = network.run("ip address show dev eth7");
    assert_eq!(code, Some(0), "it is still there");
    assert!(!text.contains("169.254.170.23"), "{text}");
    let named = "ip link property del dev pod-id-link0 altname pod-id-link0";
    assert_eq!(network.run(named).0, Some(0));
    assert_eq!(network.run(INITIALIZE).0, Some(0));
}

#[test]
fn without_ipv6_the_ipv4_address_is_enough() {
    let Some(network) = Namespace::new() else {
        return;
    };
    // What is there with IPv6 and unreachable stands in nobody's way.
    network.run("ip -6 route add unreachable fd00:ec2::23");
    let (code, log) = network.run(INITIALIZE);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the IPv6 address is not reachable"), "{log}");
    assert!(
        log.contains("`ip route del unreachable fd00:ec2::23/128`"),
        "{log}"
    );
    assert_eq!(network.run("$0 initialize --check").0, Some(1));
    let off = "mount -t proc proc /proc; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6";
    let (code, log) = network.run(&format!(
        "unshare --mount sh -c '{off}; \"$0\" initialize --check' $0"
    ));
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test]
async fn a_watched_link_that_goes_is_counted_and_put_back_at_once() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network.run(INITIALIZE);
    let agent = watching(&network, &[]);
    agent.stdout.says_times(4, "listening").await;
    // It does not look while the link is just going.
    soon(until_reachable(&network)).await;
    for (times, taken, said) in [
        (
            1,
            "ip link del pod-id-link0",
            "the link pod-id-link0 is not there",
        ),
        (
            2,
            "ip address del 169.254.170.23/32 dev pod-id-link0",
            "pod-id-link0 does not have 169.254.170.23",
        ),
        (
            3,
            "ip link set pod-id-link0 down",
            "the link pod-id-link0 is down",
        ),
    ] {
        assert_eq!(network.run(taken).0, Some(0));
        agent.stdout.says(said).await;
        agent
            .stdout
            .says_times(times, "the agent's addresses are reachable again")
            .await;
        assert_eq!(network.run("$0 initialize --check").0, Some(0), "{taken}");
    }
    let metrics = metrics(&network);
    for series in ["pod_identity_link_lost 3", "pod_identity_link_reachable 1"] {
        assert!(
            metrics.lines().any(|line| line == series),
            "no {series} in {metrics}"
        );
    }
    let (_code, answer) = network.run(&format!(
        "exec bash -c '{}'",
        METRICS.replace("127.0.0.1/2705", "169.254.170.23/80")
    ));
    assert!(answer.contains("404"), "it still listens: {answer}");
}

/// `initialize` accepts that, and the node has lost nothing of what it had.
#[tokio::test]
async fn beside_an_ipv6_address_that_something_else_holds_losses_are_counted_and_it_is_said_once() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network.run("ip -6 route add unreachable fd00:ec2::23");
    network.run(INITIALIZE);
    let agent = watching(&network, &[]);
    let refused = "the IPv6 address is not reachable";
    agent.stdout.says(refused).await;
    for loss in 1..=2 {
        network.run("ip link del pod-id-link0");
        let said = "the link pod-id-link0 is not there";
        agent.stdout.says_times(loss, said).await;
        // It says so of the IPv6 part when it has put back the rest.
        agent.stdout.says_times(loss + 1, refused).await;
    }
    let metrics = metrics(&network);
    assert!(
        metrics.contains("\npod_identity_link_lost 3\n"),
        "{metrics}"
    );
}

/// The remedy for a node without IPv6 is to leave that address out.
#[tokio::test]
async fn an_address_that_the_agent_does_not_serve_is_no_loss() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network.run("ip -6 route add unreachable fd00:ec2::23");
    network.run(INITIALIZE);
    let agent = watching(&network, &["-b", "169.254.170.23"]);
    soon(until_reachable(&network)).await;
    network.run("ip link del pod-id-link0");
    let again = "the agent's addresses are reachable again";
    agent.stdout.says(again).await;
    assert!(metrics(&network).contains("\npod_identity_link_lost 1\n"));
    agent.signal(Signal::TERM);
    let log = agent.end().await.stdout;
    assert!(
        !log.contains("IPv6") && !log.contains("fd00:ec2::23"),
        "{log}"
    );
}

#[tokio::test]
async fn a_watch_that_may_change_nothing_says_what_it_takes() {
    let Some(network) = Namespace::new() else {
        return;
    };
    network.run(INITIALIZE);
    let mut command = network.command();
    command.args([
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
    ]);
    let agent = Program::under(
        command.into(),
        &[&SERVER[..], &["--watch-link"]].concat(),
        REGION,
    );
    agent.stdout.says_times(4, "listening").await;
    network.run("ip link del pod-id-link0");
    agent
        .stdout
        .says("the link pod-id-link0 is not there")
        .await;
    let refused = soon(
        agent
            .stdout
            .says("the agent's addresses cannot be put back"),
    )
    .await;
    assert!(
        refused["error"].as_str().unwrap().contains("CAP_NET_ADMIN"),
        "{refused}"
    );
}

fn watching(network: &Namespace, more: &[&str]) -> Program {
    let watched = ["--watch-link", "--link-kind", "ifb"];
    let arguments = [&SERVER[..], &watched, more].concat();
    Program::under(network.command().into(), &arguments, REGION)
}

/// Waits until the watch has looked, and nothing is missing.
async fn until_reachable(network: &Namespace) {
    while !metrics(network).contains("\npod_identity_link_reachable 1\n") {
        sleep(SECOND / 100).await;
    }
}

fn metrics(network: &Namespace) -> String {
    network.run(&format!("exec bash -c '{METRICS}'")).1
}

const METRICS: &str =
    r#"exec 3<>/dev/tcp/127.0.0.1/2705; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3"#;

const SERVER: [&str; 5] = [
    "server",
    "--cluster-name",
    "shop",
    "--endpoint",
    "http://127.0.0.1:9",
];

const REGION: &[(&str, &str)] = &[
    ("AWS_REGION", "us-west-2"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];
