use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{AuthorizationToken, AuthorizationTokenError, variables};

/// The file with the authorization token, which is read for every fetch.
///
/// kubelet replaces the token by swapping a symlink in its path, so the path is followed with each read and never
/// resolved beforehand. The content is parsed as an [`AuthorizationToken`]. Reading blocks. A projected token is in
/// memory (tmpfs) and has about 1.2 KB, but another file system may hang.
///
/// The token itself may have been set by mistake where its path is expected. If the path is longer than 4,096
/// bytes or a component of it longer than 255, `Debug` and errors print only the length of the path. [`path`](Self::path) returns it as given.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("eks-pod-identity-token");
/// # std::fs::write(&path, "header.claims.signature\n")?;
/// use pod_identity_core::TokenFile;
///
/// let token = TokenFile::new(&path).read()?;
/// assert_eq!(token.expose(), "header.claims.signature");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Creates a token file from its path. The file need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the token. Blocks. A file that is not found is looked for twice more at once, because kubelet may be
    /// replacing it.
    ///
    /// # Errors
    /// [`TokenFileError`] if the file cannot be read or does not hold a token.
    pub fn read(&self) -> Result<AuthorizationToken, TokenFileError> {
        let bytes = through_a_swap(|| self.bytes()).map_err(|error| self.failed_with(error))?;
        AuthorizationToken::parse(&bytes).map_err(|error| self.failed_with(error))
    }

    /// Returns the error for a problem with this file, for callers that read it themselves.
    pub fn failed_with(&self, problem: impl Into<TokenFileProblem>) -> TokenFileError {
        TokenFileError {
            path: self.path.clone(),
            problem: problem.into(),
        }
    }

    fn bytes(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, NotAFile));
        }
        // A buffer that grows leaves copies of the token in memory. A buffer much larger than the file takes
        // long to overwrite on drop. The byte beyond the limit distinguishes "full" from "too large".
        let size = usize::try_from(metadata.len()).unwrap_or(AuthorizationToken::MAX_BYTES);
        let mut bytes = Zeroizing::new(Vec::with_capacity(
            size.min(AuthorizationToken::MAX_BYTES) + 1,
        ));
        file.take(AuthorizationToken::MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &Shown(&self.path))
            .finish()
    }
}

/// A path, or only its length if it may be a token.
struct Shown<'a>(&'a Path);

impl Shown<'_> {
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        write_path: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let length = self.0.as_os_str().len();
        match length > LONGEST_PATH || self.0.iter().any(|name| name.len() > LONGEST_NAME) {
            true => write!(f, "<{length} bytes>"),
            false => write_path(f),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |f| self.0.display().fmt(f))
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |f| self.0.fmt(f))
    }
}

/// In bytes: `NAME_MAX` of Linux and of others. A token of Kubernetes is several times as long.
const LONGEST_NAME: usize = 255;

/// In bytes: `PATH_MAX` of Linux, which is longer than that of others.
const LONGEST_PATH: usize = 4096;

/// Reads again what is not found. kubelet removes the old directory right after the swap, so a path that is being
/// resolved at that moment leads nowhere. Resolved again, it leads to the new file.
fn through_a_swap<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut result = read();
    for _again in 0..2 {
        match result {
            Err(ref error) if error.kind() == io::ErrorKind::NotFound => result = read(),
            _ => break,
        }
    }
    result
}

/// Opens a file for reading, without waiting for a writer if it is a FIFO.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, O_NONBLOCK);
    options.open(path)
}

/// The error for a token file that cannot be used.
#[derive(thiserror::Error)]
#[error("token file {}: {problem}", Shown(path))]
pub struct TokenFileError {
    path: PathBuf,
    problem: TokenFileProblem,
}

impl TokenFileError {
    /// Returns the path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what is wrong with the file.
    pub fn problem(&self) -> &TokenFileProblem {
        &self.problem
    }
}

impl fmt::Debug for TokenFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFileError")
            .field("path", &Shown(&self.path))
            .field("problem", &self.problem)
            .finish()
    }
}

/// What is wrong with a token file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileProblem {
    /// The file does not exist. Remedy: mount the volume in this container, or correct the path.
    #[error("does not exist; is the projected token volume mounted in this container?")]
    Missing,
    /// The process may not read the file. Remedy: set `fsGroup` for a container that does not run as root.
    #[error("permission denied; a container that does not run as root may need fsGroup")]
    Denied,
    /// The path is that of a directory. Remedy: name the file in it.
    #[error("is a directory; name the file in it")]
    Directory,
    /// The path is that of a FIFO, a socket or a device, which may block for ever. Remedy: name a regular file.
    #[error("is not a regular file")]
    NotAFile,
    /// The path is not one that a file can have, for example because it is too long, as a token is. Remedy: name the
    /// file; a token itself belongs in `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
    #[error(
        "is not a path that a file can have; is it the token itself, which belongs in {}?",
        variables::TOKEN
    )]
    NotAPath,
    /// The content of the file is not a token.
    #[error("{0}")]
    Content(AuthorizationTokenError),
    /// Another error of the operating system.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

impl From<AuthorizationTokenError> for TokenFileProblem {
    fn from(error: AuthorizationTokenError) -> Self {
        Self::Content(error)
    }
}

