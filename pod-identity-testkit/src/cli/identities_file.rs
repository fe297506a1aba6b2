use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pod_identity_cli::Failure;
use serde_json::{Value, json};

use crate::MockEksAuth;
use crate::eks::associations::associated::Key;

/// Writes the webhook's configuration file at each change of the associations, before the change is answered: EKS
/// tells its webhook, too.
///
/// # Errors
/// Fails if the file cannot be written. A later failure is reported, and the webhook keeps what it has.
pub(super) fn keep(eks: &MockEksAuth, path: PathBuf) -> io::Result<()> {
    write(&path, Vec::new())?;
    eks.service().cluster.associations.watch(move |keys| {
        if let Err(error) = write(&path, keys) {
            let _goes_on = Failure::new(1, error).report(super::NAME);
        }
    });
    Ok(())
}

/// Replaces the file as a whole: the webhook may be reading it.
fn write(path: &Path, keys: Vec<Key>) -> io::Result<()> {
    let identities: Vec<Value> = keys
        .into_iter()
        .map(|(namespace, name)| json!({ "namespace": namespace, "serviceAccount": name }))
        .collect();
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let written =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).and_then(|mut file| {
            write!(file, "{}", json!({ "identities": identities }))?;
            Ok(file.persist(path)?)
        });
    written.map(drop).map_err(|error| {
        let path = path.display();
        io::Error::new(error.kind(), format!("cannot write {path}: {error}"))
    })
}
