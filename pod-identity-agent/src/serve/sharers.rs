use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::warn;

/// One listener at an address that others of the same user can share.
///
/// While one agent takes over from another, both listen for some seconds. Whoever shares the address for
/// longer gets a part of the requests, with their tokens, and should be known.
#[derive(Debug)]
pub(crate) struct SharedListener {
    address: SocketAddr,
    inode: u64,
}

impl SharedListener {
    /// # Errors
    /// Fails when the operating system does not tell the socket's address or number.
    pub(crate) fn of(listener: &TcpListener) -> io::Result<Self> {
        let socket = File::from(listener.as_fd().try_clone_to_owned()?);
        Ok(Self {
            address: listener.local_addr()?,
            inode: socket.metadata()?.ino(),
        })
    }

    /// Logs a warning while another process has shared the address for some minutes. Runs until dropped.
    pub(crate) async fn watch(self) {
        let mut looks = 0_u32;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let uids = self.uids_of_others().unwrap_or_default();
            looks = if uids.is_empty() { 0 } else { looks + 1 };
            if is_worth_a_line(looks) {
                warn!(address = %self.address, ?uids, "another process listens at the address, and gets a share of the requests with their tokens");
            }
        }
    }

    /// The users of the other sockets that listen at the address.
    fn uids_of_others(&self) -> io::Result<Vec<u32>> {
        let table = match self.address.ip() {
            IpAddr::V4(_) => fs::read_to_string("/proc/net/tcp"),
            IpAddr::V6(_) => fs::read_to_string("/proc/net/tcp6"),
        }?;
        let at = in_table(self.address);
        let listeners = table.lines().filter_map(|line| listener(line, &at));
        let others = listeners.filter(|(_, inode)| *inode != self.inode);
        Ok(others.map(|(uid, _)| uid).collect())
    }
}

/// The user and the number of the socket of this line, if it listens at this address.
fn listener(line: &str, at: &str) -> Option<(u32, u64)> {
    let mut words = line.split_whitespace();
    let is_here = words.nth(1)? == at && words.nth(1)? == LISTENING;
    let uid = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    is_here.then_some((uid, inode))
}

const LISTENING: &str = "0A";

/// An address as the kernel writes it: words of 32 bits in the order of the machine's bytes.
fn in_table(address: SocketAddr) -> String {
    let bytes = match address.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| {
        let word = word.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

/// After three minutes, and then once an hour.
fn is_worth_a_line(looks: u32) -> bool {
    looks % LOOKS_PER_HOUR == 3
}

const INTERVAL: Duration = Duration::from_secs(60);

const LOOKS_PER_HOUR: u32 = 60;

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn another_process_that_listens_at_the_address_is_found() {
        for ip in ["127.0.0.1", "::1"] {
            let mut address = SocketAddr::new(ip.parse().unwrap(), 0);
            let listen = |address: SocketAddr| {
                let socket = match address {
                    SocketAddr::V4(_) => TcpSocket::new_v4(),
                    SocketAddr::V6(_) => TcpSocket::new_v6(),
                }
                .unwrap();
                socket.set_reuseport(true).unwrap();
                socket.bind(address).unwrap();
                socket.listen(8).unwrap()
            };
            let own = listen(address);
            address = own.local_addr().unwrap();
            let shared = SharedListener::of(&own).unwrap();
            assert_eq!(shared.uids_of_others().unwrap(), Vec::<u32>::new());
            let other = listen(address);
            let uid = rustix::process::getuid().as_raw();
            assert_eq!(shared.uids_of_others().unwrap(), [uid]);
            drop(other);
            assert_eq!(shared.uids_of_others().unwrap(), Vec::<u32>::new());
        }
    }

    #[test]
    fn it_is_logged_after_three_minutes_and_then_once_an_hour() {
        let logged: Vec<_> = (0..130).filter(|looks| is_worth_a_line(*looks)).collect();
        assert_eq!(logged, [3, 63, 123]);
    }
}
