use std::io;

use tokio::sync::oneshot;

/// The process that started this program and holds the other end of its standard input.
///
/// A mock must not outlive the test that started it, however that ends: SIGKILL and a crash of the
/// interpreter run no clean-up code, but the kernel closes the pipe. A pipe alone is not enough, because a
/// child that the test forks inherits its end and may live on; so the parent's process id is watched too.
///
/// A program whose standard input is a terminal, a file or the null device has no such parent: a shell gives
/// the null device to what it starts in the background, and a container runtime to what it starts at all.
#[derive(Debug)]
pub(super) struct Parent {
    /// Never completes if nothing is watched.
    gone: Option<oneshot::Receiver<()>>,
}

impl Parent {
    /// Starts to watch, if the standard input is a pipe or a socket.
    ///
    /// # Errors
    /// If the thread that watches cannot be started.
    #[cfg(unix)]
    pub(super) fn watch() -> io::Result<Self> {
        if !unix::is_held_by_another_process() {
            return Ok(Self { gone: None });
        }
        let (sender, gone) = oneshot::channel();
        // A thread, and not tokio's standard input: a runtime waits for a read that is under way when it ends.
        std::thread::Builder::new()
            .name("parent".to_owned())
            .spawn(move || {
                unix::wait_until_gone();
                // The program may have ended meanwhile.
                sender.send(()).ok();
            })?;
        Ok(Self { gone: Some(gone) })
    }

    #[cfg(not(unix))]
    pub(super) fn watch() -> io::Result<Self> {
        Ok(Self { gone: None })
    }

    /// Completes when the parent has closed the pipe or has ended.
    pub(super) async fn gone(self) {
        match self.gone {
            Some(gone) => drop(gone.await),
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{FileType, fstat};
    use rustix::process::getppid;

    pub(super) fn is_held_by_another_process() -> bool {
        let kind = fstat(io::stdin().as_fd()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        matches!(kind, Ok(FileType::Fifo | FileType::Socket))
    }

    /// Returns at the end of the standard input, or when the parent has another process id: the kernel gives
    /// the children of a dead process to another one.
    pub(super) fn wait_until_gone() {
        let parent = getppid();
        let stdin = io::stdin();
        loop {
            let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
            let ready = poll(&mut polled, Some(&INTERVAL));
            if getppid() != parent {
                return;
            }
            match ready {
                // Input has no meaning, but must be read so that its writer does not block.
                Ok(1..) => match rustix::io::read(&stdin, &mut [0; 1024]) {
                    Ok(0) => return,
                    Ok(1..) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(_broken) => return,
                },
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Err(_broken) => return,
            }
        }
    }

    /// 200 ms: a suite that starts the next mock on the same port waits no longer than that, and five system
    /// calls a second cost nothing.
    const INTERVAL: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
}
