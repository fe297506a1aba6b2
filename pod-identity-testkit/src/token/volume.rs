use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use pod_identity_core::TokenFile;
use tempfile::TempDir;

use crate::sync::lock;
use crate::token::layout;
use crate::{InPlaceWrite, TokenDefect};

/// A projected volume as a container sees it, with a token that can be rotated. [`PodToken`](crate::PodToken)
/// does so when kubelet would.
///
/// On Unix it is laid out as kubelet's atomic writer does it: a directory
/// `..2006_01_02_15_04_05.<digits>` with the file, the symlink `..data` to it, and the visible
/// `eks-pod-identity-token`, a symlink to `..data/eks-pod-identity-token`. Elsewhere it is a plain
/// file that is replaced by a rename.
///
/// Hand-made files are worse: [`spoil`](Self::spoil), [`replace_file`](Self::replace_file) and
/// [`write_in_place`](Self::write_in_place) are what goes wrong there. The next [`write`](Self::write)
/// repairs everything.
///
/// ```
/// use pod_identity_core::TokenFile;
/// use pod_identity_testkit::{ProjectedVolume, TokenDefect};
///
/// let volume = ProjectedVolume::new()?;
/// volume.write("header.claims.first")?;
/// let file = TokenFile::new(volume.token_path());
/// assert_eq!(file.read()?.expose(), "header.claims.first");
///
/// volume.spoil(TokenDefect::Empty)?;
/// assert!(file.read().is_err());
///
/// volume.write("header.claims.second")?;
/// assert_eq!(file.read()?.expose(), "header.claims.second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ProjectedVolume {
    directory: PathBuf,
    token_path: PathBuf,
    mode: AtomicU32,
    /// The token written last. Locked over a few short file operations: one writer at a time, as one
    /// kubelet is.
    token: Mutex<Vec<u8>>,
    /// Removes the directory on drop, where it is ours.
    _temporary: Option<TempDir>,
}

impl ProjectedVolume {
    /// The name of the token file: `eks-pod-identity-token`.
    pub const FILE_NAME: &str = layout::FILE_NAME;

    /// A volume without a token yet, in a temporary directory that goes when this is dropped: in memory
    /// where there is `/dev/shm`, as kubelet has it, unless `TMPDIR` says where.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new() -> io::Result<Self> {
        let temporary = temporary()?;
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
        let token_path = directory.join(Self::FILE_NAME);
        Self {
            mode: AtomicU32::new(0o644),
            // There is one already where the volume is taken up again.
            token: Mutex::new(fs::read(&token_path).unwrap_or_default()),
            token_path,
            directory,
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

    /// The permissions that tokens are written with from now on, where the system is a Unix: 0644 by
    /// default; with `fsGroup` kubelet writes 0600 and then makes it 0640.
    pub fn set_mode(&self, mode: u32) {
        self.mode.store(mode, Ordering::Relaxed);
    }

    /// Replaces the token, so that whoever reads it gets the old one or the new one and never a part.
    ///
    /// Opening it may fail with "not found" all the same, as under a real kubelet: the old directory
    /// may be removed while an `open` is on its way through it. Opening it again helps.
    ///
    /// The bytes are written as they are, with no newline added, so that a test can also project what
    /// is not a token.
    ///
    /// # Errors
    /// When a file operation fails.
    pub fn write(&self, token: impl AsRef<[u8]>) -> io::Result<()> {
        let mut last = lock(&self.token);
        token.as_ref().clone_into(&mut last);
        self.replace(&last)
    }

    /// Takes the token away, as if the volume were not mounted.
    ///
    /// # Errors
    /// When a file operation fails, and when there is no token.
    pub fn remove(&self) -> io::Result<()> {
        let _turn = lock(&self.token);
        layout::remove(&self.directory)
    }

    /// Puts something in the place of the token that is wrong with it.
    ///
    /// # Errors
    /// When a file operation fails, or the system knows no such thing.
    pub fn spoil(&self, defect: TokenDefect) -> io::Result<()> {
        let token = lock(&self.token);
        match defect {
            TokenDefect::Newline => self.replace(&[&token, &b"\n"[..]].concat()),
            TokenDefect::CrLf => self.replace(&[&token, &b"\r\n"[..]].concat()),
            TokenDefect::ByteOrderMark => self.replace(&[b"\xef\xbb\xbf", &token[..]].concat()),
            TokenDefect::Empty => self.replace(b""),
            TokenDefect::Partial => self.replace(token.split_at(token.len() / 2).0),
            TokenDefect::TooLarge => {
                let mut token = token.clone();
                token.resize(TokenFile::MAX_BYTES + 1, b'x');
                self.replace(&token)
            }
            TokenDefect::NotUtf8 => self.replace(&[&token, &b"\xff\xfe"[..]].concat()),
            TokenDefect::Missing => layout::clear(&self.token_path),
            TokenDefect::Directory => {
                layout::clear(&self.token_path)?;
                fs::create_dir(&self.token_path)
            }
            TokenDefect::Unreadable => layout::make_unreadable(&self.token_path),
            TokenDefect::DanglingLink => {
                layout::clear(&self.token_path)?;
                layout::link_to_nothing(&self.token_path)
            }
        }
    }

    /// Replaces the token as `mv` does: a plain file is renamed over the visible path, whatever is there.
    ///
    /// # Errors
    /// When a file operation fails.
    pub fn replace_file(&self, token: impl AsRef<[u8]>) -> io::Result<()> {
        let mut last = lock(&self.token);
        token.as_ref().clone_into(&mut last);
        layout::rename_over(&self.token_path, &last, self.mode())
    }

    /// Begins to write a token as a shell's `>` does: the file is empty now, and has as much of the token
    /// as the test writes next.
    ///
    /// # Errors
    /// When there is no file to write to.
    pub fn write_in_place(&self, token: impl Into<Vec<u8>>) -> io::Result<InPlaceWrite> {
        let token = token.into();
        lock(&self.token).clone_from(&token);
        InPlaceWrite::truncate(&self.token_path, token)
    }

    fn replace(&self, token: &[u8]) -> io::Result<()> {
        layout::replace(&self.directory, token, self.mode())
    }

    fn mode(&self) -> u32 {
        self.mode.load(Ordering::Relaxed)
    }
}

/// On a disk, making and removing files takes longer than all else that a mock does.
fn temporary() -> io::Result<TempDir> {
    if std::env::temp_dir() == Path::new("/tmp")
        && let Ok(in_memory) = tempfile::tempdir_in("/dev/shm")
    {
        return Ok(in_memory);
    }
    tempfile::tempdir()
}

impl fmt::Debug for ProjectedVolume {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectedVolume")
            .field("directory", &self.directory)
            .field("mode", &format_args!("{:04o}", self.mode()))
            .finish_non_exhaustive()
    }
}
