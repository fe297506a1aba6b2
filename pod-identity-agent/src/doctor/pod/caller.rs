use std::path::Path;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::error::ProvideErrorMetadata;

use crate::doctor::findings::STS_FAILED;
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;
use crate::eks_auth::http_clients;
use crate::telemetry::printable::excerpt;
use pod_identity_core::with_causes;

/// Uses the credentials once.
pub(super) async fn check(known: &mut Known) -> Outcome {
    if !known.call_sts {
        return Outcome::Skipped("--get-caller-identity was not given");
    }
    let Some(credentials) = &known.credentials else {
        return Outcome::Skipped("there are no credentials");
    };
    let around = &known.around;
    let Some((_, region)) = around.first_of(&["AWS_REGION", "AWS_DEFAULT_REGION"]) else {
        return Outcome::Skipped("AWS_REGION is not set");
    };
    let bundle = around.variable("AWS_CA_BUNDLE").map(Path::new);
    let http_client = match http_clients::aws_client(bundle, &Arc::default()) {
        Ok(client) => client,
        Err(error) => return Outcome::found(&STS_FAILED, error.to_string()),
    };
    let mut config = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(http_client)
        .credentials_provider(aws_sdk_sts::config::SharedCredentialsProvider::new(
            Credentials::new(
                credentials.access_key_id(),
                credentials.secret_access_key().expose(),
                Some(credentials.session_token().expose().to_owned()),
                None,
                "doctor",
            ),
        ));
    if let Some((_, endpoint)) = around.first_of(&["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"]) {
        config = config.endpoint_url(endpoint);
    }
    let answer = Client::new(&config.build())
        .get_caller_identity()
        .send()
        .await;
    match answer {
        Ok(identity) => Outcome::Fine(identity.arn().unwrap_or("STS names nobody").to_owned()),
        Err(error) => Outcome::found(&STS_FAILED, said(&error)),
    }
}

/// Returns what STS says of it, or why it says nothing. Not the SDK's own report, which has the answer as it is: STS
/// repeats headers of a request whose signature does not match, among them the session token.
fn said(error: &(impl std::error::Error + ProvideErrorMetadata)) -> String {
    let said = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => with_causes(error),
    };
    excerpt(&said, MAX_SAID)
}

const MAX_SAID: usize = 400;
