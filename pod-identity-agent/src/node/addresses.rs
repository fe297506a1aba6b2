use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The addresses that a process on the node itself can call from: those of its interfaces, and ranges such
/// as 127.0.0.0/8, of which a process can choose any address.
///
/// All of them count as one source: otherwise a process with host network would have a share for each address
/// that it can choose, which are millions.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeAddresses(Vec<IpNet>);

impl NodeAddresses {
    /// 127.0.0.0/8 and ::1.
    pub(crate) fn loopback() -> Self {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
        Self(vec![v4.into(), v6.into()])
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }

    /// Returns the source of a caller with this address: its address, or [`NODE`].
    pub(crate) fn source_of(&self, address: IpAddr) -> IpAddr {
        if self.contains(address) {
            NODE
        } else {
            address
        }
    }
}

impl FromIterator<IpNet> for NodeAddresses {
    fn from_iter<I: IntoIterator<Item = IpNet>>(ranges: I) -> Self {
        Self(ranges.into_iter().collect())
    }
}

/// Represents the node among the addresses of sources: no caller has the unspecified address.
pub(crate) const NODE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_the_node_are_one_source_and_every_other_address_is_its_own() {
        let ranges = ["127.0.0.0/8", "::1/128", "10.0.0.1/32"];
        let node: NodeAddresses = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let source_of = |address: &str| node.source_of(address.parse().unwrap());
        for own in ["127.0.0.1", "127.255.3.4", "::1", "10.0.0.1"] {
            assert_eq!(source_of(own), NODE, "{own}");
        }
        for pod in ["10.0.0.2", "128.0.0.1", "fd00::7"] {
            assert_eq!(source_of(pod), pod.parse::<IpAddr>().unwrap());
        }
    }
}
