use std::fs::{self, DirBuilder, FileType, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::tokens::key_set::{KeySet, KeySetError};

/// The keys of the cluster on the node's disk, so that an agent that starts in an outage of the API server
/// verifies tokens at once.
///
/// The file is a JSON Web Key Set with the name of the cluster and of where the keys came from. Its directory is
/// only for its owner: whoever could write to it could make the agent trust other keys.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    cluster: String,
}

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    #[error("it is of the cluster {0:?}")]
    OtherCluster(String),
    #[error("its keys are of another source, {0:?}")]
    OtherOrigin(String),
    #[error("it is {0}, and not a regular file")]
    NotAFile(&'static str),
    #[error("users other than its owner may write to it")]
    Writable,
    #[error("it is owned by the user {0}, who is neither root nor the agent's")]
    OtherOwner(u32),
}

impl KeyFile {
    pub(crate) fn new(path: PathBuf, cluster: String) -> Self {
        Self { path, cluster }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How long ago the file was written, if that can be read.
    pub(crate) fn age(&self) -> Option<Duration> {
        fs::metadata(&self.path)
            .ok()?
            .modified()
            .ok()?
            .elapsed()
            .ok()
    }

    /// Reads the keys. `None` if there is no file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is not a set of keys of this cluster that came from one of the
    /// `origins`, or may have been written by others.
    pub(crate) fn read(&self, origins: &[String]) -> Result<Option<KeySet>, KeyFileError> {
        // A FIFO must not hold up the start.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(&self.path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let mode = metadata.permissions().mode();
        if !metadata.is_file() {
            return Err(KeyFileError::NotAFile(kind(metadata.file_type())));
        }
        check_access(metadata.uid(), rustix::process::geteuid().as_raw(), mode)?;
        let mut text = Vec::new();
        file.take(KeySet::MAX_BYTES as u64 + 1)
            .read_to_end(&mut text)?;
        let keys = KeySet::parse(&text)?;
        let file: Option<Value> = serde_json::from_slice(&text).ok();
        let text = |name: &str| {
            let text = file.as_ref().and_then(|file| file.get(name)?.as_str());
            text.unwrap_or_default()
        };
        let short = |text: &str| text.chars().take(MAX_NAME).collect();
        let (cluster, origin) = (text("cluster"), text("origin"));
        if cluster != self.cluster {
            return Err(KeyFileError::OtherCluster(short(cluster)));
        }
        if !origins.iter().any(|known| known == origin) {
            return Err(KeyFileError::OtherOrigin(short(origin)));
        }
        Ok(Some(keys))
    }

    /// Replaces the file at once: a reader finds the old keys or the new ones. The directory is created for
    /// its owner only, and permissions of others are taken away.
    ///
    /// # Errors
    /// Fails if the directory or the file cannot be written.
    pub(crate) fn write(&self, keys: &KeySet, origin: &str) -> io::Result<()> {
        let parent = self.path.parent();
        let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new("."));
        if !directory.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        } else if self.is_ours() {
            fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        }
        let (cluster, keys) = (&self.cluster, keys.document());
        let text = json!({ "cluster": cluster, "origin": origin, "keys": keys }).to_string();
        // Each write has a file of its own, which only its owner may read: in a handover two agents write at once.
        let mut next = tempfile::Builder::new()
            .prefix(".jwks-")
            .tempfile_in(directory)?;
        next.write_all(text.as_bytes())?;
        next.as_file().sync_all()?;
        next.persist(&self.path)?;
        Ok(())
    }

    /// Whether the directory is named after the agent, and so for nothing else.
    fn is_ours(&self) -> bool {
        let directory = self.path.parent().and_then(Path::file_name);
        directory.is_some_and(|name| name == DIRECTORY)
    }
}

/// Returns what a file is that is not a regular one.
fn kind(of: FileType) -> &'static str {
    match of {
        of if of.is_dir() => "a directory",
        of if of.is_fifo() => "a FIFO",
        of if of.is_char_device() || of.is_block_device() => "a device",
        _ => "a special file",
    }
}

/// Checks whether others than root and the agent, whose user is `own`, may have written a file.
fn check_access(owner: u32, own: u32, mode: u32) -> Result<(), KeyFileError> {
    if owner != 0 && owner != own {
        return Err(KeyFileError::OtherOwner(owner));
    }
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(KeyFileError::Writable),
    }
}

/// Where the keys are kept, as by the official agent.
pub(crate) const DEFAULT_KEY_FILE: &str = "/var/lib/eks-pod-identity-agent/jwks-cache.json";

