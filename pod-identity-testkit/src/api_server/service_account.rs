use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use std::{fs, io};

use pod_identity_core::{Timestamp, TokenDigest};

use crate::Issuer;
use crate::sync::lock;
use crate::token::scratch::Scratch;

/// The files from which a pod's client takes what it needs to reach the API server: `token`, `ca.crt` and
/// `namespace`, as they are at `/var/run/secrets/kubernetes.io/serviceaccount`.
#[derive(Debug)]
pub(crate) struct ServiceAccount {
    namespace: String,
    name: String,
    issuer: Issuer,
    directory: Scratch,
    /// The tokens that are accepted, the one in the file last.
    accepted: Mutex<Vec<TokenDigest>>,
}

impl ServiceAccount {
    /// # Errors
    /// Fails if the files cannot be written.
    pub(crate) fn create(
        namespace: String,
        name: String,
        issuer: Issuer,
        ca_pem: &str,
        now: Timestamp,
    ) -> io::Result<Self> {
        let directory = Scratch::new()?;
        fs::write(directory.path().join("ca.crt"), ca_pem)?;
        fs::write(directory.path().join("namespace"), &namespace)?;
        let account = Self {
            namespace,
            name,
            issuer,
            directory,
            accepted: Mutex::default(),
        };
        account.rotate(now)?;
        Ok(account)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its name as a user.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// Writes a new token, as kubelet does. The old ones stay good.
    ///
    /// # Errors
    /// Fails if the file cannot be replaced.
    pub(crate) fn rotate(&self, now: Timestamp) -> io::Result<()> {
        let token = self.issuer.token(&self.namespace, &self.name);
        let token = token.audience(AUDIENCE).lifetime(LIFETIME).mint(now);
        let mut accepted = lock(&self.accepted);
        accepted.push(TokenDigest::of(token.as_bytes()));
        let new: PathBuf = self.directory().join("..new");
        fs::write(&new, token)?;
        fs::rename(new, self.directory().join("token"))
    }

    /// Refuses all tokens but the one in the file.
    pub(crate) fn revoke_old(&self) {
        let mut accepted = lock(&self.accepted);
        let old = accepted.len().saturating_sub(1);
        accepted.drain(..old);
    }

    pub(crate) fn accepts(&self, token: &str) -> bool {
        lock(&self.accepted).contains(&TokenDigest::of(token.as_bytes()))
    }
}

/// Of the API server in EKS and most other clusters.
const AUDIENCE: &str = "https://kubernetes.default.svc";

/// EKS accepts them for 90 days, although kubelet replaces them within the hour.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
