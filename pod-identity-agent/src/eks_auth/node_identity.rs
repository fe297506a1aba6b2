use std::fmt;
use std::time::Duration;

use aws_config::imds::Client as Imds;
use aws_config::imds::client::error::ImdsError;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::telemetry::printable::excerpt;
use pod_identity_core::with_causes;

/// The details of the node that are sent to EKS Auth; none by default. The service's model has them since
/// 2026-08.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeIdentity {
    /// The node's name in the cluster.
    pub name: Option<String>,
    /// Its EC2 instance id.
    pub instance_id: Option<String>,
    /// The id of its Availability Zone, such as `usw2-az1`: ids name the same zone in every account, names
    /// do not.
    pub zone: Option<String>,
}

/// The node's identity, completed by instance metadata where that is asked for.
///
/// The node's name in the cluster is not in there: it may be a host name or the instance id, as the subnet
/// has it.
#[derive(Debug)]
pub(crate) struct NodeDiscovery {
    metadata: Option<Box<dyn Metadata>>,
    /// Held while instance metadata is requested, so that simultaneous exchanges wait for its answer.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    node: NodeIdentity,
    is_complete: bool,
    retry_at: Instant,
}

impl NodeDiscovery {
    /// Without metadata, the identity is already complete.
    pub(crate) fn new(node: NodeIdentity, metadata: Option<Box<dyn Metadata>>) -> Self {
        Self {
            state: Mutex::new(State {
                node,
                is_complete: metadata.is_none(),
                retry_at: Instant::now(),
            }),
            metadata,
        }
    }

    /// Returns the identity. Details that could not be requested are requested again, once a minute.
    pub(crate) async fn node(&self) -> NodeIdentity {
        let mut state = self.state.lock().await;
        if let Some(metadata) = &self.metadata
            && !state.is_complete
            && state.retry_at <= Instant::now()
        {
            // Set before the request: an exchange that times out drops this future.
            state.retry_at = Instant::now() + RETRY_INTERVAL;
            state.is_complete = complete(&mut state.node, &**metadata).await;
        }
        state.node.clone()
    }
}

/// Instance metadata.
pub(crate) trait Metadata: fmt::Debug + Send + Sync {
    /// Requests the value at a path. `None`: there is no such value, and there will be none.
    ///
    /// # Errors
    /// Fails with the reason when there is no answer.
    fn value<'a>(&'a self, path: &'static str) -> BoxFuture<'a, Result<Option<String>, String>>;
}

impl Metadata for Imds {
    fn value<'a>(&'a self, path: &'static str) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async move {
            match self.get(path).await {
                Ok(found) => Ok(Some(found.into())),
                Err(ImdsError::ErrorResponse(answer))
                    if answer.response().status().as_u16() == 404 =>
                {
                    Ok(None)
                }
                Err(error) => Err(excerpt(&with_causes(&error), MAX_ERROR)),
            }
        })
    }
}

/// Requests the details that are not set, and returns whether every request was answered.
async fn complete(node: &mut NodeIdentity, metadata: &dyn Metadata) -> bool {
    let mut is_complete = true;
    for (known, path) in [
        (&mut node.instance_id, "/latest/meta-data/instance-id"),
        (
            &mut node.zone,
            "/latest/meta-data/placement/availability-zone-id",
        ),
    ] {
        if known.is_some() {
            continue;
        }
        match metadata.value(path).await {
            Ok(Some(found)) => *known = Some(found),
            Ok(None) => {
                warn!(
                    path,
                    "instance metadata does not have it; it is not sent to EKS Auth"
                );
            }
            Err(error) => {
                is_complete = false;
                warn!(
                    error,
                    path, "instance metadata cannot be asked; trying again in a minute"
                );
            }
        }
    }
    is_complete
}

const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// In characters.
const MAX_ERROR: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers after the first two questions.
    #[derive(Debug, Default)]
    struct Late(AtomicUsize);

    impl Metadata for Late {
        fn value<'a>(
            &'a self,
            path: &'static str,
        ) -> BoxFuture<'a, Result<Option<String>, String>> {
            let asked = self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                match asked {
                    0 | 1 => Err("no route".to_owned()),
                    _ if path.ends_with("instance-id") => Ok(Some("i-1".to_owned())),
                    _ => Ok(None),
                }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_asked_for_is_asked_for_again_after_a_minute_until_it_is_answered() {
        let discovery = NodeDiscovery::new(NodeIdentity::default(), Some(Box::<Late>::default()));
        let found = NodeIdentity {
            instance_id: Some("i-1".to_owned()),
            ..NodeIdentity::default()
        };
        assert_eq!(discovery.node().await, NodeIdentity::default());
        tokio::time::advance(RETRY_INTERVAL - Duration::from_millis(1)).await;
        assert_eq!(discovery.node().await, NodeIdentity::default(), "not yet");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(discovery.node().await, found);
        let state = discovery.state.lock().await;
        assert!(state.is_complete, "there is no zone to ask for again");
    }
}
