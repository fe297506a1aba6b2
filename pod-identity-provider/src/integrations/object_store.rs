use std::sync::Arc;

use async_trait::async_trait;
use object_store::aws::AwsCredential;
use object_store::{CredentialProvider, Error, Result};
use pod_identity_core::Credentials;

use crate::PodIdentityProvider;

#[async_trait]
impl CredentialProvider for PodIdentityProvider {
    type Credential = AwsCredential;

    /// As [`credentials`](PodIdentityProvider::credentials). The store asks for every request, so that
    /// each is signed with the newest set.
    async fn get_credential(&self) -> Result<Arc<AwsCredential>> {
        match self.credentials().await {
            Ok(credentials) => Ok(Arc::new(convert(&credentials))),
            Err(error) => Err(Error::Generic {
                store: STORE,
                source: error.into(),
            }),
        }
    }
}

fn convert(credentials: &Credentials) -> AwsCredential {
    AwsCredential {
        key_id: credentials.access_key_id().to_owned(),
        secret_key: credentials.secret_access_key().expose().to_owned(),
        token: session_token(credentials),
    }
}

/// A long-lived key has none.
fn session_token(credentials: &Credentials) -> Option<String> {
    let token = credentials.session_token().expose();
    (!token.is_empty()).then(|| token.to_owned())
}

/// The name of the S3 store in the crate's own errors.
const STORE: &str = "S3";
