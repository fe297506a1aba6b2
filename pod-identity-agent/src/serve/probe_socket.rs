use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::node::resources::remedy;
use crate::serve::respond::Respond;

/// A Unix socket for probes. Unlike a port of the node it belongs to one process: while two agents run on a
/// node, each answers for itself.
#[derive(Debug)]
pub(crate) struct ProbeSocket {
    listener: UnixListener,
    /// Named in errors.
    path: PathBuf,
}

impl ProbeSocket {
    /// Binds a path. A socket that an earlier process has left there is replaced. Only the user of this
    /// process may connect.
    ///
    /// # Errors
    /// Fails when the path cannot be bound, or another process answers at it. The error names the path.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        match bind(&path) {
            Ok(listener) => Ok(Self { listener, path }),
            Err(error) => Err(not_listening(&path, &error)),
        }
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// Fails when the socket cannot be registered with the current runtime. The error names the path.
    pub(crate) fn serve(
        self,
        responder: impl Respond,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let Self { listener, path } = self;
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UnixListener::from_std(listener))
            .map_err(|error| not_listening(&path, &error))?;
        let responder = Arc::new(responder);
        Ok(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.len() >= MAX_CONNECTIONS {
                    connections.join_next().await;
                }
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    Some(_ended) = connections.join_next() => continue,
                };
                match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_connection(stream, Arc::clone(&responder)));
                    }
                    Err(error) => {
                        debug!(%error, "connection to the probe socket cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }
}

fn not_listening(path: &Path, error: &io::Error) -> io::Error {
    let (path, remedy) = (path.display(), remedy(error));
    let message = format!("cannot listen at the probe socket {path}: {error}{remedy}");
    io::Error::new(error.kind(), message)
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !is_socket(path)? {
                return Err(io::Error::new(
                    error.kind(),
                    "something other than a socket is there",
                ));
            }
            if UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            match std::fs::remove_file(path) {
                // Whoever left it has just removed it.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => UnixListener::bind(path),
            }
        }
        bound => bound,
    }?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Whether the path is a socket itself: any other file is somebody's, and must not be removed.
fn is_socket(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        // Whoever left it has just removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        metadata => Ok(metadata?.file_type().is_socket()),
    }
}

async fn serve_connection(stream: tokio::net::UnixStream, responder: Arc<impl Respond>) {
    let service = service_fn(|request: Request<Incoming>| {
        let reply = responder.respond(&request, std::net::Ipv4Addr::LOCALHOST.into());
        async { Ok::<_, Infallible>(reply.response().await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        // A client that closes its side behind the request is answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, connection).await {
        debug!(%error, "connection to the probe socket failed");
    }
}

/// Kubelet runs one probe at a time of each kind.
const MAX_CONNECTIONS: usize = 16;

/// A probe asks at once.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_replaced_and_one_that_is_used_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probes.sock");
        drop(ProbeSocket::bind(&path).unwrap());
        let _used = ProbeSocket::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = ProbeSocket::bind(&path).unwrap_err().to_string();
        assert!(error.contains("probes.sock"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_socket_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(&path, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        for path in [&path, &link] {
            let error = ProbeSocket::bind(path).unwrap_err().to_string();
            assert!(error.contains("other than a socket"), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn the_error_names_the_socket_and_the_limit_to_raise() {
        let error = rustix::io::Errno::MFILE.into();
        let error = not_listening(Path::new("/run/probes.sock"), &error).to_string();
        assert!(
            error.starts_with("cannot listen at the probe socket /run/probes.sock: "),
            "{error}"
        );
        assert!(
            error.ends_with("; raise the limit of open files"),
            "{error}"
        );
    }
}
