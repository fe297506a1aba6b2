use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Where the keys of the cluster come from. Never from what a token says.
pub(crate) trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// Fetches a JSON Web Key Set. The caller gives it a deadline.
    ///
    /// # Errors
    /// Fails with a reason in words, for the log.
    fn fetch(&self) -> Fetching<'_>;

    /// The value of the label `source` in a metric.
    fn name(&self) -> &'static str;

    /// Where exactly the keys come from. Stored keys are used only if they came from there.
    fn origin(&self) -> String;
}

/// The future of [`KeySource::fetch`].
pub(crate) type Fetching<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<u8>, KeysUnavailable>> + Send + 'a>>;

/// Why there are no keys, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct KeysUnavailable(pub(crate) String);
