use std::net::{IpAddr, SocketAddr};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process, all_processes};

use crate::doctor::findings::{NOT_LISTENING, PORT_TAKEN};
use crate::doctor::node::known::Known;
use crate::doctor::step::Outcome;
use crate::node::problem::includes;

/// Who listens at the ports of the agent.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let sockets: Vec<_> = [procfs::net::tcp(), procfs::net::tcp6()]
        .into_iter()
        .flatten()
        .flatten()
        .filter(|socket| socket.state == TcpState::Listen)
        .collect();
    let mut found = Vec::new();
    let mut holders = Vec::new();
    let agent = &known.agent;
    let others = [Some(agent.probes), agent.metrics];
    for wanted in agent.credentials().chain(others.into_iter().flatten()) {
        let mut is_held = false;
        for socket in sockets.iter().filter(|socket| covers(socket, wanted)) {
            is_held = true;
            match holder_of(socket) {
                Some(holder) if !is_agent(&holder) => {
                    let (id, name) = (holder.pid(), name_of(&holder));
                    let at = socket.local_address;
                    found.push(PORT_TAKEN.with(format!("{at} is held by {name} (process {id})")));
                }
                Some(holder) => holders.push(format!("{wanted} by process {}", holder.pid())),
                None => holders.push(format!(
                    "{wanted} by a process that cannot be seen from here"
                )),
            }
        }
        if !is_held && agent.credentials().any(|one| one == wanted) && has(wanted.ip()) {
            found.push(NOT_LISTENING.with(wanted.to_string()));
        }
    }
    let seen = match holders.as_slice() {
        [] => "nobody holds one".to_owned(),
        _ => format!("held: {}", holders.join(", ")),
    };
    Outcome::of(found, seen)
}

/// Whether a connection to `wanted` may reach this socket, or an agent cannot listen at `wanted` beside it.
fn covers(socket: &TcpNetEntry, wanted: SocketAddr) -> bool {
    let at = socket.local_address;
    at.port() == wanted.port() && overlap(at.ip().to_canonical(), wanted.ip())
}

/// Whether two addresses are the same, or one of them stands for the other too.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    includes(one, other) || includes(other, one)
}

/// Whether this node has the address: one that it does not have is reported by the step before.
fn has(address: IpAddr) -> bool {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    address.is_loopback() || interfaces.iter().any(|one| one.ip() == address)
}

/// `None` if its process belongs to somebody else or to another process namespace.
fn holder_of(socket: &TcpNetEntry) -> Option<Process> {
    all_processes().ok()?.flatten().find(|process| {
        let holds = |target| matches!(target, FDTarget::Socket(inode) if inode == socket.inode);
        process
            .fd()
            .is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| holds(file.target))))
    })
}

fn is_agent(process: &Process) -> bool {
    let arguments = process.cmdline().unwrap_or_default();
    let program = arguments.first().map_or("", String::as_str);
    program.ends_with("pod-identity-agent") || program.ends_with("go-runner")
}

fn name_of(process: &Process) -> String {
    process
        .stat()
        .map_or_else(|_gone| "a process".to_owned(), |stat| stat.comm)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_is_taken_by_itself_and_by_what_stands_for_it_or_is_among_it() {
        let overlap = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(super::overlap(one, other), super::overlap(other, one));
            super::overlap(one, other)
        };
        for (one, other) in [
            ("10.0.0.7", "10.0.0.7"),
            ("0.0.0.0", "10.0.0.7"),
            ("::", "10.0.0.7"),
            ("::", "fd00::7"),
            ("::", "0.0.0.0"),
        ] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("10.0.0.7", "10.0.0.8"),
            ("0.0.0.0", "fd00::7"),
            ("fd00::7", "10.0.0.7"),
        ] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
