use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pod_identity_core::{AuthorizationToken, TokenFile, TokenFileError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// Reads the token file without blocking the runtime.
///
/// A read from a mount that hangs (NFS, a CSI driver that has died) never returns, and cannot be cancelled.
/// On a worker of the runtime it would block the tasks there; on a blocking thread it would block the shutdown
/// of the runtime, which waits for those. Therefore the read has a thread of its own. At most one read is in
/// progress: a mount that hangs costs one thread, however often it is tried.
///
/// A second thread, which is a blocking one and waits for the first, is only used while an earlier read is in
/// progress, and under paused time. On a busy machine each change of threads takes milliseconds, in which the first
/// caller waits.
#[derive(Debug, Clone)]
pub(crate) struct TokenReader {
    file: TokenFile,
    read: fn(&TokenFile) -> Outcome,
    /// The process in which a read is in progress, or 0: a child after `fork` does not have the thread of the
    /// parent's read.
    reading: Arc<AtomicU32>,
}

type Outcome = Result<AuthorizationToken, TokenFileError>;

impl TokenReader {
    pub(crate) fn new(file: TokenFile) -> Self {
        Self {
            file,
            read: TokenFile::read,
            reading: Arc::default(),
        }
    }

    /// Reads the token within this time.
    pub(crate) async fn read(&self, within: Duration) -> Outcome {
        if is_time_paused() || !self.claim() {
            return self.read_with_blocking_thread(within).await;
        }
        let (sender, receiver) = oneshot::channel();
        // The receiver is gone if the time is up.
        self.start(|outcome| drop(sender.send(outcome)))?;
        match timeout(within, receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(self.timed_out(within)),
        }
    }

    async fn read_with_blocking_thread(&self, within: Duration) -> Outcome {
        let (sender, receiver) = mpsc::channel();
        let _cancel = CancelOnDrop(sender.clone());
        let reader = self.clone();
        // A blocking task rather than a channel of tokio's: while one is under way, a runtime with paused
        // time does not move its clock.
        let waiting =
            Handle::current().spawn_blocking(move || reader.wait(sender, &receiver, within));
        waiting.await.unwrap_or_else(|_shut_down| {
            let error = io::Error::other("the runtime was shut down meanwhile");
            Err(self.file.failed_with(error))
        })
    }

    /// Returns the error of a read that took longer than this.
    pub(crate) fn timed_out(&self, within: Duration) -> TokenFileError {
        let message = format!("no content within {within:?}; is it on a mount that hangs?");
        self.file
            .failed_with(io::Error::new(io::ErrorKind::TimedOut, message))
    }

    fn wait(
        &self,
        sender: mpsc::Sender<Option<Outcome>>,
        receiver: &mpsc::Receiver<Option<Outcome>>,
        within: Duration,
    ) -> Outcome {
        let mut left = within;
        while !self.claim() {
            // The read of an attempt that was given up a moment ago is about to return. It is no sign of a mount
            // that hangs.
            if left.is_zero() {
                let message = "an earlier read has not returned; is it on a mount that hangs?";
                let error = io::Error::new(io::ErrorKind::TimedOut, message);
                return Err(self.file.failed_with(error));
            }
            let pause = PAUSE.min(left);
            if !matches!(receiver.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                return Err(self.timed_out(within));
            }
            left -= pause;
        }
        self.start(move |outcome| drop(sender.send(Some(outcome))))?;
        match receiver.recv_timeout(left) {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(self.timed_out(within)),
        }
    }

    /// Claims the right to start a read. Returns `false` while one is in progress.
    fn claim(&self) -> bool {
        // Acquire and release order nothing but the reads among themselves; the token goes through a channel.
        self.reading.swap(process::id(), Ordering::AcqRel) != process::id()
    }

    /// Starts the read that was claimed. `deliver` gets its outcome, whenever that is.
    fn start(&self, deliver: impl FnOnce(Outcome) + Send + 'static) -> Result<(), TokenFileError> {
        let (file, read) = (self.file.clone(), self.read);
        let done = ClearOnDrop(self.reading.clone());
        let started = thread::Builder::new()
            .name("pod-identity-token".to_owned())
            .spawn(move || {
                let outcome = read(&file);
                drop(done);
                deliver(outcome);
            });
        match started {
            Ok(_detached) => Ok(()),
            Err(error) => Err(self.file.failed_with(error)),
        }
    }
}

/// Whether tokio's time stands still, as in a test. It then goes to the next timer as soon as all tasks wait, unless
/// a blocking task is under way. A clock of low resolution may look paused, which costs a thread.
fn is_time_paused() -> bool {
    let before = Instant::now();
    before == Instant::now()
}

/// The time between two checks whether an earlier read has returned.
const PAUSE: Duration = Duration::from_millis(5);

/// Ends the wait when the attempt is dropped.
struct CancelOnDrop(mpsc::Sender<Option<Outcome>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // The wait is over if nobody receives it.
        let _over = self.0.send(None);
    }
}

/// Marks the read as ended, also if no thread could be started.
struct ClearOnDrop(Arc<AtomicU32>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A file on a mount that hangs.
    fn hanging() -> TokenReader {
        TokenReader {
            read: |_file| loop {
                thread::park();
            },
            ..TokenReader::new(TokenFile::new("/mnt/token"))
        }
    }

    const WITHIN: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_read_that_hangs_ends_in_time_and_no_second_one_is_begun() {
        let reader = hanging();
        let error = reader.read(WITHIN).await.unwrap_err();
        assert_eq!(error.path(), Path::new("/mnt/token"));
        assert_eq!(
            error.to_string(),
            "token file /mnt/token: cannot be read: no content within 20ms; is it on a mount that hangs?"
        );
        let error = reader.read(WITHIN).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("an earlier read has not returned")
        );
    }

    #[tokio::test]
    async fn a_read_waits_for_an_earlier_one_that_was_given_up() {
        static OPEN: std::sync::OnceLock<()> = std::sync::OnceLock::new();
        let reader = TokenReader {
            read: |_file| {
                OPEN.wait();
                Ok(AuthorizationToken::parse(b"token").unwrap())
            },
            ..TokenReader::new(TokenFile::new("/mnt/token"))
        };
        reader.read(WITHIN).await.unwrap_err();
        OPEN.set(()).unwrap();
        reader.read(Duration::from_secs(30)).await.unwrap();
    }

    #[test]
    fn a_read_needs_none_of_the_applications_blocking_threads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "token").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || blocked.recv());
        let reader = TokenReader::new(TokenFile::new(&path));
        let token = runtime.block_on(reader.read(Duration::from_secs(30)));
        drop(release);
        assert_eq!(token.unwrap().expose(), "token");
    }

    #[test]
    fn a_runtime_shuts_down_though_a_read_hangs() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let reader = hanging();
        runtime.block_on(async {
            // The second waits for the first, on a blocking thread.
            for _read in 0..2 {
                let read = timeout(WITHIN, async { reader.read(Duration::MAX).await });
                read.await.unwrap_err();
            }
        });
        // Returns, because the wait was cancelled with the attempt.
        drop(runtime);
    }
}
