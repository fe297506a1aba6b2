use std::net::IpAddr;

use pod_identity_core::Endpoint;

use crate::agent::refusal::Refusal;

/// The names under which the agent may be called.
#[derive(Debug)]
pub(crate) struct Hosts {
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl Hosts {
    /// The two fixed addresses, the one that is bound, and what the test allows.
    pub(crate) fn new(bound: IpAddr, names: Vec<String>) -> Self {
        let fixed = [Endpoint::EKS_IPV4.into(), Endpoint::EKS_IPV6.into()];
        Self {
            addresses: fixed.into_iter().chain([bound]).collect(),
            names,
        }
    }

    /// A port and brackets are taken off first; one SDK sends an IPv6 address without brackets.
    pub(crate) fn check(&self, sent: &str) -> Result<(), Refusal> {
        let without_port = sent.rsplit_once(':').map_or(sent, |(host, _port)| host);
        if self.knows(bare(sent)) || self.knows(bare(without_port)) {
            Ok(())
        } else {
            Err(Refusal::Host(bare(without_port).to_owned()))
        }
    }

    fn knows(&self, host: &str) -> bool {
        let is_address = host
            .parse()
            .is_ok_and(|address| self.addresses.contains(&address));
        is_address
            || self
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
