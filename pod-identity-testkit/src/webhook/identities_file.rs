use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::{fs, io};

use super::identity::{self, Identity};
use crate::sync::lock;

/// The configuration file of the webhook, which may change at any time.
///
/// It is read for each request, so that a change is effective at once and nothing has to watch it. It is small
/// and local, so reading it may block.
#[derive(Debug)]
pub(crate) struct IdentitiesFile {
    path: PathBuf,
    /// The service accounts of the last well-formed version. The lock is held for a copy only.
    last: Mutex<BTreeSet<Identity>>,
}

impl IdentitiesFile {
    pub(crate) fn new(path: PathBuf, before: BTreeSet<Identity>) -> Self {
        Self {
            path,
            last: Mutex::new(before),
        }
    }

    /// Returns the service accounts of the file: none if it is missing, and those of the last well-formed version
    /// if it is malformed or cannot be read.
    pub(crate) fn current(&self) -> BTreeSet<Identity> {
        let read = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(BTreeSet::new()),
            Err(_unreadable) => None,
            Ok(file) => identity::parse(&file).ok(),
        };
        let mut last = lock(&self.last);
        if let Some(read) = read {
            *last = read;
        }
        last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed_and_a_malformed_file_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let cart = BTreeSet::from([Identity::new("shop", "cart")]);
        let file = IdentitiesFile::new(path.clone(), cart.clone());

        assert_eq!(file.current(), BTreeSet::new(), "missing");
        let text = r#"{"identities":[{"namespace":"shop","serviceAccount":"cart"}]}"#;
        fs::write(&path, text).unwrap();
        assert_eq!(file.current(), cart);
        fs::write(&path, text.split_at(20).0).unwrap();
        assert_eq!(file.current(), cart, "half written");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(file.current(), cart, "unreadable");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(file.current(), BTreeSet::new(), "empty");
    }
}
