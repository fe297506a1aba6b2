use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use nix::libc::{BPF_K, BPF_RET, sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use tracing::debug;

/// Makes the kernel give every new connection to another process that listens at the same address with
/// SO_REUSEPORT. Returns whether there is one that accepts connections.
///
/// Closing a listener resets what the kernel has queued for it. So the kernel is told first to queue nothing
/// more there: the processes that share an address are a group, and a classic BPF program, which needs no
/// privilege, may choose the member that gets a connection, by its index. A `net.ipv4.tcp_migrate_req` of 1
/// would give what is queued to the others, but it is off by default and a setting of the whole node.
///
/// `accepted` is given the connections that arrive meanwhile.
pub(crate) async fn hand_over(
    listener: &TcpListener,
    mut accepted: impl FnMut(TcpStream, SocketAddr),
) -> bool {
    // One of the first two members is another process, if there is another. Nobody says which: members are
    // in the order in which they began to listen, but the last takes the place of one that ends.
    for index in [0, 1] {
        // It fails where the address is not shared.
        if select(listener, index).is_err() {
            return false;
        }
        match is_taken_by_another(listener, &mut accepted).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => {
                debug!(%error, "no other process takes over");
                return false;
            }
        }
    }
    false
}

/// Gives new connections to the member with this index. Without a member of that index, the kernel chooses
/// by a hash as it does without a program.
fn select(listener: &TcpListener, index: u32) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "both have one byte")]
    let code = (BPF_RET | BPF_K) as u16;
    let mut program = [sock_filter {
        code,
        jt: 0,
        jf: 0,
        k: index,
    }];
    let program = sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    Ok(setsockopt(listener, AttachReusePortCbpf, &program)?)
}

/// Connects to the address itself, and sees who closes that connection: it sends nothing, so whoever accepts
/// it reads its end at once.
async fn is_taken_by_another(
    listener: &TcpListener,
    accepted: &mut impl FnMut(TcpStream, SocketAddr),
) -> io::Result<bool> {
    let address = reachable(listener.local_addr()?);
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.bind(SocketAddr::new(address.ip(), 0))?;
    let own = socket.local_addr()?;
    let closed = async move {
        let mut stream = socket.connect(address).await?;
        stream.shutdown().await?;
        stream.read(&mut [0]).await
    };
    let (mut closed, mut timeout) = (pin!(closed), pin!(sleep(ANSWER_TIMEOUT)));
    loop {
        tokio::select! {
            biased;
            connection = listener.accept() => match connection? {
                (_, peer) if peer == own => return Ok(false),
                (stream, peer) => accepted(stream, peer),
            },
            closed = &mut closed => return match closed {
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
                _closed_or_reset => Ok(true),
            },
            () = &mut timeout => return Ok(false),
        }
    }
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// A process that does not accept a connection for so long does not take over.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(address: SocketAddr) -> TcpListener {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(address).unwrap();
        socket.listen(128).unwrap()
    }

    fn alone() -> TcpListener {
        shared(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))
    }

    async fn handed_over(from: &TcpListener) -> bool {
        hand_over(from, |_stream, _peer| {}).await
    }

    #[tokio::test]
    async fn whichever_of_two_leaves_the_other_gets_every_connection() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        for (ip, leaves) in [(v4, 0), (v4, 1), (v6, 0), (v6, 1)] {
            let first = shared(SocketAddr::new(ip, 0));
            let address = first.local_addr().unwrap();
            let mut listeners = vec![first, shared(address)];
            let leaving = listeners.remove(leaves);
            let staying = listeners.remove(0);
            let accepting = async {
                while let Ok((mut stream, _)) = staying.accept().await {
                    // The one that sends nothing.
                    if stream.read(&mut [0]).await.is_ok_and(|read| read == 0) {
                        break;
                    }
                }
            };
            let (handed_over, ()) = tokio::join!(handed_over(&leaving), accepting);
            assert!(handed_over);
            for _connection in 0..50 {
                let _client = TcpStream::connect(address).await.unwrap();
                staying.accept().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn there_is_no_successor_where_nobody_else_listens_accepts_or_may() {
        assert!(!handed_over(&alone()).await);
        let leaving = alone();
        let _hangs = shared(leaving.local_addr().unwrap());
        assert!(!handed_over(&leaving).await);
        let unshared = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(!handed_over(&unshared).await);
    }
}
