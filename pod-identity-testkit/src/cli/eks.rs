use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use pod_identity_cli::{Environment, Signals, no_proxy};
use pod_identity_core::Secret;
use serde_json::{Map, json};
use tokio::task::JoinSet;

use super::admin::Admin;
use super::associations_file::AssociationsFile;
use super::controls::EksControls;
use super::issuer::IssuerOptions;
use super::moving_clock::MovingClock;
#[cfg(feature = "assume-role")]
use super::own_account::OwnAccount;
use super::parent::Parent;
use super::pod::{self, Listen, Pod, Record, ScenarioFile};
use super::pod_volume::PodVolume;
use super::{identities_file, ready};
use crate::eks::associations::rules::is_role_arn;
use crate::{Issuer, MockEksAuth, MockEksAuthBuilder, Scenario, SignatureCheck};

/// The flags of `eks`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    pod: Pod,
    #[command(flatten)]
    file: ScenarioFile,
    #[command(flatten)]
    record: Record,
    /// Name of the cluster [default: test-cluster]
    #[arg(short, long)]
    cluster_name: Option<String>,
    /// Account of the cluster [default: 111122223333, or with --assume-role that of the credentials]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Region of the cluster [default: us-west-2]
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    issuer: IssuerOptions,
    /// URL of the API server, as `aws eks update-kubeconfig` writes it [default: one without a server]
    #[arg(long, value_name = "URL", requires = "api_server_ca")]
    api_server: Option<String>,
    /// Certificate authority of the API server, in PEM
    #[arg(long, value_name = "FILE", requires = "api_server")]
    api_server_ca: Option<PathBuf>,
    /// Create an association, as namespace/service-account=role-arn; may be repeated
    #[arg(long, value_parser = association)]
    associate: Vec<NewAssociation>,
    /// File of associations in JSON, as {"associations": [{"namespace": "shop", "service_account": "cart",
    /// "role_arn": "arn:aws:iam::111122223333:role/cart"}]}; its changes are applied within a second
    #[arg(long, value_name = "FILE")]
    associations_file: Option<PathBuf>,
    /// Write the webhook's --identities-file here at each change of the associations
    #[arg(long, value_name = "FILE")]
    identities_file: Option<PathBuf>,
    /// Grant real credentials: assume the role of the association by sts:AssumeRole, with the session's tags and
    /// the credentials of the environment, which its trust policy must allow
    #[cfg(feature = "assume-role")]
    #[arg(long)]
    assume_role: bool,
    /// How the signatures of requests are checked [default: off]
    #[arg(long, value_enum)]
    signatures: Option<Signatures>,
}

