//! Signs a request with the AWS SDK for Rust for every line of standard input, and prints whose credentials it
//! used.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::Client;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let chain = Observed {
        chain: config.credentials_provider().ok_or("no provider")?,
        last: Arc::default(),
    };
    let service = SharedHttpConnector::new(Service);
    let client = Client::from_conf(
        aws_sdk_sts::config::Builder::from(&config)
            .credentials_provider(chain.clone())
            .http_client(http_client_fn(move |_, _| service.clone()))
            .build(),
    );
    let mut lines = BufReader::new(stdin()).lines();
    while lines.next_line().await?.is_some() {
        println!("{}", asked(&client, &chain).await);
    }
    Ok(())
}

async fn asked(client: &Client, chain: &Observed) -> String {
    if let Err(error) = client.get_caller_identity().send().await {
        return format!("failed {}", name(&error));
    }
    match &*chain.last.lock().expect("nobody panics with it") {
        None => "without AccessKeyId".to_owned(),
        Some(credentials) => told(credentials),
    }
}

fn told(credentials: &Credentials) -> String {
    let parts = [
        ("AccessKeyId", credentials.access_key_id()),
        ("SecretAccessKey", credentials.secret_access_key()),
        ("Token", credentials.session_token().unwrap_or_default()),
    ];
    if let Some((name, _)) = parts.iter().find(|(_, part)| part.is_empty()) {
        return format!("without {name}");
    }
    let expiry = credentials.expiry().and_then(|expiry| expiry.duration_since(UNIX_EPOCH).ok());
    let expiry = expiry.map_or("never".to_owned(), |expiry| expiry.as_secs().to_string());
    format!("key {} {expiry}", credentials.access_key_id())
}

/// Returns the variant of the credentials' error, a source of the request's error.
fn name(error: &(dyn Error + 'static)) -> String {
    eprintln!("{error:?}");
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            return variant(error);
        }
        cause = error.source();
    }
    variant(error)
}

fn variant(error: &dyn Error) -> String {
    format!("{error:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// The default chain, and the credentials that it returned last.
#[derive(Debug, Clone)]
struct Observed {
    chain: SharedCredentialsProvider,
    last: Arc<Mutex<Option<Credentials>>>,
}

impl ProvideCredentials for Observed {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(async {
            let credentials = self.chain.provide_credentials().await?;
            *self.last.lock().expect("nobody panics with it") = Some(credentials.clone());
            Ok(credentials)
        })
    }
}

/// Takes the place of STS.
#[derive(Debug)]
struct Service;

impl HttpConnector for Service {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        let body = "<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>";
        let answer = HttpResponse::new(200.try_into().expect("a status"), SdkBody::from(body));
        HttpConnectorFuture::ready(Ok(answer))
    }
}
