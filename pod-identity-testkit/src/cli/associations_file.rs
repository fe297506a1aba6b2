use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pod_identity_cli::Failure;
use serde::Deserialize;

use crate::Association;
use crate::eks::associations::associated::Key;
use crate::eks::service::EksAuthService;
use crate::mock::mock::Mock;
use crate::scenario::eks_part::AssociationPart;

/// A file of associations, as of a `ConfigMap`. What it lists is associated; what it no longer lists is not. It does
/// not touch what was associated in another way.
#[derive(Debug)]
pub(super) struct AssociationsFile {
    path: PathBuf,
    /// As it was read last.
    text: Option<String>,
    /// With the id that each has.
    listed: BTreeMap<Key, (Association, String)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    associations: Vec<AssociationPart>,
}

impl AssociationsFile {
    /// # Errors
    /// Fails if the file cannot be read or is malformed.
    pub(super) async fn read(path: PathBuf, eks: &EksAuthService) -> io::Result<Self> {
        let mut file = Self {
            path,
            text: None,
            listed: BTreeMap::new(),
        };
        file.renew(eks).await?;
        Ok(file)
    }

    /// Applies changes for ever. A failure is reported once, and the associations are kept.
    pub(super) async fn follow(mut self, eks: Arc<EksAuthService>) {
        let mut has_failed = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let renewed = self.renew(&eks).await;
            if let Err(error) = &renewed
                && !has_failed
            {
                let _goes_on = Failure::new(1, error).report(super::NAME);
            }
            has_failed = renewed.is_err();
        }
    }

    async fn renew(&mut self, eks: &EksAuthService) -> io::Result<()> {
        let text = tokio::fs::read_to_string(&self.path).await;
        let text = text.map_err(|error| about(&self.path, error.kind(), &error))?;
        if self.text.as_ref() == Some(&text) {
            return Ok(());
        }
        let read: Listed = super::body::read(text.as_bytes())
            .map_err(|error| about(&self.path, io::ErrorKind::InvalidData, &error))?;
        self.text = Some(text);
        self.apply(read.associations, eks);
        Ok(())
    }

    fn apply(&mut self, wanted: Vec<AssociationPart>, eks: &EksAuthService) {
        let mut before = std::mem::take(&mut self.listed);
        let associations = &eks.cluster.associations;
        for AssociationPart(association) in wanted {
            let key = (
                association.namespace().to_owned(),
                association.service_account().to_owned(),
            );
            let id = match before.remove(&key) {
                Some((same, id)) if same == association => id,
                _ => associations.put(association.clone(), eks.now()),
            };
            self.listed.insert(key, (association, id));
        }
        for (_association, id) in before.into_values() {
            associations.remove(&id);
        }
    }
}

fn about(path: &Path, kind: io::ErrorKind, error: &impl std::fmt::Display) -> io::Error {
    let path = path.display();
    io::Error::new(
        kind,
        format!("cannot read the associations of {path}: {error}"),
    )
}

/// kubelet takes up to a minute to renew a file, so a second is not noticed.
const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::body;

    #[test]
    fn a_file_is_an_object_of_objects() {
        let association = r#"{"namespace": "shop", "service_account": "cart",
            "role_arn": "arn:aws:iam::111122223333:role/cart"}"#;
        let file = format!(r#"{{"associations": [{association}]}}"#);
        let read: Listed = body::read(file.as_bytes()).unwrap();
        assert_eq!(read.associations.len(), 1);
        for file in [
            format!("[[{association}]]"),
            r#"{"associations": [["shop", "cart", "arn:aws:iam::111122223333:role/cart"]]}"#
                .to_owned(),
        ] {
            let error = body::read::<Listed>(file.as_bytes()).unwrap_err();
            assert!(error.is_data(), "{file}: {error}");
        }
    }
}
