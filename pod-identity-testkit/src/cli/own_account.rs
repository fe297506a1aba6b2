use std::collections::BTreeMap;
use std::error::Error;
use std::{fmt, io};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::Client;
use aws_sdk_sts::config::Credentials;
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::Tag;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use pod_identity_core::wire::eks_auth::{AssumedRoleUser, ErrorCode, SessionCredentials};
use pod_identity_core::{Secret, Timestamp};

use crate::ServiceError;
use crate::eks::account::{Account, Assuming};
use crate::eks::granted::{Assumed, Granted};

/// The account whose credentials the AWS SDK finds in the environment. Its STS assumes the roles.
///
/// EKS assumes a role as the service `pods.eks.amazonaws.com`, which nobody else can be. So the trust policy of a
/// role must also name the principal of these credentials.
pub(super) struct OwnAccount {
    config: SdkConfig,
    client: Client,
    pub(super) id: String,
}

impl OwnAccount {
    /// # Errors
    /// Fails if there are no credentials or STS does not accept them.
    pub(super) async fn connect(region: &str) -> io::Result<Self> {
        let https = Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_https();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(https)
            .load()
            .await;
        let client = Client::new(&config);
        let identity = client.get_caller_identity().send().await.map_err(|error| {
            let cause = DisplayErrorContext(&error);
            io::Error::other(format!(
                "--assume-role cannot use the credentials of the environment: {cause}"
            ))
        })?;
        let id = identity.account().unwrap_or_default().to_owned();
        Ok(Self { config, client, id })
    }

    async fn grant(&self, granted: &Granted) -> Result<Assumed, ServiceError> {
        let association = &granted.association;
        let Some(target) = &association.target_role_arn else {
            let policy = association.policy.as_deref();
            let role = Wanted::new(&association.role_arn, policy, granted);
            return role.assume(&self.client).await;
        };
        let first = Wanted::new(&association.role_arn, None, granted);
        let first = first.assume(&self.client).await?.credentials;
        let client = Client::from_conf(
            aws_sdk_sts::Config::from(&self.config)
                .to_builder()
                .credentials_provider(Credentials::new(
                    first.access_key_id,
                    first.secret_access_key.expose(),
                    Some(first.session_token.expose().to_owned()),
                    None,
                    "pod-identity-testkit",
                ))
                .build(),
        );
        let mut target = Wanted::new(target, association.policy.as_deref(), granted);
        // The tags of the first session are transitive: it may not pass them again.
        target.tags = &NO_TAGS;
        target.external_id = Some(&granted.external_id);
        target.assume(&client).await
    }
}

impl Account for OwnAccount {
    fn assume<'a>(&'a self, granted: &'a Granted) -> Assuming<'a> {
        Box::pin(self.grant(granted))
    }
}

impl fmt::Debug for OwnAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnAccount")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A session that STS is asked for.
struct Wanted<'a> {
    role_arn: &'a str,
    name: String,
    policy: Option<&'a str>,
    tags: &'a BTreeMap<String, String>,
    external_id: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn new(role_arn: &'a str, policy: Option<&'a str>, granted: &'a Granted) -> Self {
        Self {
            role_arn,
            name: granted.session_name().chars().take(MAX_NAME).collect(),
            policy,
            tags: &granted.tags,
            external_id: None,
        }
    }

    async fn assume(&self, client: &Client) -> Result<Assumed, ServiceError> {
        let mut call = client
            .assume_role()
            .role_arn(self.role_arn)
            .role_session_name(&self.name)
            .set_policy(self.policy.map(str::to_owned))
            .set_external_id(self.external_id.map(str::to_owned));
        for (key, value) in self.tags {
            let tag = Tag::builder().key(key).value(value).build();
            let tag = tag.expect("a tag with a key and a value must be complete");
            call = call.tags(tag).transitive_tag_keys(key);
        }
        let output = call
            .send()
            .await
            .map_err(|error| refusal(self.role_arn, &error))?;
        let (Some(user), Some(credentials)) = (output.assumed_role_user, output.credentials) else {
            let message = "the answer of STS has no credentials";
            return Err(ServiceError::new(ErrorCode::InternalServer).message(message));
        };
        Ok(Assumed {
            user: AssumedRoleUser {
                arn: user.arn,
                assume_role_id: user.assumed_role_id,
            },
            credentials: SessionCredentials {
                session_token: Secret::from(credentials.session_token),
                secret_access_key: Secret::from(credentials.secret_access_key),
                access_key_id: credentials.access_key_id,
                expiration: Timestamp::from_unix_secs(credentials.expiration.secs()),
            },
        })
    }
}

/// Says what STS said, unlike EKS Auth: who sets a role up needs the reason.
fn refusal<E, R>(role_arn: &str, error: &SdkError<E, R>) -> ServiceError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: fmt::Debug + 'static,
{
    let service_error = error.as_service_error();
    let code = match service_error.and_then(ProvideErrorMetadata::code) {
        Some("AccessDenied") => ErrorCode::AccessDenied,
        Some("Throttling" | "ThrottlingException") => ErrorCode::Throttling,
        Some(_other) => ErrorCode::InvalidRequest,
        None => ErrorCode::ServiceUnavailable,
    };
    let said = match service_error.and_then(ProvideErrorMetadata::message) {
        Some(message) => message.to_owned(),
        None => DisplayErrorContext(error).to_string(),
    };
    ServiceError::new(code).message(format!("cannot assume {role_arn}: {said}"))
}

/// The longest `RoleSessionName` of STS.
const MAX_NAME: usize = 64;
static NO_TAGS: BTreeMap<String, String> = BTreeMap::new();
