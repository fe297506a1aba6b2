use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;

/// A defect of a token file. The token in it is the one that was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenDefect {
    /// A line feed after the token, as `echo` writes it.
    Newline,
    /// A carriage return and a line feed after the token.
    CrLf,
    /// A UTF-8 byte order mark before the token.
    ByteOrderMark,
    /// An empty file.
    Empty,
    /// Only the first half of the token.
    Partial,
    /// A file of 64 KiB and one byte, more than [`TokenFile`](pod_identity_core::TokenFile) reads.
    TooLarge,
    /// Bytes after the token that are not UTF-8.
    NotUtf8,
    /// A missing file.
    Missing,
    /// A directory in place of the file.
    Directory,
    /// Mode 0000, on Unix only. The superuser can still read the file.
    Unreadable,
    /// A symbolic link to a missing file, on Unix only.
    DanglingLink,
}

impl TokenDefect {
    /// Every defect.
    pub const ALL: [Self; 11] = [
        Self::Newline,
        Self::CrLf,
        Self::ByteOrderMark,
        Self::Empty,
        Self::Partial,
        Self::TooLarge,
        Self::NotUtf8,
        Self::Missing,
        Self::Directory,
        Self::Unreadable,
        Self::DanglingLink,
    ];
}

/// A token that is being written into its file. Returned by
/// [`ProjectedVolume::write_in_place`](crate::ProjectedVolume::write_in_place).
///
/// Dropping it leaves the rest unwritten.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use pod_identity_testkit::ProjectedVolume;
///
/// let volume = ProjectedVolume::new()?;
/// volume.write("header.claims.first")?;
/// let mut writing = volume.write_in_place("header.claims.second")?;
/// assert_eq!(std::fs::read(volume.token_path())?, b"");
/// writing.advance(6)?;
/// assert_eq!(std::fs::read(volume.token_path())?, b"header");
/// writing.finish()?;
/// assert_eq!(std::fs::read(volume.token_path())?, b"header.claims.second");
/// # Ok(())
/// # }
/// ```
#[must_use = "what is not written stays away"]
pub struct InPlaceWrite {
    file: File,
    rest: Vec<u8>,
}

impl InPlaceWrite {
    pub(crate) fn truncate(path: &Path, token: Vec<u8>) -> io::Result<Self> {
        let file = File::options().write(true).truncate(true).open(path)?;
        Ok(Self { file, rest: token })
    }

    /// Writes this many more bytes of the token.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn advance(&mut self, bytes: usize) -> io::Result<()> {
        let rest = self.rest.split_off(bytes.min(self.rest.len()));
        let now = std::mem::replace(&mut self.rest, rest);
        self.file.write_all(&now)
    }

    /// Writes the rest of the token.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.write_all(&self.rest)
    }
}

impl fmt::Debug for InPlaceWrite {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPlaceWrite")
            .field("rest", &self.rest.len())
            .finish_non_exhaustive()
    }
}
