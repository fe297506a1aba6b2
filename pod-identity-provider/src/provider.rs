use std::fmt;
use std::sync::Arc;

use pod_identity_core::Credentials;

use crate::driver::Driver;
use crate::shared_credentials::SharedCredentials;
use crate::{Builder, ConfigError, FetchError, State};

/// AWS credentials from the container-credentials endpoint, refreshed ahead of time.
///
/// Clones share one set of credentials and one background task; the task ends when the last clone is
/// dropped. It has to be used within a tokio runtime with I/O and time enabled, and outlives it: when
/// the runtime is gone, the next one that uses the provider carries on.
///
/// ```no_run
/// use pod_identity_provider::PodIdentityProvider;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = PodIdentityProvider::from_env();
/// let credentials = provider.credentials().await?;
/// println!("{} until {}", credentials.access_key_id(), credentials.expiration());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PodIdentityProvider {
    driver: Result<Arc<Driver>, FetchError>,
}

impl PodIdentityProvider {
    /// From the environment that the EKS webhook or ECS sets in a container, which is read now, once.
    ///
    /// Never fails: what is wrong with the environment is the error of every use. In a chain the next
    /// provider is asked if nothing is configured, and only then. To find out at once, use
    /// [`builder`](Self::builder) and [`build`](Builder::build).
    pub fn from_env() -> Self {
        Self::builder().build().unwrap_or_else(Self::from)
    }

    /// As [`from_env`](Self::from_env), from another environment than the process's.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self::builder()
            .environment(lookup)
            .build()
            .unwrap_or_else(Self::from)
    }

    /// All settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The credentials. At once while a valid set is held, even while it is being refreshed; else as
    /// soon as they are fetched. Everybody who waits shares one fetch.
    ///
    /// The fetch belongs to the provider: dropping the future does not cancel it.
    ///
    /// # Errors
    /// [`FetchError`] when there is no set to hand out, after five attempts or 10 s
    /// ([`RefreshPolicy::provider`](crate::RefreshPolicy::provider)).
    pub async fn credentials(&self) -> Result<Arc<Credentials>, FetchError> {
        match self.with_current(|set| set.credentials().clone()) {
            Some(credentials) => Ok(credentials),
            None => Ok(self.current_or_fetch().await?.credentials().clone()),
        }
    }

    /// The credentials if they are at hand, without waiting. While they are valid this takes neither a
    /// lock nor memory.
    ///
    /// `None` starts a fetch if it is called within a tokio runtime.
    pub fn snapshot(&self) -> Option<Arc<Credentials>> {
        let take = |set: &SharedCredentials| set.credentials().clone();
        self.with_current(take)
            .or_else(|| self.driver.as_ref().ok()?.try_current().as_ref().map(take))
    }

    /// Fetches now, whatever is held: after a role was changed, for example. Joins a fetch that is
    /// already under way.
    ///
    /// Returns what is held afterwards, which is the same as before if the agent has no newer set.
    ///
    /// # Errors
    /// [`FetchError`] when the fetch failed, also while a valid set is held.
    pub async fn refresh_now(&self) -> Result<Arc<Credentials>, FetchError> {
        let set = self.driver()?.refresh().await?;
        Ok(set.credentials().clone())
    }

    /// Waits until credentials are held, so that the first request need not. Await it at start, and in
    /// the readiness probe: with credentials held it costs nothing.
    ///
    /// # Errors
    /// [`FetchError`] as for [`credentials`](Self::credentials). On a node that has just started, the
    /// agent may not answer yet: [`is_retryable`](FetchError::is_retryable) tells.
    pub async fn warm_up(&self) -> Result<(), FetchError> {
        self.credentials().await.map(drop)
    }

    /// A service has rejected the set with this access key id: it is not handed out again, and a new one
    /// is fetched at once.
    ///
    /// Nothing happens if another set is held by now.
    pub fn invalidate(&self, access_key_id: &str) {
        if let Ok(driver) = &self.driver {
            driver.invalidate(access_key_id);
        }
    }

    /// How it is doing.
    pub fn state(&self) -> State {
        match &self.driver {
            Ok(driver) => driver.state(),
            Err(error) => State::failed(error.clone()),
        }
    }

    pub(crate) fn driven_by(driver: Driver) -> Self {
        Self {
            driver: Ok(Arc::new(driver)),
        }
    }

    pub(crate) fn with_current<R>(&self, look: impl FnOnce(&SharedCredentials) -> R) -> Option<R> {
        self.driver.as_ref().ok()?.with_current(look)
    }

    pub(crate) async fn current_or_fetch(&self) -> Result<SharedCredentials, FetchError> {
        self.driver()?.current_or_fetch().await
    }

    fn driver(&self) -> Result<&Arc<Driver>, FetchError> {
        self.driver.as_ref().map_err(Clone::clone)
    }
}

impl From<ConfigError> for PodIdentityProvider {
    /// A provider whose every use fails with this error.
    fn from(error: ConfigError) -> Self {
        Self {
            driver: Err(error.into()),
        }
    }
}

impl fmt::Debug for PodIdentityProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PodIdentityProvider");
        match &self.driver {
            Ok(driver) => debug.field("driver", driver),
            Err(error) => debug.field("error", error),
        };
        debug.finish()
    }
}
