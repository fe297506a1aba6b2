use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use pod_identity_core::AuthorizationToken;

use crate::sync::lock;
use crate::token::layout;
use crate::token::scratch::Scratch;
use crate::{InPlaceWrite, TokenDefect};

/// A projected volume as a container sees it, whose token can be replaced. [`PodToken`](crate::PodToken)
/// replaces it when kubelet does.
///
/// On Unix it is laid out as kubelet's atomic writer does it: a directory
/// `..2006_01_02_15_04_05.<digits>` with the file, the symlink `..data` to it, and the visible
/// `eks-pod-identity-token`, a symlink to `..data/eks-pod-identity-token`. Elsewhere it is a plain
/// file that is replaced by a rename.
///
/// [`spoil`](Self::spoil), [`replace_file`](Self::replace_file) and [`write_in_place`](Self::write_in_place)
/// simulate writers other than kubelet, and their mistakes. The next [`write`](Self::write) repairs
/// everything.
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
    /// The permissions of the next file. Relaxed, because it publishes no other memory.
    mode: AtomicU32,
    /// The token written last. The lock is held over a few short file operations: the volume has one writer at
    /// a time, as under kubelet.
    token: Mutex<Vec<u8>>,
    /// Removes a temporary directory on drop.
    _temporary: Option<Scratch>,
}

impl ProjectedVolume {
    /// The name of the token file: `eks-pod-identity-token`.
    pub const FILE_NAME: &str = layout::FILE_NAME;

    /// Creates a volume without a token, in a temporary directory that is removed when this is dropped. It is in
    /// `/dev/shm`, that is in memory as kubelet's volumes are, or below `TMPDIR` if that is set. What a killed process
    /// leaves, `pod-identity-testkit-…`, is removed by the next process that makes a volume there.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn new() -> io::Result<Self> {
        let temporary = Scratch::new()?;
        let directory = temporary.path().to_owned();
        Ok(Self::at(directory, Some(temporary)))
    }

    /// Opens the volume in this directory, which is created if it is missing and is never removed.
    ///
    /// # Errors
    /// If the directory cannot be created.
    pub fn create_in(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        Ok(Self::at(directory, None))
    }

    fn at(directory: PathBuf, temporary: Option<Scratch>) -> Self {
        let token_path = directory.join(Self::FILE_NAME);
        Self {
            mode: AtomicU32::new(0o644),
            // A volume that is opened again has a token.
            token: Mutex::new(fs::read(&token_path).unwrap_or_default()),
            token_path,
            directory,
            _temporary: temporary,
        }
    }

    /// Returns the mount point.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the visible path of the token, for `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub fn token_path(&self) -> &Path {
        &self.token_path
    }

    /// Sets the permissions of tokens written from now on, on Unix only. Defaults to 0644. With `fsGroup`,
    /// kubelet writes 0600 and then changes it to 0640.
    pub fn set_mode(&self, mode: u32) {
        self.mode.store(mode, Ordering::Relaxed);
    }

    /// Replaces the token atomically: a reader gets the old token or the new one, and never a part.
    ///
    /// Opening the file can still fail with "not found", as under kubelet: the old directory may be removed
    /// while `open` resolves the path. A reader should then open it again.
    ///
    /// The bytes are written unchanged and without a newline, so that a test can also write what is not a token.
    ///
    /// # Errors
    /// If a file operation fails.
    pub fn write(&self, token: impl AsRef<[u8]>) -> io::Result<()> {
        let mut last = lock(&self.token);
        token.as_ref().clone_into(&mut last);
        self.replace(&last)
    }

    /// Removes the token, as if the volume were not mounted.
    ///
    /// # Errors
    /// If a file operation fails or there is no token.
    pub fn remove(&self) -> io::Result<()> {
        let _turn = lock(&self.token);
        layout::remove(&self.directory)
    }

    /// Replaces the token file by one with this defect.
    ///
    /// # Errors
    /// If a file operation fails, or the system does not support the defect.
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
                token.resize(AuthorizationToken::MAX_BYTES + 1, b'x');
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

    /// Replaces the token as `mv` does: renames a plain file over the visible path.
    ///
    /// # Errors
    /// If a file operation fails.
    pub fn replace_file(&self, token: impl AsRef<[u8]>) -> io::Result<()> {
        let mut last = lock(&self.token);
        token.as_ref().clone_into(&mut last);
        layout::rename_over(&self.token_path, &last, self.mode())
    }

    /// Begins to write a token as `>` of a shell does: truncates the file now, and appends as much of the token
    /// as the test writes.
    ///
    /// # Errors
    /// If there is no file to write to.
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

impl fmt::Debug for ProjectedVolume {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectedVolume")
            .field("directory", &self.directory)
            .field("mode", &format_args!("{:04o}", self.mode()))
            .finish_non_exhaustive()
    }
}
