use std::net::IpAddr;

use crate::node::addresses::{NODE, NodeAddresses};

/// The largest numbers of open connections.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// From one address.
    pub(crate) per_source: usize,
    /// From the node's own addresses, which host-network pods share.
    pub(crate) per_node_address: usize,
    /// From all addresses, with those that wait for another to close.
    pub(crate) total: usize,
    /// With buffers for a request and its response: those that have sent something.
    pub(crate) buffered: usize,
    /// That have sent nothing for half a second, from one address; likewise with an incomplete request header.
    pub(crate) awaiting_header_per_source: usize,
    /// That have sent nothing for half a second, from all addresses; likewise with an incomplete request header.
    pub(crate) awaiting_header: usize,
    pub(crate) node_addresses: NodeAddresses,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            per_source: 256,
            per_node_address: 1024,
            total: 4096,
            buffered: 4096,
            awaiting_header_per_source: 128,
            awaiting_header: 512,
            node_addresses: NodeAddresses::default(),
        }
    }
}

impl ConnectionLimits {
    /// Lowers the limits to what a process may have that is limited itself.
    ///
    /// It keeps some open files for probes, for EKS Auth and for its own files: three in four of them, or 256 if
    /// that is less. `memory` is in bytes; one pod has a quarter of the buffers at most, and the node half of them.
    pub(crate) fn within(mut self, open_files: usize, memory: u64) -> Self {
        let kept = (open_files / 4 * 3).min(256);
        self.total = self.total.min(open_files - kept);
        let buffered = usize::try_from(memory / MEMORY_PER_BUFFERED).unwrap_or(usize::MAX);
        self.buffered = self.buffered.min(buffered.max(MIN_BUFFERED));
        let half = self.buffered / 2;
        self.per_source = self.per_source.min(half / 2);
        self.per_node_address = self.per_node_address.min(half);
        self.awaiting_header_per_source = self.awaiting_header_per_source.min(half / 4);
        self.awaiting_header = self.awaiting_header.min(half);
        self
    }

    /// With those that were told to close and have not: where the processor is busy, that takes them a while.
    pub(crate) fn with_leaving(&self) -> usize {
        self.total + self.total / 16 + 128
    }

    pub(crate) fn of(&self, source: IpAddr) -> usize {
        if source == NODE {
            self.per_node_address
        } else {
            self.per_source
        }
    }
}

/// The HTTP library allocates 16 KiB for a connection, so that all of them occupy a sixteenth of the memory. More of
/// them would fit, but a container with little memory has little processor: where 2,000 pods start at once before 100
/// millicores, it answers 256 requests at a time before their clients give up, and 512 too late, so that nobody gets
/// credentials.
const MEMORY_PER_BUFFERED: u64 = 256 * 1024;

/// With 16 MiB of memory or less, which is hardly more than the program needs.
const MIN_BUFFERED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_few_open_files_most_are_reserved_for_other_uses() {
        let total = |files| ConnectionLimits::default().within(files, u64::MAX).total;
        assert_eq!([64, 1024, 8192].map(total), [16, 768, 4096]);
    }

    #[test]
    fn buffers_occupy_a_sixteenth_of_the_memory_and_those_of_one_pod_a_quarter_of_that() {
        let limits = |mebibytes: u64| {
            let limits = ConnectionLimits::default().within(8192, mebibytes << 20);
            let of_source = [limits.per_source, limits.per_node_address];
            (limits.buffered, of_source, limits.awaiting_header)
        };
        assert_eq!(limits(8), (64, [16, 32], 32));
        assert_eq!(limits(64), (256, [64, 128], 128));
        assert_eq!(limits(128), (512, [128, 256], 256));
        assert_eq!(limits(u64::MAX >> 20), (4096, [256, 1024], 512));
    }
}
