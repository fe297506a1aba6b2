use std::fs;
use std::net::SocketAddr;

/// Whether a server has nothing to do: all threads of its process sleep, and nothing that was sent to
/// its address, or by it to the one that it asks, or back, is unread.
///
/// A thread that is woken counts as running from then on, and one that has not changed places since an
/// earlier look has slept all the while: so what is looked at one by one is true of one moment.
pub(crate) fn is_at_rest(pid: u32, address: SocketAddr, asks: SocketAddr) -> bool {
    let Some(asleep) = asleep(pid) else {
        return false;
    };
    !is_anything_unread(address, asks) && self::asleep(pid) == Some(asleep)
}

/// How many times each thread has changed places with another, if all of them sleep.
fn asleep(pid: u32) -> Option<Vec<(String, Vec<String>)>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads
        .map(|thread| {
            let path = thread.ok()?.path();
            let status = fs::read_to_string(path.join("status")).ok()?;
            let is_asleep = status.lines().any(|line| line == "State:\tS (sleeping)");
            let switches = status
                .lines()
                .filter(|line| line.contains("ctxt_switches"))
                .map(str::to_owned)
                .collect();
            is_asleep.then(|| (path.display().to_string(), switches))
        })
        .collect()
}

fn is_anything_unread(address: SocketAddr, asks: SocketAddr) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let (address, asks) = (in_table(address), in_table(asks));
    sockets.lines().skip(1).any(|row| {
        let row: Vec<&str> = row.split_ascii_whitespace().collect();
        let [_, local, remote, state, queues, ..] = row[..] else {
            panic!("{row:?}");
        };
        let (unsent, unread) = queues.split_once(':').unwrap();
        let is_served = local == address || remote == asks;
        let is_asked = local == asks && state != CLOSED_BY_PEER;
        (is_served || is_asked) && unread != NOTHING
            || (is_served || is_asked || remote == address) && unsent != NOTHING
    })
}

/// As the kernel writes an address.
fn in_table(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else {
        panic!("{address} is in another table");
    };
    let ip = address.ip().octets();
    format!("{:08X}:{:04X}", u32::from_ne_bytes(ip), address.port())
}

const NOTHING: &str = "00000000";

/// A mock may not read the end of a connection whose request it does not answer.
const CLOSED_BY_PEER: &str = "08";
