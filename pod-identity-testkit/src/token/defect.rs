use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;

/// What can be wrong with a token file. The token itself is the one written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenDefect {
    /// A line feed at its end, as `echo` leaves it.
    Newline,
    /// A carriage return and a line feed at its end.
    CrLf,
    /// A UTF-8 byte order mark at its start.
    ByteOrderMark,
    /// Nothing in it.
    Empty,
    /// The first half of the token only.
    Partial,
    /// 64 KiB and one byte.
    TooLarge,
    /// Bytes at its end that are not UTF-8.
    NotUtf8,
    /// No file.
    Missing,
    /// A directory of that name.
    Directory,
    /// A mode of 0000, on Unix only. The superuser can read it all the same.
    Unreadable,
    /// A symlink that leads nowhere, on Unix only.
    DanglingLink,
}

impl TokenDefect {
    /// All of them.
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

/// A token that is being written into its file; made by
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

    /// Writes so many more bytes of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn advance(&mut self, bytes: usize) -> io::Result<()> {
        let rest = self.rest.split_off(bytes.min(self.rest.len()));
        let now = std::mem::replace(&mut self.rest, rest);
        self.file.write_all(&now)
    }

    /// Writes the rest of it.
    ///
    /// # Errors
    /// When the file cannot be written.
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
