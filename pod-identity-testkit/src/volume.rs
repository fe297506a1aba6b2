use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::sync::lock;

/// A projected volume as a container sees it, with a token that can be rotated.
///
/// On Unix it is laid out as kubelet's atomic writer does it: a directory
/// `..2006_01_02_15_04_05.<digits>` with the file, the symlink `..data` to it, and the visible
/// `eks-pod-identity-token`, a symlink to `..data/eks-pod-identity-token`. Elsewhere it is a plain
/// file that is replaced by a rename.
///
/// ```
/// use pod_identity_core::TokenFile;
/// use pod_identity_testkit::ProjectedVolume;
///
/// let volume = ProjectedVolume::new()?;
/// volume.write("header.claims.first")?;
/// let file = TokenFile::new(volume.token_path());
/// assert_eq!(file.read()?.expose(), "header.claims.first");
///
/// volume.write("header.claims.second")?;
/// assert_eq!(file.read()?.expose(), "header.claims.second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ProjectedVolume {
    directory: PathBuf,
    token_path: PathBuf,
    /// One writer at a time, as one kubelet is; held over a few short file operations.
    turn: Mutex<()>,
    /// Removes the directory on drop, where it is ours.
    _temporary: Option<TempDir>,
}

impl ProjectedVolume {
    /// The name of the token file: `eks-pod-identity-token`.
    pub const FILE_NAME: &str = "eks-pod-identity-token";

    /// A volume without a token yet, in a temporary directory that goes when this is dropped.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new() -> io::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let directory = temporary.path().to_owned();
        Ok(Self::at(directory, Some(temporary)))
    }

    /// A volume in this directory, which is made if need be and stays when this is dropped.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn create_in(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        Ok(Self::at(directory, None))
    }

    fn at(directory: PathBuf, temporary: Option<TempDir>) -> Self {
        Self {
            token_path: directory.join(Self::FILE_NAME),
            directory,
            turn: Mutex::new(()),
            _temporary: temporary,
        }
    }

    /// The volume's mount point.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The visible path of the token, for `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub fn token_path(&self) -> &Path {
        &self.token_path
    }

    /// Replaces the token, so that whoever reads it gets the old one or the new one and never a part.
    ///
    /// Opening it may fail with "not found" all the same, as under a real kubelet: the old directory
    /// may be removed while an `open` is on its way through it. Opening it again helps.
    ///
    /// The bytes are written as they are, with mode 0644 and no newline added, so that a test can
    /// also project what is not a token.
    ///
    /// # Errors
    /// When a file operation fails.
    pub fn write(&self, token: impl AsRef<[u8]>) -> io::Result<()> {
        let _turn = lock(&self.turn);
        layout::replace(&self.directory, token.as_ref())
    }

    /// Takes the token away, as if the volume were not mounted.
    ///
    /// # Errors
    /// When a file operation fails, and when there is no token.
    pub fn remove(&self) -> io::Result<()> {
        let _turn = lock(&self.turn);
        layout::remove(&self.directory)
    }
}

/// The steps of `pkg/volume/util/atomic_writer.go` in Kubernetes.
#[cfg(unix)]
mod layout {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};
    use std::{fs, io};

    use pod_identity_core::{Clock, SystemClock};

    use super::ProjectedVolume;
    use crate::ids::text;

    const DATA: &str = "..data";
    const DATA_TEMPORARY: &str = "..data_tmp";

    pub(super) fn replace(directory: &Path, token: &[u8]) -> io::Result<()> {
        let old = target(directory)?;
        let new = payload_name();
        let payload = directory.join(&new);
        fs::create_dir(&payload)?;
        fs::set_permissions(&payload, fs::Permissions::from_mode(0o755))?;
        let file = payload.join(ProjectedVolume::FILE_NAME);
        fs::write(&file, token)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;

        let temporary = directory.join(DATA_TEMPORARY);
        present(fs::remove_file(&temporary))?;
        symlink(&new, &temporary)?;
        fs::rename(&temporary, directory.join(DATA))?;

        let visible = directory.join(ProjectedVolume::FILE_NAME);
        if present(fs::symlink_metadata(&visible))?.is_none() {
            symlink(Path::new(DATA).join(ProjectedVolume::FILE_NAME), &visible)?;
        }
        old.map_or(Ok(()), |old| fs::remove_dir_all(directory.join(old)))
    }

    pub(super) fn remove(directory: &Path) -> io::Result<()> {
        let old = target(directory)?;
        fs::remove_file(directory.join(ProjectedVolume::FILE_NAME))?;
        fs::remove_file(directory.join(DATA))?;
        old.map_or(Ok(()), |old| fs::remove_dir_all(directory.join(old)))
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
        let digits = text(&mut fastrand::Rng::new(), "0123456789", 10);
        format!("..{}.{digits}", seconds.replace(['-', 'T', ':'], "_"))
    }
}

#[cfg(not(unix))]
mod layout {
    use std::path::Path;
    use std::{fs, io};

    use super::ProjectedVolume;

    pub(super) fn replace(directory: &Path, token: &[u8]) -> io::Result<()> {
        let temporary = directory.join("..data_tmp");
        fs::write(&temporary, token)?;
        fs::rename(&temporary, directory.join(ProjectedVolume::FILE_NAME))
    }

    pub(super) fn remove(directory: &Path) -> io::Result<()> {
        fs::remove_file(directory.join(ProjectedVolume::FILE_NAME))
    }
}
