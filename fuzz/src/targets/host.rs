use std::net::IpAddr;

use http::uri::Authority;
use pod_identity_core::wire::agent::AllowedHosts;

use super::{Target, of_text};

pub(super) const TARGET: Target = Target {
    name: "host",
    cases: 60_000,
    words: &[
        "169.254.170.23",
        "fd00:ec2::23",
        "127.0.0.1",
        "[",
        "]",
        ":",
        ":80",
        "@",
        "localhost",
        "evil.example",
    ],
    check: || of_text(check),
};

/// A `Host` that is allowed is an allowed address or name, however it is read.
fn check(text: &str) {
    let loopback: IpAddr = "127.0.0.1".parse().expect("an address");
    let hosts = AllowedHosts::new([loopback]).with_names(["localhost".to_owned()]);
    let is_one = |host: &str| {
        let host = host
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'))
            .unwrap_or(host);
        let addresses = ["169.254.170.23", "fd00:ec2::23", "127.0.0.1"];
        let address = host.parse::<IpAddr>().map(|it| it.to_string());
        host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|it| addresses.contains(&it.as_str()))
    };
    let is_allowed = hosts.check(text).is_ok();
    match text.parse::<Authority>() {
        // An IPv6 address without brackets is no authority, and may begin like one.
        Ok(authority) if text.parse::<IpAddr>().is_err() => {
            assert!(
                !is_allowed || is_one(authority.host()),
                "it is {}",
                authority.host()
            );
            let rest = text.strip_prefix(authority.host());
            let is_plain = rest.is_some_and(|rest| {
                let port = rest.strip_prefix(':').unwrap_or(rest);
                rest.is_empty() || port != rest && port.bytes().all(|it| it.is_ascii_digit())
            });
            assert!(
                is_allowed || !is_plain || !is_one(authority.host()),
                "{} is refused",
                authority.host()
            );
        }
        _ => assert_eq!(
            is_allowed,
            is_one(text)
                || text.rsplit_once(':').is_some_and(
                    |(it, port)| is_one(it) && port.bytes().all(|it| it.is_ascii_digit())
                )
        ),
    }
}
