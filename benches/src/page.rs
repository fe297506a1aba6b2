use std::fs;
use std::io;
use std::path::PathBuf;

/// The part of `docs/benchmarks.md` that a bench writes: Markdown, and figures beside it.
#[derive(Debug)]
pub struct Page {
    folder: PathBuf,
}

impl Page {
    /// Returns the page in the folder that `BENCH_PAGE` names, where it is set.
    #[expect(clippy::disallowed_methods, reason = "the edge of the programs")]
    pub fn wanted() -> Option<Self> {
        let folder = std::env::var_os("BENCH_PAGE")?;
        Some(Self {
            folder: folder.into(),
        })
    }

    /// Writes the part of this name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, markdown: &str) -> io::Result<()> {
        fs::write(self.folder.join(name).with_extension("md"), markdown)
    }

    /// Writes a figure, to which the page refers as `benchmarks/NAME.svg`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn figure(&self, name: &str, svg: &str) -> io::Result<()> {
        fs::write(self.folder.join(name).with_extension("svg"), svg)
    }
}
