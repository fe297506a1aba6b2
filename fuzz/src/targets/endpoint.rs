use std::net::IpAddr;

use http::Uri;
use pod_identity_core::{Endpoint, Host, variables};

use super::{Target, of_text};

pub(super) const TARGET: Target = Target {
    name: "endpoint",
    cases: 60_000,
    words: &[
        "http://",
        "https://",
        "@",
        "#",
        "?",
        "/",
        "[::1]",
        "[::ffff:",
        "127.0.0.1",
        "169.254.170.23",
        "localhost",
    ],
    check: || of_text(check),
};

/// An endpoint is what `http::Uri` says, and one of those that are allowed.
fn check(text: &str) {
    let parsed = Endpoint::parse(text);
    let expected = allowed(text);
    assert_eq!(parsed.is_ok(), expected.is_some(), "{parsed:?}");
    if let (Ok(endpoint), Some((uri, port))) = (&parsed, expected) {
        assert_eq!(endpoint.uri(), &uri);
        assert_eq!(endpoint.port(), port);
        assert_eq!(endpoint.is_https(), uri.scheme_str() == Some("https"));
        // Neither the path nor the query, in which there can be a secret.
        let [scheme, authority] = [
            uri.scheme_str(),
            uri.authority().map(|authority| authority.as_str()),
        ]
        .map(Option::unwrap_or_default);
        let printed = format!("Endpoint({scheme}://{authority}/…)");
        assert_eq!(format!("{endpoint:?}"), printed);
        let foreign = endpoint.check_resolved(["10.0.0.7".parse().expect("an address")]);
        let is_foreign = matches!(endpoint.host(), Host::Name(_)) && !endpoint.is_https();
        assert_eq!(foreign.is_err(), is_foreign, "{endpoint:?}");
    }
    let lookup = |name: &str| (name == variables::RELATIVE_URI).then(|| text.to_owned());
    if let Ok(Some(endpoint)) = Endpoint::from_env(lookup) {
        assert_eq!(endpoint.host(), &Host::Address(Endpoint::ECS_IPV4.into()));
        assert_eq!(endpoint.port(), 80);
    }
}

/// The rules again, from what `http::Uri` and the standard library read.
fn allowed(text: &str) -> Option<(Uri, u16)> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?.as_str();
    let default = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?;
    let port = match authority.strip_prefix(host)? {
        "" | ":" => default,
        with_colon => with_colon
            .strip_prefix(':')?
            .parse()
            .ok()
            .filter(|port| *port != 0)?,
    };
    let address = match host.strip_prefix('[') {
        Some(rest) => Some(IpAddr::V6(rest.strip_suffix(']')?.parse().ok()?)),
        None if host.contains(['[', ']', ':']) => return None,
        None => host.parse().ok(),
    };
    let is_near = address.is_none_or(|address: IpAddr| {
        let address = address.to_canonical();
        let agents = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
        address.is_loopback() || agents.contains(&address.to_string().as_str())
    });
    let is_allowed = !text.contains('#') && !authority.contains('@') && (default == 443 || is_near);
    is_allowed.then_some((uri, port))
}
