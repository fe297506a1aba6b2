use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::Secret;

/// The file that holds the authorization token, read anew for every fetch.
///
/// kubelet replaces the token by swapping a symlink above it, so the path is followed as given each
/// time and never resolved beforehand. Trailing white space is cut off, because some hand-made files
/// end in a newline and no header value may. Reading is blocking and short: the file lives in memory
/// (tmpfs) and is about 1.2 KB.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// The largest file that is read: 64 KiB. The largest real token has 2.3 KB; what is larger is
    /// not a token.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// A token file at this path, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the token.
    ///
    /// # Errors
    /// [`TokenFileError`], which names the path and what is wrong with it.
    pub fn read(&self) -> Result<Secret, TokenFileError> {
        let fail = |problem| TokenFileError {
            path: self.path.clone(),
            problem,
        };
        let bytes = self
            .bytes_through_a_swap()
            .map_err(|error| fail(TokenFileProblem::from(error)))?;
        token_text(&bytes).map_err(fail)
    }

    /// kubelet removes the old directory right after the swap, so a path that was being resolved just then
    /// leads nowhere; the next one leads to the new file.
    fn bytes_through_a_swap(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut result = self.bytes();
        for _again in 0..2 {
            match result {
                Err(ref error) if error.kind() == io::ErrorKind::NotFound => result = self.bytes(),
                _ => break,
            }
        }
        result
    }

    fn bytes(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = File::open(&self.path)?;
        // Reserved at once, because a buffer that grows leaves copies of the token behind; and not much
        // larger than the file, because all of it is overwritten when dropped. One byte more than
        // allowed tells "full" from "too large".
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(Self::MAX_BYTES);
        let mut bytes = Zeroizing::new(Vec::with_capacity(size.min(Self::MAX_BYTES) + 1));
        file.take(Self::MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The token in `bytes`: trailing ASCII white space cut off, then no control byte allowed.
///
/// # Errors
/// [`TokenFileProblem`] when it is empty, too large, or not text that a header may carry.
pub(crate) fn token_text(bytes: &[u8]) -> Result<Secret, TokenFileProblem> {
    if bytes.len() > TokenFile::MAX_BYTES {
        return Err(TokenFileProblem::TooLarge);
    }
    let text =
        std::str::from_utf8(bytes.trim_ascii_end()).map_err(|_quotes| TokenFileProblem::NotText)?;
    if text.is_empty() {
        return Err(TokenFileProblem::Empty);
    }
    if text.starts_with('\u{feff}') || text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(TokenFileProblem::NotText);
    }
    Ok(Secret::from(text.to_owned()))
}

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("token file {}: {problem}", path.display())]
pub struct TokenFileError {
    path: PathBuf,
    #[source]
    problem: TokenFileProblem,
}

impl TokenFileError {
    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &TokenFileProblem {
        &self.problem
    }
}

/// What can be wrong with a token file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileProblem {
    /// Nothing is there. Cure: mount the volume in this container, or correct the path.
    #[error("does not exist; is the projected token volume mounted in this container?")]
    Missing,
    /// The process may not read it. Cure: set `fsGroup` for a container that does not run as root.
    #[error("permission denied; a container that does not run as root may need fsGroup")]
    Denied,
    /// The path names a directory. Cure: name the file in it.
    #[error("is a directory; name the file in it")]
    Directory,
    /// Empty, or nothing but white space.
    #[error("is empty")]
    Empty,
    /// More than [`TokenFile::MAX_BYTES`].
    #[error("is larger than 64 KiB and so not a token")]
    TooLarge,
    /// Not UTF-8, starts with a byte order mark, or has control bytes within.
    #[error("is not a token: it holds bytes that no header may carry")]
    NotText,
    /// Another failure of the operating system.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for TokenFileProblem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Io(error),
        }
    }
}

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
        let too_large = vec![b'a'; TokenFile::MAX_BYTES + 1];
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
