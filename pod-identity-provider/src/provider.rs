use std::fmt;
use std::sync::Arc;

use pod_identity_core::Credentials;

use crate::drive::driver::Driver;
use crate::shared_credentials::SharedCredentials;
use crate::{Builder, ConfigError, FetchError, State};

/// AWS credentials from the container-credentials endpoint, refreshed ahead of time.
///
/// Clones share one set of credentials and one background task, which ends when the last clone is dropped.
/// A provider is used within a tokio runtime with I/O and time enabled, and outlives it: the next runtime
/// that uses the provider carries on. A runtime that is not driven, such as one between two calls of
/// `block_on`, holds up nobody. Only its own callers wait: use `Runtime::block_on`, because `Handle::block_on` on a
/// current-thread runtime that no other thread drives never returns.
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
    /// Creates a provider from the environment that the EKS webhook or ECS sets in a container. The
    /// environment is read once, now.
    ///
    /// Never fails: a fault in the environment is the error of every use. In a chain the next provider is
    /// asked if nothing is configured, and only then. To find out at once, use
    /// [`builder`](Self::builder) and [`build`](Builder::build).
    pub fn from_env() -> Self {
        Self::builder().build().unwrap_or_else(Self::from)
    }

    /// Creates a provider as [`from_env`](Self::from_env), from an environment other than the process's.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self::builder()
            .environment(lookup)
            .build()
            .unwrap_or_else(Self::from)
    }

    /// Returns a builder, for all settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Returns the credentials: at once while a valid set is held, even while it is being refreshed; else
    /// as soon as they are fetched. All callers that wait share one fetch.
    ///
    /// The fetch belongs to the provider: dropping the future does not cancel it. It is carried out on the
    /// runtime of a caller that waits, so that a runtime that only runs inside `block_on` is enough.
    ///
    /// While refreshing fails, a set that has expired is returned if an attempt that was made since has
    /// failed in the last second; it is announced with 16 s of life.
    ///
    /// # Errors
    /// Fails with [`FetchError`] if there is no set to hand out, after five attempts or 10 s
    /// ([`RefreshPolicy::provider`](crate::RefreshPolicy::provider)).
    pub async fn credentials(&self) -> Result<Arc<Credentials>, FetchError> {
        match self.with_current(|set| set.credentials().clone()) {
            Some(credentials) => Ok(credentials),
            None => Ok(self.current_or_fetch().await?.credentials().clone()),
        }
    }

    /// Returns the credentials if that takes no waiting. While they are valid this takes no lock and
    /// allocates nothing.
    ///
    /// Otherwise, and if it is called within a tokio runtime, a fetch begins.
    pub fn snapshot(&self) -> Option<Arc<Credentials>> {
        match self.with_current(|set| set.credentials().clone()) {
            Some(credentials) => Some(credentials),
            None => Some(self.try_current()?.credentials().clone()),
        }
    }

    /// Fetches now, whatever is held, for example after a role was changed. Joins a fetch that is already
    /// under way. A loop of calls causes at most four requests per second after a burst of five.
    ///
    /// Returns what is held afterwards: the new set, even if it expires earlier, or the same as before if
    /// the agent has no other. That is not a failure and does not change the time of the next refresh.
    ///
    /// # Errors
    /// Fails with [`FetchError`] if the fetch failed, also while a valid set is held.
    pub async fn refresh_now(&self) -> Result<Arc<Credentials>, FetchError> {
        let set = self.driver()?.refresh().await?;
        Ok(set.credentials().clone())
    }

    /// Waits until credentials are held, so that the first request does not have to. Call it at the start
    /// of the application and in its readiness probe: with credentials held it costs nothing.
    ///
    /// # Errors
    /// Fails with [`FetchError`] as [`credentials`](Self::credentials). On a node that has just started, the
    /// agent may not answer yet: [`is_retryable`](FetchError::is_retryable) tells.
    pub async fn warm_up(&self) -> Result<(), FetchError> {
        self.credentials().await.map(drop)
    }

    /// Tells the provider that a service has rejected the set with this access key id. A new set is fetched
    /// at once, and callers wait for it.
    ///
    /// If that fetch fails, or the agent has no other set, the set is handed out again, and a refresh is
    /// attempted at the pace of a failing one: a service that is wrong once does not cost the application
    /// a valid set. Rejecting the same set once more changes nothing then. Nothing happens either if
    /// another set is held by now.
    pub fn invalidate(&self, access_key_id: &str) {
        if let Ok(driver) = self.driver() {
            driver.invalidate(access_key_id);
        }
    }

    /// Returns how the provider is doing, for a health endpoint.
    pub fn state(&self) -> State {
        match self.driver() {
            Ok(driver) => driver.state(),
            Err(error) => State::failed(error),
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

    /// Returns the set that a call would return at once, and begins nothing.
    #[cfg(feature = "aws")]
    pub(crate) fn peek(&self) -> Option<SharedCredentials> {
        self.driver().ok()?.peek()
    }

    #[cold]
    pub(crate) fn try_current(&self) -> Option<SharedCredentials> {
        self.driver().ok()?.try_current()
    }

    pub(crate) async fn current_or_fetch(&self) -> Result<SharedCredentials, FetchError> {
        self.driver()?.current_or_fetch().await
    }

    fn driver(&self) -> Result<&Arc<Driver>, FetchError> {
        match &self.driver {
            Ok(driver) => Ok(driver.of_this_process()),
            Err(error) => Err(error.clone()),
        }
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
        match self.driver() {
            Ok(driver) => debug.field("driver", driver),
            Err(error) => debug.field("error", &error),
        };
        debug.finish()
    }
}
