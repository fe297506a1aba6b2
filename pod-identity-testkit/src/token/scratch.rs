use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, Weak};

use tempfile::TempDir;

use crate::sync;

/// A temporary directory that is removed on drop, and after a crash by the next process of the same user.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Dropped before its parent.
    directory: TempDir,
    _shared: Arc<SharedDirectory>,
}

impl Scratch {
    /// Creates one in memory if `TMPDIR` is not set, because on a disk creating and removing files takes longer than
    /// everything else that a mock does.
    ///
    /// # Errors
    /// Fails if the directory cannot be created.
    pub(crate) fn new() -> io::Result<Self> {
        let directory = std::env::temp_dir();
        if directory == Path::new("/tmp")
            && let Ok(in_memory) = Self::create_in(Path::new(IN_MEMORY))
        {
            return Ok(in_memory);
        }
        Self::create_in(&directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        let shared = SharedDirectory::shared_in(parent)?;
        let parent = shared.directory.path();
        Ok(Self {
            directory: tempfile::Builder::new().prefix("").tempdir_in(parent)?,
            _shared: shared,
        })
    }
}

/// The directory of all [`Scratch`] of this process, which is removed with the last of them.
///
/// It is locked as long as it is in use. A lock says so across processes and also across containers that share
/// `/dev/shm`, where a process id would mean another process. A lock takes an open file, so there is one for all.
#[derive(Debug)]
struct SharedDirectory {
    directory: TempDir,
    parent: PathBuf,
    /// Held until the directory is gone; `None` where there are no locks.
    _lock: Option<File>,
}

impl SharedDirectory {
    fn shared_in(parent: &Path) -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Vec<Weak<SharedDirectory>>> = Mutex::new(Vec::new());
        static SWEPT: Once = Once::new();

        let mut shared = sync::lock(&SHARED);
        shared.retain(|known| known.strong_count() > 0);
        // Something that clears temporary directories may have removed it.
        let is_there =
            |known: &Arc<Self>| known.parent == parent && known.directory.path().exists();
        if let Some(known) = shared.iter().filter_map(Weak::upgrade).find(is_there) {
            return Ok(known);
        }
        let new = Arc::new(Self::locked_in(parent)?);
        shared.push(Arc::downgrade(&new));
        SWEPT.call_once(|| remove_abandoned(new.directory.path(), parent));
        Ok(new)
    }

    fn locked_in(parent: &Path) -> io::Result<Self> {
        loop {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            // Another process may be removing it, or has removed it before it was locked.
            if let Ok(lock) = lock(directory.path())
                && directory.path().exists()
            {
                return Ok(Self {
                    directory,
                    parent: parent.to_owned(),
                    _lock: lock,
                });
            }
        }
    }
}

/// A directory is in use, or gone.
struct Taken;

/// Locks a directory until the file is closed; `None` if that is not possible here.
fn lock(directory: &Path) -> Result<Option<File>, Taken> {
    let file = match File::open(directory) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Taken),
        // A directory is no file on some systems.
        Err(_unsupported) => return Ok(None),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Taken),
        Err(TryLockError::Error(_unsupported)) => Ok(None),
    }
}

/// Removes the directories of this user that a process has left behind which was killed. What cannot be removed stays.
fn remove_abandoned(own: &Path, parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
            && owner(&path) == owner(own);
        if is_ours && let Ok(Some(_locked)) = lock(&path) {
            // Failing is no reason to fail the caller.
            let _removed = fs::remove_dir_all(&path);
        }
    }
}

/// The user that a directory belongs to; `None` if it is none, such as a link to one.
#[cfg(unix)]
fn owner(path: &Path) -> Option<u32> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
    metadata.is_dir().then_some(owner)
}

/// Temporary directories are those of a user here.
#[cfg(not(unix))]
fn owner(_path: &Path) -> Option<u32> {
    Some(0)
}

const PREFIX: &str = "pod-identity-testkit-";
const IN_MEMORY: &str = "/dev/shm";

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_directories_of_ours_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let [own, other] = [(); 2].map(|()| SharedDirectory::locked_in(parent.path()).unwrap());
        let [own, other] = [&own, &other].map(|shared| shared.directory.path());
        let [abandoned, foreign] =
            ["pod-identity-testkit-123456", ".tmp123456"].map(|name| parent.path().join(name));
        for directory in [&abandoned, &foreign] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("token"), "x").unwrap();
        }
        let link = parent.path().join("pod-identity-testkit-link");
        std::os::unix::fs::symlink(&foreign, &link).unwrap();
        remove_abandoned(own, parent.path());
        assert!(!abandoned.exists());
        for kept in [own, other, &foreign.join("token"), &link] {
            assert!(kept.exists(), "{}", kept.display());
        }
    }

    #[test]
    fn all_share_a_directory_which_is_gone_with_the_last() {
        let parent = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(parent.path()).unwrap().count();
        let [first, second] = [(); 2].map(|()| Scratch::create_in(parent.path()).unwrap());
        assert_eq!(count(), 1);
        drop(first);
        assert!(second.path().exists());
        drop(second);
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_shared_directory_that_something_else_removed_is_made_anew() {
        let parent = tempfile::tempdir().unwrap();
        let before = Scratch::create_in(parent.path()).unwrap();
        fs::remove_dir_all(before.path().parent().unwrap()).unwrap();
        let after = Scratch::create_in(parent.path()).unwrap();
        assert!(after.path().exists());
        drop((before, after));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
