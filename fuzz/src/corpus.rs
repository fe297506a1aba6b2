use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Returns the inputs that are kept for a target, in the order of their names.
///
/// # Errors
/// Fails if there are none, because there would be nothing to mutate.
pub fn read_corpus(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let folder = folder(target);
    let mut paths = fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::other(format!("{} is empty", folder.display())));
    }
    paths.iter().map(fs::read).collect()
}

/// Keeps an input for which a property does not hold, so that it is tried first from now on. Returns its path.
///
/// # Errors
/// Fails if it cannot be written.
pub fn keep(target: &str, input: &[u8]) -> io::Result<PathBuf> {
    let number = fs::read_dir(folder(target))?.count();
    let path = folder(target).join(format!("found-{number:03}"));
    fs::write(&path, input)?;
    Ok(path)
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}
