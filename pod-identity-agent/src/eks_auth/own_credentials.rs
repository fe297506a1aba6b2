use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::Region;
use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::imds::Client as Imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{self, ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvideFuture;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::{Env, Fs};
use pod_identity_core::{Clock, SystemClock, with_causes};
use tracing::{info, warn};

use crate::eks_auth::http_clients;
use crate::eks_auth::unavailable::Unavailable;
use crate::telemetry::printable::excerpt;

/// The agent's own identity: its region and its credentials.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) region: Region,
    pub(crate) credentials: SharedCredentialsProvider,
}

impl Identity {
    /// Looks the region up (environment, shared config file, instance metadata) and builds the chain of
    /// credential sources: environment, shared files, web identity, instance metadata.
    ///
    /// A container provider is never among them: with `AWS_CONTAINER_CREDENTIALS_*` in its own
    /// environment, or a profile that names it, the agent would call itself. STS is called through
    /// `aws_client`; instance metadata never through a proxy.
    ///
    /// # Errors
    /// Fails if no region is known.
    pub(crate) async fn find(
        aws_client: &SharedHttpClient,
        rotate: bool,
    ) -> Result<Self, Unavailable> {
        let imds = imds();
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else(
                ImdsRegionProvider::builder()
                    .imds_client(imds.clone())
                    .build(),
            )
            .region()
            .await
            .ok_or(Unavailable::NoRegion)?;
        let region = checked_region(&region)?;
        let config = ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_http_client(aws_client.clone());
        let web_identity = WebIdentityTokenCredentialsProvider::builder()
            .configure(&config)
            .build();
        let profile = RereadProfile {
            region: region.clone(),
            aws_client: aws_client.clone(),
            rotate,
        };
        let instance = ImdsCredentialsProvider::builder().imds_client(imds).build();
        let environment = EnvironmentVariableCredentialsProvider::new();
        let chain = CredentialsProviderChain::first_try("Environment", environment)
            .or_else("Profile", profile)
            .or_else("WebIdentityToken", web_identity)
            .or_else("Ec2InstanceMetadata", instance);
        Ok(Self {
            region,
            credentials: SharedCredentialsProvider::new(CheckedCredentials::new(chain)),
        })
    }
}

/// The region becomes part of a header when a request is signed, and the signer panics at a line end, which
/// a variable from a file or a YAML block easily has.
fn checked_region(region: &Region) -> Result<Region, Unavailable> {
    let name = region.as_ref().trim();
    let is_valid = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if is_valid(name) {
        Ok(Region::new(name.to_owned()))
    } else {
        let region = excerpt(name, 64);
        Err(Unavailable::MalformedRegion { region })
    }
}

/// Reads the shared files once, only to find errors in them: aws-config logs an error and then lacks settings
/// of the profile, such as its endpoint, for as long as the process lives.
///
/// # Errors
/// Fails if a file is malformed. A missing file counts as empty.
pub(crate) async fn check_shared_files() -> Result<(), Unavailable> {
    match profile::load(&Fs::real(), &Env::real(), &Default::default(), None).await {
        Ok(_profiles) => Ok(()),
        Err(error) => Err(Unavailable::SharedFiles {
            reason: excerpt(&with_causes(&error), MAX_CAUSE),
        }),
    }
}

/// Returns a client of instance metadata that never uses a proxy.
pub(crate) fn imds() -> Imds {
    Imds::builder()
        .configure(
            &ProviderConfig::without_region().with_http_client(http_clients::loopback_client()),
        )
        .connect_timeout(IMDS_TIMEOUT)
        .read_timeout(IMDS_TIMEOUT)
        .max_attempts(2)
        .build()
}

/// Instance metadata answers within milliseconds, or not at all.
const IMDS_TIMEOUT: Duration = Duration::from_secs(1);

/// The chain of sources. Its keys are checked here, and each cause of a failure is logged once. Other code
/// only gets the kind of a failure, because the cause can quote the output of a `credential_process` or an
/// answer of instance metadata.
#[derive(Debug)]
struct CheckedCredentials {
    chain: CredentialsProviderChain,
    /// The cause that the log has named; `None` when the last load succeeded. Held to compare only.
    logged: Mutex<Option<String>>,
}

impl CheckedCredentials {
    fn new(chain: CredentialsProviderChain) -> Self {
        Self {
            chain,
            logged: Mutex::default(),
        }
    }

    async fn load(&self) -> provider::Result {
        let loaded = self.chain.provide_credentials().await.and_then(check_keys);
        let cause = loaded
            .as_ref()
            .err()
            .map(|error| excerpt(&with_causes(error), MAX_CAUSE));
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != cause {
            match &cause {
                Some(cause) => warn!(cause, "the agent's own credentials cannot be loaded"),
                None => info!("the agent's own credentials are loaded again"),
            }
            *logged = cause;
        }
        loaded
    }
}

impl ProvideCredentials for CheckedCredentials {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::new(self.load())
    }
}

