use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// Starts this many threads, to find out whether the process may have them, and ends them again.
///
/// Where it may not, tokio panics, or waits forever for the threads that it has started already.
///
/// # Errors
/// Fails if one of them cannot be started.
pub(crate) fn check_threads(count: usize) -> io::Result<()> {
    let all_are_started = Mutex::new(());
    let wait = || drop(all_are_started.lock());
    thread::scope(|scope| {
        let held = all_are_started
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let start = |_| Builder::new().spawn_scoped(scope, wait);
        let started: io::Result<Vec<_>> = (0..count).map(start).collect();
        drop(held);
        // Joined, because the scope waits for the closures only, and a thread that is ending still counts.
        for thread in started? {
            let _done = thread.join();
        }
        Ok(())
    })
    .map_err(|error| not_started("the agent's threads", &error))
}

/// Opens this many files, to find out whether the process may, and closes them again.
///
/// Where it may not, tokio panics.
///
/// # Errors
/// Fails if one of them cannot be opened.
#[cfg(unix)]
pub(crate) fn check_open_files(count: usize) -> io::Result<()> {
    let open = |_| std::fs::File::open("/dev/null");
    let opened: io::Result<Vec<_>> = (0..count).map(open).collect();
    match opened {
        Err(error) if is_too_many_open_files(&error) => Err(not_started("the program", &error)),
        _ => Ok(()),
    }
}

/// Returns the error that `what` cannot be started, with what to do about it.
pub(crate) fn not_started(what: &str, error: &io::Error) -> io::Error {
    let message = format!("{what} cannot be started: {error}{}", remedy(error));
    io::Error::new(error.kind(), message)
}

/// Returns which limit to raise, to be put behind the error.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        // The C library reports a lack of memory in the same way.
        io::ErrorKind::WouldBlock => {
            "; raise the limit of processes of this container or node, which counts threads, or its limit of memory"
        }
        io::ErrorKind::OutOfMemory => "; raise the limit of memory",
        _ if is_too_many_open_files(error) => "; raise the limit of open files",
        _ => "",
    }
}

/// Whether the process or the system has as many open files as it may.
pub(crate) fn is_too_many_open_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let errno = Errno::from_io_error(error);
        errno == Some(Errno::MFILE) || errno == Some(Errno::NFILE)
    }
    #[cfg(not(unix))]
    {
        let _unknown = error;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_started_is_no_error() {
        for count in [0, 1, 8] {
            check_threads(count).unwrap();
            #[cfg(unix)]
            check_open_files(count).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_error_names_what_cannot_be_started_and_which_limit_to_raise() {
        use rustix::io::Errno;

        let text = |errno: Errno| not_started("the log", &errno.into()).to_string();
        for (errno, limit) in [
            (Errno::AGAIN, "the limit of processes"),
            (Errno::MFILE, "the limit of open files"),
            (Errno::NFILE, "the limit of open files"),
            (Errno::NOMEM, "the limit of memory"),
        ] {
            let text = text(errno);
            assert!(text.starts_with("the log cannot be started: "), "{text}");
            assert!(text.contains(&format!("; raise {limit}")), "{text}");
        }
        assert!(!text(Errno::NOSPC).contains("raise"));
    }
}
