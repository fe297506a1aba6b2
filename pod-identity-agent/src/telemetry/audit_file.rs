use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

/// A file to which the lines of an audit are appended. Each write is one line.
///
/// A line that was written in part, because the disk was full or the process was killed, is ended before the
/// next one, so that each line is either whole or alone.
#[derive(Debug, Clone)]
pub(crate) struct AuditFile {
    path: PathBuf,
    /// Held for one write, which can block: a FIFO that is full waits for its reader.
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Whether the last line has no end.
    is_torn: bool,
}

impl AuditFile {
    /// Opens a file, which is created if there is none. A FIFO is opened without waiting for its reader.
    ///
    /// Only the owner and group of the file may read it: permissions of others are taken away.
    ///
    /// # Errors
    /// Fails when the file cannot be opened, or when others have permissions that cannot be taken away. The
    /// error names the path.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let open = Open::new(path)?;
        Ok(Self {
            path: path.to_owned(),
            open: Arc::new(Mutex::new(open)),
        })
    }

    /// Opens the path anew, after the file was moved away. All clones write to the new file. If it cannot be
    /// opened, they go on writing to the old one.
    ///
    /// # Errors
    /// As [`AuditFile::open`].
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let open = Open::new(&self.path)?;
        *self.lock() = open;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for AuditFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Open { file, is_torn } = &mut *self.lock();
        write_line(file, is_torn, line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().file.flush()
    }
}

/// Ends a torn line first. One of which nothing was written, because the disk is full, is not torn.
fn write_line(file: &mut impl Write, is_torn: &mut bool, line: &[u8]) -> io::Result<()> {
    if *is_torn {
        file.write_all(b"\n")?;
        *is_torn = false;
    }
    let mut rest = line;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                *is_torn = !rest.is_empty();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| {
            let message = format!("cannot open the audit log {}: {error}", path.display());
            io::Error::new(error.kind(), message)
        };
        let mut file = open(path).map_err(named)?;
        let is_regular = file.metadata().map_err(named)?.is_file();
        if is_regular {
            keep_from_others(&file, path).map_err(named)?;
        }
        let is_torn = is_regular && ends_within_a_line(&mut file).map_err(named)?;
        Ok(Self { file, is_torn })
    }
}

/// For reading too: to find a line without an end, and because a FIFO that is opened for writing only waits
/// for a reader.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn keep_from_others(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mut permissions = file.metadata()?.permissions();
    let mode = permissions.mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    permissions.set_mode(mode & !OTHERS);
    file.set_permissions(permissions).map_err(|error| {
        let message =
            format!("others may read it, and that cannot be changed: {error}; run chmod o-rwx");
        io::Error::new(error.kind(), message)
    })?;
    warn!(
        path = %path.display(),
        "others could read the audit log; their permissions have been taken away"
    );
    Ok(())
}

#[cfg(not(unix))]
fn keep_from_others(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

/// The permission bits of users who are neither the owner nor in the group.
#[cfg(unix)]
const OTHERS: u32 = 0o007;

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_incomplete_last_line_is_terminated_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, "whole\ntorn").unwrap();
        let mut file = AuditFile::open(&path).unwrap();
        file.write_all(b"1\n").unwrap();
        file.write_all(b"2\n").unwrap();
        AuditFile::open(&path).unwrap().write_all(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ntorn\n1\n2\n3\n");
    }

    /// A disk that has room for so many bytes.
    struct Disk {
        room: usize,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let part = &bytes[..bytes.len().min(self.room)];
            if part.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= part.len();
            self.text.extend(part);
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_no_empty_line_and_tears_at_most_one() {
        let (room, text) = (8, Vec::new());
        let (mut disk, mut is_torn) = (Disk { room, text }, false);
        let mut write = |disk: &mut Disk| write_line(disk, &mut is_torn, b"line\n").is_ok();
        assert!(write(&mut disk));
        assert!(!write(&mut disk), "torn");
        assert!(!write(&mut disk) && !write(&mut disk), "full");
        disk.room = 100;
        assert!(write(&mut disk));
        // Full again, between two lines.
        disk.room = 0;
        assert!(!write(&mut disk) && !write(&mut disk));
        disk.room = 100;
        assert!(write(&mut disk));
        assert_eq!(disk.text, b"line\nlin\nline\nline\n");
    }

    #[test]
    fn after_reopening_all_clones_write_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let [path, moved] = ["audit.log", "audit.log.1"].map(|name| folder.path().join(name));
        let mut file = AuditFile::open(&path).unwrap();
        file.write_all(b"1\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.write_all(b"2\n").unwrap();
        file.clone().reopen().unwrap();
        file.write_all(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_named_and_the_old_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = AuditFile::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = file.reopen().unwrap_err().to_string();
        assert!(error.contains("audit.log"), "{error}");
        file.write_all(b"1\n").unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn permissions_of_others_are_removed_and_those_of_the_group_kept() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        AuditFile::open(&path).unwrap();
        assert_eq!(mode(), 0o600, "a new file");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o646)).unwrap();
        AuditFile::open(&path).unwrap();
        assert_eq!(mode(), 0o640);
    }
}
