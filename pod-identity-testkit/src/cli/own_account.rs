use std::collections::BTreeMap;
use std::error::Error;
use std::{fmt, io};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::Client;
use aws_sdk_sts::config::Credentials;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::Tag;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use pod_identity_core::wire::eks_auth::{AssumedRoleUser, ErrorCode, SessionCredentials};
use pod_identity_core::{Secret, Timestamp, with_causes, without_long_words};

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
            let code = error.code().map(|code| format!("{code}: "));
            let code = code.unwrap_or_default();
            let said = said(&error);
            io::Error::other(format!(
                "--assume-role cannot use the credentials of the environment: {code}{said}"
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
    let said = said(error);
    ServiceError::new(code).message(format!("cannot assume {role_arn}: {said}"))
}

/// Returns the message of STS, or else the causes of the error. Not its `Debug`, as `DisplayErrorContext` has it: that
/// shows the whole answer.
fn said<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
    R: fmt::Debug + 'static,
{
    let service_error = error.as_service_error();
    let text = match service_error.and_then(ProvideErrorMetadata::message) {
        Some(message) => message.to_owned(),
        None => with_causes(error),
    };
    // If a signature does not match, STS quotes the headers that were signed, with the session token.
    without_long_words(&text, LONGEST_WORD)
}

/// The name in an ARN can be so long; a session token is longer.
const LONGEST_WORD: usize = 200;

/// The longest `RoleSessionName` of STS.
const MAX_NAME: usize = 64;
static NO_TAGS: BTreeMap<String, String> = BTreeMap::new();

#[cfg(test)]
mod tests {
    use aws_sdk_sts::error::ErrorMetadata;
    use aws_sdk_sts::operation::assume_role::AssumeRoleError;

    use super::*;

    /// STS with its answer.
    fn refused(message: Option<&str>) -> SdkError<AssumeRoleError, String> {
        let mut metadata = ErrorMetadata::builder().code("SignatureDoesNotMatch");
        if let Some(message) = message {
            metadata = metadata.message(message);
        }
        let error = AssumeRoleError::generic(metadata.build());
        SdkError::service_error(error, "the whole answer".to_owned())
    }

    #[test]
    fn a_session_token_that_sts_quotes_is_left_out() {
        let token = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCXVz".repeat(8);
        for quoted in [
            token.clone(),
            token.replace('/', "%2F"),
            token.replace('/', "&#x2F;"),
        ] {
            let message = format!(
                "The Canonical String should have been\nx-amz-security-token:{quoted}\nhost"
            );
            assert_eq!(
                said(&refused(Some(&message))),
                "The Canonical String should have been\nx-amz-security-token:<left out>\nhost"
            );
        }
        let arn = format!("arn:aws:iam::111122223333:role/{}", "x".repeat(195));
        let message = format!("not authorized to perform sts:AssumeRole on {arn} (é)");
        assert_eq!(said(&refused(Some(&message))), message);
    }

    #[test]
    fn without_a_message_the_causes_are_named_and_the_answer_is_not() {
        let said = said(&refused(None));
        assert!(said.contains("SignatureDoesNotMatch"), "{said}");
        assert!(!said.contains("answer"), "{said}");
    }
}