impl From<io::Error> for TokenFileProblem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::IsADirectory => Self::Directory,
            io::ErrorKind::InvalidFilename => Self::NotAPath,
            io::ErrorKind::Unsupported if error.get_ref().is_some_and(|it| it.is::<NotAFile>()) => {
                Self::NotAFile
            }
            _ => Self::Io(error),
        }
    }
}

/// The source of the [`io::Error`] for a file that is not a regular one.
#[derive(Debug, thiserror::Error)]
#[error("not a regular file")]
struct NotAFile;

/// `O_NONBLOCK`, which the standard library does not name.
#[cfg(all(unix, target_os = "linux"))]
const O_NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;
/// The value that the BSDs and macOS share.
#[cfg(all(unix, not(target_os = "linux")))]
const O_NONBLOCK: i32 = 0x4;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(content: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        TokenFile::new(&path)
            .read()
            .map(|token| token.expose().to_owned())
            .map_err(|error| {
                error
                    .to_string()
                    .replace(&path.display().to_string(), "PATH")
            })
    }

    #[test]
    fn trailing_white_space_is_cut_off() {
        for content in ["a.b.c", "a.b.c\n", "a.b.c\r\n", "a.b.c \t\n\n"] {
            assert_eq!(read(content.as_bytes()), Ok("a.b.c".into()), "{content:?}");
        }
    }

    #[test]
    fn what_no_header_may_carry_is_refused_and_never_quoted() {
        let too_large = vec![b'a'; AuthorizationToken::MAX_BYTES + 1];
        for (content, problem) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (
                b"a\nb",
                "is not a token: it holds bytes that no header may carry",
            ),
            (
                b"a\0b",
                "is not a token: it holds bytes that no header may carry",
            ),
            (
                b"\xef\xbb\xbfabc",
                "is not a token: it holds bytes that no header may carry",
            ),
            (
                b"\xff\xfe",
                "is not a token: it holds bytes that no header may carry",
            ),
            (&too_large, "is larger than 64 KiB and so not a token"),
        ] {
            assert_eq!(read(content), Err(format!("token file PATH: {problem}")));
        }
        assert!(read(&too_large[1..]).is_ok(), "64 KiB exactly is allowed");
    }

    #[test]
    fn a_missing_file_and_a_directory_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = TokenFile::new(folder.path().join("none"))
            .read()
            .unwrap_err();
        assert!(matches!(missing.problem(), TokenFileProblem::Missing));
        assert!(
            missing
                .to_string()
                .contains(&*missing.path().to_string_lossy()),
            "{missing}"
        );
        let directory = TokenFile::new(folder.path()).read().unwrap_err();
        assert!(
            matches!(directory.problem(), TokenFileProblem::Directory),
            "{directory}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_token_in_the_place_of_the_path_is_recognised_and_not_quoted() {
        for token in [
            format!("eyJh.{}.c2lnbmF0dXJl", "e30".repeat(100)),
            format!("Bearer eyJh.{}.c2lnbmF0dXJl", "e30".repeat(100)),
        ] {
            let file = TokenFile::new(&token);
            let error = file.read().unwrap_err();
            assert!(
                matches!(error.problem(), TokenFileProblem::NotAPath),
                "{error:?}"
            );
            let texts = [format!("{file:?}"), error.to_string(), format!("{error:?}")];
            for text in texts {
                assert!(text.contains(&format!("<{} bytes>", token.len())), "{text}");
                assert!(!text.contains("c2lnbmF0dXJl"), "{text}");
            }
        }
        let file = TokenFile::new("e30/".repeat(1025));
        assert!(!format!("{file:?}").contains("e30"));
        let longest = "n".repeat(LONGEST_NAME);
        assert!(format!("{:?}", TokenFile::new(&longest)).contains(&longest));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_may_never_end_is_refused_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        for path in [&*fifo, Path::new("/dev/zero")] {
            let error = TokenFile::new(path).read().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("token file {}: is not a regular file", path.display())
            );
        }
    }

    #[test]
    fn a_file_that_is_not_found_is_read_twice_more_and_no_other_error_is_repeated() {
        for (failures, kind, reads, is_read) in [
            (2, io::ErrorKind::NotFound, 3, true),
            (3, io::ErrorKind::NotFound, 3, false),
            (1, io::ErrorKind::PermissionDenied, 1, false),
        ] {
            let mut count = 0;
            let result = through_a_swap(|| {
                count += 1;
                if count > failures {
                    Ok(())
                } else {
                    Err(kind.into())
                }
            });
            assert_eq!((count, result.is_ok()), (reads, is_read), "{kind}");
        }
    }

    #[test]
    fn an_error_of_the_operating_system_is_passed_on() {
        let unsupported = io::Error::from(io::ErrorKind::Unsupported);
        assert!(matches!(unsupported.into(), TokenFileProblem::Io(_)));
    }

    #[cfg(unix)]
    #[test]
    fn a_swapped_symlink_is_followed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["one", "two"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("token"), name).unwrap();
        }
        std::os::unix::fs::symlink("one", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", at("token")).unwrap();
        let file = TokenFile::new(at("token"));
        assert_eq!(file.read().unwrap().expose(), "one");
        std::os::unix::fs::symlink("two", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(file.read().unwrap().expose(), "two");
    }
}
