use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use http::Uri;
use http::uri::PathAndQuery;
use pod_identity_cli::Failure;
use pod_identity_core::JsonObject;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::download::download;
use crate::Issuer;

/// The flags of the issuer whose tokens EKS Auth accepts.
#[derive(Debug, Args)]
pub(super) struct IssuerOptions {
    /// URL of the issuer, as the cluster's tokens have it in `iss` [default: with a URL of --jwks, that of the
    /// server's /.well-known/openid-configuration]
    #[arg(long = "issuer", value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    url: Option<String>,
    /// The keys of a real cluster, whose tokens are then the only ones accepted: a file with the output of
    /// `kubectl get --raw /openid/v1/jwks`, or a URL; read again every minute
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,
    /// Certificate authority of an https URL of --jwks, in PEM
    #[arg(long, value_name = "FILE", requires = "jwks")]
    jwks_ca: Option<PathBuf>,
    /// File with the bearer token for a URL of --jwks
    #[arg(long, value_name = "FILE", requires = "jwks")]
    jwks_token: Option<PathBuf>,
}

/// An issuer, and the task that keeps the keys of its cluster. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct RunningIssuer {
    pub(super) issuer: Issuer,
    refresh: JoinSet<()>,
}

impl RunningIssuer {
    pub(super) fn is_of_a_real_cluster(&self) -> bool {
        !self.refresh.is_empty()
    }
}

impl IssuerOptions {
    /// Returns the issuer of these flags; `None` without a flag.
    ///
    /// # Errors
    /// Fails if the keys or the URL of the issuer cannot be read.
    pub(super) async fn start(&self, region: &str) -> io::Result<Option<RunningIssuer>> {
        let source = self.source();
        let url = match (&self.url, &source) {
            (Some(url), _) => url.clone(),
            (None, Some(source)) => source.issuer().await?,
            (None, None) => return Ok(None),
        };
        let issuer = Issuer::with_url(region, &url);
        let mut refresh = JoinSet::new();
        if let Some(source) = source {
            source.read_into(&issuer).await?;
            refresh.spawn(keep_fresh(source, issuer.clone()));
        }
        Ok(Some(RunningIssuer { issuer, refresh }))
    }

    fn source(&self) -> Option<Source> {
        Some(Source {
            location: self.jwks.clone()?,
            ca: self.jwks_ca.clone(),
            token: self.jwks_token.clone(),
        })
    }
}

/// A failure is reported once, and the keys are kept: a cluster whose API server is unavailable continues to
/// use its tokens.
async fn keep_fresh(source: Source, issuer: Issuer) {
    let mut has_failed = false;
    loop {
        tokio::time::sleep(REFRESH).await;
        let read = source.read_into(&issuer).await;
        if let Err(error) = &read
            && !has_failed
        {
            let _goes_on = Failure::new(1, error).report(super::NAME);
        }
        has_failed = read.is_err();
    }
}

/// What is read of a discovery document.
#[derive(Debug, Deserialize)]
struct Discovery {
    issuer: String,
}

impl Discovery {
    fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let JsonObject(document) = serde_json::from_str(json)?;
        Ok(document)
    }
}

/// The location of a cluster's keys.
#[derive(Debug)]
struct Source {
    location: String,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
}

impl Source {
    async fn read_into(&self, issuer: &Issuer) -> io::Result<()> {
        let read = self.read().await.and_then(|keys| {
            let trusted = issuer.trust_cluster(&keys);
            trusted.map_err(io::Error::other)
        });
        read.map_err(|error| {
            let location = &self.location;
            io::Error::new(
                error.kind(),
                format!("cannot read the keys of {location}: {error}"),
            )
        })
    }

    async fn read(&self) -> io::Result<String> {
        match self.uri() {
            None => tokio::fs::read_to_string(&self.location).await,
            Some(uri) => self.download(&uri).await,
        }
    }

    /// Returns the URL of the issuer, from the discovery document beside the keys.
    async fn issuer(&self) -> io::Result<String> {
        let Some(uri) = self.uri() else {
            let message = "--jwks with a file needs --issuer, the `iss` of the cluster's tokens";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static(DISCOVERY));
        let uri = Uri::from_parts(parts).map_err(io::Error::other)?;
        let read = self
            .download(&uri)
            .await
            .and_then(|document| Ok(Discovery::parse(&document)?.issuer));
        read.map_err(|error| {
            let message =
                format!("cannot read the issuer of {uri}: {error}; or pass it to --issuer");
            io::Error::new(error.kind(), message)
        })
    }

    fn uri(&self) -> Option<Uri> {
        let uri = self.location.parse::<Uri>().ok();
        uri.filter(|uri| uri.scheme().is_some())
    }

    async fn download(&self, uri: &Uri) -> io::Result<String> {
        let token = match &self.token {
            // Read each time: kubelet replaces it.
            Some(path) => Some(tokio::fs::read_to_string(path).await?),
            None => None,
        };
        download(uri, token.as_deref(), self.ca.as_deref()).await
    }
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
/// A cluster publishes a key long before it signs with it.
const REFRESH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discovery_document_is_an_object_with_an_issuer() {
        let document =
            r#"{"issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/keys"}"#;
        assert_eq!(
            Discovery::parse(document).unwrap().issuer,
            "https://issuer.example"
        );
        for document in [r#"["https://issuer.example"]"#, "{}", r#"{"issuer": []}"#] {
            let error = Discovery::parse(document).unwrap_err();
            assert!(error.is_data(), "{document}: {error}");
        }
    }
}
