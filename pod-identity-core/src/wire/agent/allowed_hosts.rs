use std::net::IpAddr;

use crate::Endpoint;
use crate::wire::agent::Refusal;

/// The hosts that the `Host` header of a request may name.
///
/// The check protects against DNS rebinding: a web page whose host name resolves to the agent's address still
/// sends its own name. The two official addresses, [`Endpoint::EKS_IPV4`] and [`Endpoint::EKS_IPV6`], are always
/// allowed.
///
/// ```
/// use pod_identity_core::wire::agent::AllowedHosts;
///
/// let hosts = AllowedHosts::new(["127.0.0.1".parse().unwrap()]);
/// assert!(hosts.check("127.0.0.1:8080").is_ok());
/// assert!(hosts.check("[fd00:ec2::23]").is_ok());
/// assert_eq!(
///     hosts.check("rebind.example:80").unwrap_err().to_string(),
///     "Access Denied. Called agent through invalid address, please use either \
///      [169.254.170.23 fd00:ec2::23] address not rebind.example",
/// );
/// ```
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    addresses: Vec<IpAddr>,
    /// The addresses as they are usually written, too. Most clients write them so, and no parser is needed then.
    names: Vec<String>,
}

impl AllowedHosts {
    /// Allows the two official addresses and `addresses`, usually those that the server listens on.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let official = [Endpoint::EKS_IPV4.into(), Endpoint::EKS_IPV6.into()];
        let addresses: Vec<IpAddr> = official.into_iter().chain(addresses).collect();
        let names = addresses.iter().map(IpAddr::to_string).collect();
        Self { addresses, names }
    }

    /// Also allows these host names, regardless of case.
    pub fn with_names(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names.extend(names);
        self
    }

    /// Checks the value of a `Host` header. Pass an empty value for an absent header.
    ///
    /// A port and brackets are removed first. An IPv6 address without brackets is allowed, too, because the AWS
    /// Common Runtime sends it so.
    ///
    /// # Errors
    /// [`Refusal::HostNotAllowed`], which names the host without its port, or only says how long it is if it is longer
    /// than a host name can be: that may be a token.
    pub fn check(&self, host: &str) -> Result<(), Refusal> {
        if self.contains(without_brackets(host)) {
            return Ok(());
        }
        if let Some((without_port, port)) = host.rsplit_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && self.contains(without_brackets(without_port))
        {
            return Ok(());
        }
        let without_port = without_brackets(without_port(host));
        let can_be_name = without_port.len() <= LONGEST_NAME
            && without_port.split('.').all(|it| it.len() <= LONGEST_LABEL);
        let host = match can_be_name {
            true => without_port.to_owned(),
            false => format!("<{} bytes>", without_port.len()),
        };
        Err(Refusal::HostNotAllowed { host })
    }

    fn contains(&self, host: &str) -> bool {
        // Without case last: it costs more than the parser.
        self.names.iter().any(|name| name == host)
            || host
                .parse()
                .is_ok_and(|address| self.addresses.contains(&address))
            || self
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// In bytes. Source: RFC 1035, section 2.3.4.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What follows the last colon of an IPv6 address without brackets is no port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _port)) if name.ends_with(']') || !name.contains(':') => name,
        _ => host,
    }
}

fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_a_host_name_is_not_repeated() {
        let hosts = AllowedHosts::new([]);
        let refused = |host: &str| hosts.check(host).unwrap_err().to_string();
        let token = format!("eyJhbGciOiJFUzI1NiJ9.e30.{}", "s".repeat(86));
        for host in [&token, &format!("{token}:80"), &"label.".repeat(43)] {
            let refusal = refused(host);
            assert!(refusal.ends_with(" bytes>"), "{refusal}");
            assert!(!refusal.contains("eyJ") && !refusal.contains("label"));
        }
        let longest = ["a".repeat(63), "b".repeat(63)].join(".");
        assert!(refused(&longest).ends_with(&longest));
    }

    #[test]
    fn a_refusal_names_the_host_without_port_and_brackets_as_the_official_agent_does() {
        let hosts = AllowedHosts::new([]);
        for (host, named) in [
            ("rebind.example", "rebind.example"),
            ("rebind.example:80", "rebind.example"),
            ("rebind.example:", "rebind.example"),
            ("[::1]", "::1"),
            ("[::1]:80", "::1"),
            ("[fd00::1]:", "fd00::1"),
            ("fd00::1", "fd00::1"),
            ("[fd00:ec2::23%eth0]", "fd00:ec2::23%eth0"),
            ("[fd00:ec2::23", "[fd00:ec2::23"),
            ("[fd00:ec2::23]x", "[fd00:ec2::23]x"),
            ("[[fd00:ec2::23]]", "[fd00:ec2::23]"),
            ("169.254.170.23:80:80", "169.254.170.23:80:80"),
            ("", ""),
        ] {
            let refusal = hosts.check(host).unwrap_err();
            assert_eq!(
                refusal,
                Refusal::HostNotAllowed { host: named.into() },
                "{host}"
            );
        }
    }

    #[test]
    fn a_host_is_allowed_with_and_without_port_and_brackets() {
        let hosts = AllowedHosts::new(["127.0.0.1".parse().unwrap()]);
        for allowed in [
            "169.254.170.23",
            "169.254.170.23:80",
            "[fd00:ec2::23]",
            "[fd00:ec2::23]:80",
            "fd00:ec2::23",
            "[fd00:ec2:0::23]",
            "127.0.0.1:8080",
        ] {
            assert!(hosts.check(allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "",
            "localhost",
            "evil.example:80",
            "169.254.169.254",
            "[::1]:80",
            "169.254.170.23.evil",
            "169.254.170.23:80@rebind.example",
            "[[169.254.170.23]]",
            "[169.254.170.23",
        ] {
            assert!(hosts.check(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_name_is_allowed_in_any_case_once_it_is_added() {
        let hosts = AllowedHosts::new([]).with_names(["localhost".to_owned()]);
        assert!(hosts.check("LocalHost:8080").is_ok());
        assert!(hosts.check("localhost.evil").is_err());
    }
}