/// Refuses keys that do not fit a header, for example with a pasted line end: the signer would panic.
fn check_keys(credentials: Credentials) -> provider::Result {
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let invalid = if !fits(credentials.access_key_id()) {
        "the access key id"
    } else if !fits(credentials.secret_access_key()) {
        "the secret access key"
    } else if !credentials.session_token().is_none_or(fits) {
        "the session token"
    } else {
        return Ok(credentials);
    };
    Err(CredentialsError::invalid_configuration(format!(
        "{invalid} is empty or holds a line end, a space or another character that no key has"
    )))
}

/// In characters: enough for the message of an AWS error, and not for a whole answer.
const MAX_CAUSE: usize = 256;

/// The provider of a profile with `credential_source = EcsContainer`.
#[derive(Debug)]
struct Refused;

impl ProvideCredentials for Refused {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::ready(Err(CredentialsError::invalid_configuration(
            "credential_source = EcsContainer would make the agent ask itself; use Ec2InstanceMetadata",
        )))
    }
}

/// The shared files, read again for each load.
///
/// aws-config never reads a file again, not even one that was missing or half-written when it was first read;
/// clones of its configuration share the content. So everything is rebuilt each time. A failed load is
/// repeated with the next exchange; loaded credentials are kept until they expire, or for a minute
/// if `rotate` is set, as with the official agent's `--rotate-credentials`.
#[derive(Debug)]
struct RereadProfile {
    region: Region,
    aws_client: SharedHttpClient,
    rotate: bool,
}

impl RereadProfile {
    async fn load(&self) -> provider::Result {
        let config = ProviderConfig::without_region()
            .with_region(Some(self.region.clone()))
            .with_http_client(self.aws_client.clone());
        let mut loaded = ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .with_custom_provider("EcsContainer", Refused)
            .build()
            .provide_credentials()
            .await?;
        if self.rotate {
            let reread = (SystemClock.now() + REREAD_INTERVAL).into();
            let expiry = loaded.expiry().map_or(reread, |expiry| expiry.min(reread));
            *loaded.expiry_mut() = Some(expiry);
        }
        Ok(loaded)
    }
}

impl ProvideCredentials for RereadProfile {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::new(self.load())
    }
}

/// The official agent re-reads the file every minute.
const REREAD_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::telemetry::logging::tests::logged_in_virtual_time;

    #[test]
    fn a_region_is_trimmed_and_must_be_one() {
        let checked = |name: &str| checked_region(&Region::new(name.to_owned()));
        assert_eq!(checked("us-west-2\n").unwrap().as_ref(), "us-west-2");
        for wrong in ["us west", "us-west-2\nx", "é", "eu_west"] {
            let error = checked(wrong).unwrap_err().to_string();
            assert!(error.contains("check AWS_REGION"), "{error}");
        }
    }

    #[test]
    fn keys_that_do_not_fit_a_header_are_refused_without_being_quoted() {
        let keys = |id: &str, secret: &str, token: Option<&str>| {
            check_keys(Credentials::new(
                id,
                secret,
                token.map(str::to_owned),
                None,
                "test",
            ))
        };
        assert!(keys("AKIANODE", "secret/+=", None).is_ok());
        assert!(keys("ASIANODE", "secret", Some("token==")).is_ok());
        for (id, secret, token, named) in [
            ("AKIANODE\n", "secret", None, "the access key id"),
            ("", "secret", None, "the access key id"),
            ("AKIANODE", "sec\r\nret", None, "the secret access key"),
            ("ASIANODE", "secret", Some("tok en"), "the session token"),
        ] {
            let error = with_causes(&keys(id, secret, token).unwrap_err());
            assert!(error.contains(named), "{error}");
            assert!(!error.contains("AKIANODE"), "{error}");
        }
    }

    /// Has credentials at every third time.
    #[derive(Debug, Default)]
    struct Rare(std::sync::atomic::AtomicUsize);

    impl ProvideCredentials for Rare {
        fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
        where
            Self: 'a,
        {
            let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            ProvideFuture::ready(match asked % 3 {
                2 => Ok(Credentials::new("AKIANODE", "secret", None, None, "test")),
                _ => Err(CredentialsError::provider_error("no route")),
            })
        }
    }

    #[test]
    fn the_cause_of_missing_credentials_and_its_end_are_each_logged_once() {
        let lines = logged_in_virtual_time(LevelFilter::INFO, async {
            let chain = CredentialsProviderChain::first_try("Rare", Rare::default());
            let checked = CheckedCredentials::new(chain);
            for _ in 0..6 {
                let _loaded = checked.provide_credentials().await;
            }
        });
        let lines = lines.iter().map(|line| line["msg"].as_str().unwrap());
        let own: Vec<_> = lines
            .filter(|msg| msg.starts_with("the agent's own"))
            .collect();
        let (lost, found) = (
            "the agent's own credentials cannot be loaded",
            "the agent's own credentials are loaded again",
        );
        assert_eq!(own, [lost, found, lost, found]);
    }
}
