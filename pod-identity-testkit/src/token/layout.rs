//! The files of a projected volume.

#[cfg(not(unix))]
pub(crate) use plain::*;
#[cfg(unix)]
pub(crate) use symlinked::*;

/// The name of the token's file in EKS.
pub(crate) const FILE_NAME: &str = "eks-pod-identity-token";

/// The steps of `pkg/volume/util/atomic_writer.go` in Kubernetes.
#[cfg(unix)]
mod symlinked {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
    use std::path::{Path, PathBuf};
    use std::{fs, io};

    use pod_identity_core::{Clock, SystemClock};

    use super::FILE_NAME;
    use crate::token::ids::digits;

    const DATA: &str = "..data";
    const DATA_TEMPORARY: &str = "..data_tmp";

    pub(crate) fn replace(directory: &Path, token: &[u8], mode: u32) -> io::Result<()> {
        let old = target(directory)?;
        let new = payload_name();
        let payload = directory.join(&new);
        fs::DirBuilder::new().mode(0o755).create(&payload)?;
        write(&payload.join(FILE_NAME), token, mode)?;
        put_link(Path::new(&new), &directory.join(DATA))?;
        show(&directory.join(FILE_NAME))?;
        old.map_or(Ok(()), |old| fs::remove_dir_all(directory.join(old)))
    }

    pub(crate) fn remove(directory: &Path) -> io::Result<()> {
        let old = target(directory)?;
        fs::remove_file(directory.join(FILE_NAME))?;
        fs::remove_file(directory.join(DATA))?;
        old.map_or(Ok(()), |old| fs::remove_dir_all(directory.join(old)))
    }

    /// Removes a file, link or directory, if there is one.
    pub(crate) fn clear(path: &Path) -> io::Result<()> {
        match present(fs::symlink_metadata(path))? {
            None => Ok(()),
            Some(found) if found.is_dir() => fs::remove_dir_all(path),
            Some(_file_or_link) => fs::remove_file(path),
        }
    }

    pub(crate) fn make_unreadable(path: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000))
    }

    pub(crate) fn link_to_nothing(path: &Path) -> io::Result<()> {
        symlink(Path::new(DATA).join("gone"), path)
    }

    pub(crate) fn rename_over(path: &Path, token: &[u8], mode: u32) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        write(&temporary, token, mode)?;
        if path.is_dir() {
            clear(path)?;
        }
        fs::rename(&temporary, path)
    }

    fn write(file: &Path, token: &[u8], mode: u32) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(file)?;
        file.write_all(token)?;
        // The umask may have removed bits, and an existing file keeps its own mode.
        if file.metadata()?.permissions().mode() & 0o777 == mode {
            return Ok(());
        }
        file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// Points the visible path at the payload again, if a test has replaced it.
    fn show(visible: &Path) -> io::Result<()> {
        let payload = Path::new(DATA).join(FILE_NAME);
        match present(fs::symlink_metadata(visible))? {
            Some(found) if found.is_symlink() && fs::read_link(visible)? == payload => Ok(()),
            Some(found) if found.is_dir() => {
                clear(visible)?;
                put_link(&payload, visible)
            }
            _ => put_link(&payload, visible),
        }
    }

    /// Replaces a link atomically, so that a reader always finds one.
    fn put_link(target: &Path, link: &Path) -> io::Result<()> {
        match symlink(target, link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            first => return first,
        }
        let temporary = link.with_file_name(DATA_TEMPORARY);
        present(fs::remove_file(&temporary))?;
        symlink(target, &temporary)?;
        fs::rename(&temporary, link)
    }

    fn target(directory: &Path) -> io::Result<Option<PathBuf>> {
        present(fs::read_link(directory.join(DATA)))
    }

    fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `..2006_01_02_15_04_05.<digits>`: Go's `os.MkdirTemp` with that prefix.
    fn payload_name() -> String {
        let now = SystemClock.now().to_string();
        let seconds: String = now.chars().take("2006-01-02T15:04:05".len()).collect();
        let digits = digits(&mut fastrand::Rng::new(), 10);
        format!("..{}.{digits}", seconds.replace(['-', 'T', ':'], "_"))
    }
}

#[cfg(not(unix))]
mod plain {
    use std::path::Path;
    use std::{fs, io};

    use super::FILE_NAME;

    pub(crate) fn replace(directory: &Path, token: &[u8], mode: u32) -> io::Result<()> {
        rename_over(&directory.join(FILE_NAME), token, mode)
    }

    pub(crate) fn remove(directory: &Path) -> io::Result<()> {
        fs::remove_file(directory.join(FILE_NAME))
    }

    /// Removes a file, link or directory, if there is one.
    pub(crate) fn clear(path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_file) => fs::remove_file(path),
        }
    }

    pub(crate) fn make_unreadable(_path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn link_to_nothing(_path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn rename_over(path: &Path, token: &[u8], _mode: u32) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, token)?;
        if path.is_dir() {
            clear(path)?;
        }
        fs::rename(&temporary, path)
    }
}
