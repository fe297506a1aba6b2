use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde_json::Value;

use crate::kubernetes::api_server::ApiServer;
use crate::kubernetes::api_server_error::ApiServerError;
use crate::tokens::key_set::KeySet;
use crate::tokens::key_source::{Fetching, KeySource, KeysUnavailable};

/// The API server of the cluster: its document `/openid/v1/jwks`.
///
/// Before Kubernetes 1.34 EKS serves a set there that does not follow its rotations, so it is not used.
#[derive(Debug)]
pub(crate) struct ApiServerKeys {
    api_server: ApiServer,
    /// Whether its version was found to be new enough: a cluster is never downgraded. Relaxed: to ask for
    /// the version once more changes nothing.
    is_new: AtomicBool,
}

impl ApiServerKeys {
    pub(crate) fn new(api_server: ApiServer) -> Self {
        Self {
            api_server,
            is_new: AtomicBool::new(false),
        }
    }

    async fn keys(&self) -> Result<Vec<u8>, KeysUnavailable> {
        if !self.is_new.load(Ordering::Relaxed) {
            let version = self
                .get("/version", "application/json", MAX_VERSION)
                .await?;
            let version = Version::parse(&version)
                .ok_or_else(|| KeysUnavailable("/version names no version".to_owned()))?;
            if version < OLDEST {
                let Version(major, minor) = version;
                let reason = format!(
                    "Kubernetes {major}.{minor} does not serve all keys, which takes 1.34; \
                     name the issuer with --oidc-issuer"
                );
                return Err(KeysUnavailable(reason));
            }
            self.is_new.store(true, Ordering::Relaxed);
        }
        let keys = self
            .get("/openid/v1/jwks", KEY_SET, KeySet::MAX_BYTES)
            .await?;
        Ok(keys.to_vec())
    }

    async fn get(
        &self,
        path: &str,
        accept: &'static str,
        limit: usize,
    ) -> Result<Bytes, KeysUnavailable> {
        let got = async {
            let response = self.api_server.get(path, accept).await?;
            response.succeeded().await?.bytes(limit).await
        };
        let failed = |error: ApiServerError| KeysUnavailable(format!("GET {path}: {error}"));
        got.await.map_err(failed)
    }
}

impl KeySource for ApiServerKeys {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(self.keys())
    }

    fn name(&self) -> &'static str {
        "api-server"
    }

    fn origin(&self) -> String {
        self.api_server.authority()
    }
}

/// Major and minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    /// Reads the document `/version`. A minor version may have a suffix, as in `34+`.
    fn parse(document: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(document).ok()?;
        let number = |name: &str| {
            let text = document.get(name)?.as_str()?;
            let end = text.find(|char: char| !char.is_ascii_digit());
            text.get(..end.unwrap_or(text.len()))?.parse().ok()
        };
        Some(Self(number("major")?, number("minor")?))
    }
}

const OLDEST: Version = Version(1, 34);

/// The API server has the keys in the first of these types only: it answers 406 to those who do not accept it
/// (Kubernetes, `pkg/routes/openidmetadata.go`).
const KEY_SET: &str = "application/jwk-set+json, application/json";

const MAX_VERSION: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use pod_identity_testkit::{Fault, MockApiServer, Operation, SigningKey};

    use super::*;

    #[test]
    fn a_minor_version_may_have_a_suffix() {
        let version = |minor: &str| {
            let document = format!(r#"{{"major":"1","minor":"{minor}"}}"#);
            Version::parse(document.as_bytes())
        };
        for (minor, is_new) in [
            ("33", false),
            ("33+", false),
            ("34", true),
            ("34+", true),
            ("40", true),
        ] {
            assert_eq!(version(minor).unwrap() >= OLDEST, is_new, "{minor}");
        }
        assert_eq!(version("+"), None);
        assert_eq!(version("99999999999"), None);
        assert_eq!(Version::parse(b"{}"), None);
    }

    #[tokio::test]
    async fn keys_of_an_api_server_are_used_from_1_34_on() {
        let mock = MockApiServer::start().await;
        let server = ApiServer::new(&mock.url(), mock.service_account_dir()).unwrap();
        let keys = ApiServerKeys::new(server);
        mock.set_version("v1.33.5-eks-0000000");
        let error = keys.keys().await.unwrap_err().to_string();
        assert!(
            error.contains("Kubernetes 1.33") && error.contains("--oidc-issuer"),
            "{error}"
        );
        assert_eq!(mock.requests_to(Operation::JsonWebKeySet).len(), 0);
        mock.set_version("v1.34.1-eks-0000000");
        mock.issuer().sign_with(SigningKey::Es256);
        let set = KeySet::parse(&keys.keys().await.unwrap()).unwrap();
        assert!(set.has(SigningKey::Es256.id()));
        mock.on(Operation::JsonWebKeySet)
            .inject(Fault::error("Forbidden"));
        let error = keys.keys().await.unwrap_err().to_string();
        assert!(
            error.contains("403") && error.contains("permission"),
            "{error}"
        );
    }
}