impl Options {
    fn builder(&self, issuer: Option<Issuer>) -> io::Result<MockEksAuthBuilder> {
        let mut builder = MockEksAuth::builder()
            .unverified()
            .record_limit(self.record.limit());
        if let Some(scenario) = &self.file.scenario {
            builder = builder.scenario(scenario);
        }
        if let Some(name) = &self.cluster_name {
            builder = builder.cluster(name);
        }
        if let Some(region) = &self.region {
            builder = builder.region(region);
        }
        if let Some(account) = &self.account {
            builder = builder.account(account);
        }
        if let (Some(url), Some(path)) = (&self.api_server, &self.api_server_ca) {
            let ca = std::fs::read_to_string(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            builder = builder.api_server(url, ca);
        }
        if let Some(issuer) = issuer {
            builder = builder.issuer(issuer);
        }
        if let Some(signatures) = self.signatures {
            builder = builder.signatures(signatures.into());
        }
        Ok(builder)
    }

    /// Sets the real account, if it is wanted.
    ///
    /// # Errors
    /// Fails as [`OwnAccount::connect`].
    #[cfg(feature = "assume-role")]
    async fn with_own_account(
        &self,
        builder: MockEksAuthBuilder,
        region: &str,
    ) -> io::Result<MockEksAuthBuilder> {
        if !self.assume_role {
            return Ok(builder);
        }
        let own = OwnAccount::connect(region).await?;
        let builder = match &self.account {
            Some(_) => builder,
            None => builder.account(&own.id),
        };
        Ok(builder.real_account(Box::new(own)))
    }
}

#[derive(Debug, Clone)]
struct NewAssociation {
    identity: (String, String),
    role_arn: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Signatures {
    /// Require that a signature is present
    Off,
    /// Record the error of a signature
    Warn,
    /// Refuse an invalid signature; the key must be the one of the ready line, or a minted one
    Enforce,
}

impl From<Signatures> for SignatureCheck {
    fn from(signatures: Signatures) -> Self {
        match signatures {
            Signatures::Off => Self::Off,
            Signatures::Warn => Self::Warn,
            Signatures::Enforce => Self::Enforce,
        }
    }
}

/// Serves until a signal, or until the process that started it has ended.
///
/// # Errors
/// Fails if the mock cannot listen, a file cannot be read, or standard output is closed.
pub(super) async fn serve(options: Options) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let parent = Parent::watch()?;
    let no_proxy = no_proxy();
    let clock = Arc::new(MovingClock::default());
    let region = options.file.region(options.region.as_deref());
    let issuer = options.issuer.start(&region).await?;
    let builder = options.builder(issuer.as_ref().map(|it| it.issuer.clone()))?;
    #[cfg(feature = "assume-role")]
    let builder = options.with_own_account(builder, &region).await?;
    let eks = builder
        .listener(options.listen.listener().await?)
        .node_key(KEY_ID, Secret::from(SECRET_KEY.to_owned()))
        .clock(clock.clone())
        .start()
        .await?;
    for NewAssociation { identity, role_arn } in options.associate {
        eks.associate(identity.0, identity.1, role_arn);
    }
    if let Some(path) = options.identities_file {
        identities_file::keep(&eks, path)?;
    }
    // It ends with this function.
    let mut following = JoinSet::new();
    if let Some(path) = options.associations_file {
        let file = AssociationsFile::read(path, eks.service()).await?;
        following.spawn(file.follow(eks.service().clone()));
    }
    let scenario = options.file.scenario;
    let (namespace, service_account) = options.pod.identity(scenario.as_ref());
    let mut token = eks.issuer().token(namespace, service_account);
    if let Some(lifetime) = scenario.as_ref().and_then(Scenario::token_lifetime) {
        token = token.lifetime(lifetime);
    }
    let pod = Arc::new(PodVolume::project(token, clock.clone())?);
    if let Some(scenario) = &scenario {
        pod.begin(scenario.pod_actions()).await?;
    }

    let endpoint = eks.endpoint();
    let key = (KEY_ID, SECRET_KEY);
    let environment = Environment::of_caller(&endpoint, eks.region(), key, no_proxy.as_deref());
    let mut line = Map::from_iter([
        ("endpoint".to_owned(), json!(endpoint)),
        ("cluster".to_owned(), json!(eks.cluster())),
        ("region".to_owned(), json!(eks.region())),
        ("access_key_id".to_owned(), json!(KEY_ID)),
        ("secret_access_key".to_owned(), json!(SECRET_KEY)),
    ]);
    // If only a real cluster's tokens are accepted, the mock has none to offer.
    if issuer.as_ref().is_none_or(|it| !it.is_of_a_real_cluster()) {
        line.insert("token_file".to_owned(), json!(pod.volume.token_path()));
    }
    ready::add_environment(&mut line, &environment);
    let controls = EksControls { eks, pod, scenario };
    let admin = Admin::start(controls, clock).await?;
    line.insert("admin".to_owned(), admin.to_json());
    ready::say(line)?;
    tokio::select! {
        () = signals.shutdown() => {}
        () = parent.gone() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn association(text: &str) -> Result<NewAssociation, String> {
    match text.split_once('=') {
        Some((identity, role_arn)) if is_role_arn(role_arn) => Ok(NewAssociation {
            identity: pod::identity(identity)?,
            role_arn: role_arn.to_owned(),
        }),
        _ => Err("expected namespace/service-account=role-arn, such as \
             shop/cart=arn:aws:iam::111122223333:role/cart"
            .to_owned()),
    }
}

/// The example of the AWS documentation.
const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