/// A name of a cluster has at most 100 characters. The URL of an issuer is seldom longer, and is shown only.
const MAX_NAME: usize = 100;

const DIRECTORY: &str = "eks-pod-identity-agent";

#[cfg(test)]
mod tests {
    use std::thread;

    use pod_identity_testkit::{Issuer, SigningKey};

    use super::*;

    fn keys(issuer: &Issuer) -> KeySet {
        KeySet::parse(issuer.jwks().as_bytes()).unwrap()
    }

    const ORIGIN: &str = "https://issuer.example";

    fn origins() -> [String; 1] {
        [ORIGIN.to_owned()]
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_was_written_is_read_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DIRECTORY).join("jwks-cache.json");
        let file = KeyFile::new(path.clone(), "shop".to_owned());
        assert_eq!(file.read(&origins()).unwrap(), None);
        let issuer = Issuer::new();
        file.write(&keys(&issuer), ORIGIN).unwrap();
        assert_eq!(file.read(&origins()).unwrap(), Some(keys(&issuer)));
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        issuer.sign_with(SigningKey::Es256);
        file.write(&keys(&issuer), ORIGIN).unwrap();
        assert_eq!(file.read(&origins()).unwrap().unwrap().len(), 2);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_ours_to_trust_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let file = KeyFile::new(path.clone(), "shop".to_owned());
        let good: Value = serde_json::from_str(&Issuer::new().jwks()).unwrap();
        let write = |text: &str| fs::write(&path, text).unwrap();
        for garbage in ["", "{", "{\"cluster\":\"shop\",\"keys\":[]}", "\u{1}"] {
            write(garbage);
            assert!(
                matches!(file.read(&origins()), Err(KeyFileError::KeySet(_))),
                "{garbage}"
            );
        }
        write(&good.to_string());
        assert!(matches!(
            file.read(&origins()),
            Err(KeyFileError::OtherCluster(_))
        ));
        let mut other = good;
        other["cluster"] = json!("bank");
        write(&other.to_string());
        assert!(
            matches!(file.read(&origins()), Err(KeyFileError::OtherCluster(name)) if name == "bank")
        );
        other["cluster"] = json!("shop");
        write(&other.to_string());
        assert!(matches!(
            file.read(&origins()),
            Err(KeyFileError::OtherOrigin(_))
        ));
        other["origin"] = json!("https://other.example");
        write(&other.to_string());
        assert!(matches!(
            file.read(&origins()),
            Err(KeyFileError::OtherOrigin(_))
        ));
        other["origin"] = json!(ORIGIN);
        write(&other.to_string());
        assert!(file.read(&origins()).unwrap().is_some());
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(file.read(&origins()), Err(KeyFileError::Writable)));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = file.read(&origins()).unwrap_err().to_string();
        assert_eq!(error, "it is a directory, and not a regular file");
        assert!(file.write(&keys(&Issuer::new()), ORIGIN).is_err());
        let left = fs::read_dir(folder.path()).unwrap();
        assert_eq!(left.count(), 1, "a write that fails leaves nothing");
    }

    #[test]
    fn a_fifo_is_named_and_does_not_hold_up_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        let file = KeyFile::new(path, "shop".to_owned());
        let error = file.read(&origins()).unwrap_err().to_string();
        assert_eq!(error, "it is a FIFO, and not a regular file");
    }

    #[test]
    fn agents_that_write_at_the_same_time_leave_a_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let sets = [keys(&Issuer::new()), keys(&Issuer::new())];
        thread::scope(|scope| {
            for keys in &sets {
                let file = KeyFile::new(path.clone(), "shop".to_owned());
                scope.spawn(move || {
                    for _write in 0..20 {
                        file.write(keys, ORIGIN).unwrap();
                        assert!(file.read(&origins()).unwrap().is_some());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_root_and_the_agents_user_may_own_the_file_and_only_its_owner_may_write_to_it() {
        let access = |owner, mode| check_access(owner, 7, mode);
        for (owner, mode) in [(0, 0o600), (7, 0o600), (7, 0o100_644)] {
            assert!(access(owner, mode).is_ok(), "{owner} {mode:o}");
        }
        assert!(matches!(access(8, 0o600), Err(KeyFileError::OtherOwner(8))));
        for mode in [0o620, 0o602, 0o100_666] {
            assert!(matches!(access(7, mode), Err(KeyFileError::Writable)));
        }
    }
}
