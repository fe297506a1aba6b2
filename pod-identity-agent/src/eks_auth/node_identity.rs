use std::time::Duration;

use aws_config::imds::Client as Imds;
use aws_config::imds::client::error::ImdsError;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::eks_auth::printable::{excerpt, with_causes};

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
    imds: Option<Imds>,
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
    /// Without a client, the identity is already complete.
    pub(crate) fn new(node: NodeIdentity, imds: Option<Imds>) -> Self {
        Self {
            state: Mutex::new(State {
                node,
                is_complete: imds.is_none(),
                retry_at: Instant::now(),
            }),
            imds,
        }
    }

    /// Returns the identity. Details that could not be requested are requested again, once a minute.
    pub(crate) async fn node(&self) -> NodeIdentity {
        let mut state = self.state.lock().await;
        if let Some(imds) = &self.imds
            && !state.is_complete
            && state.retry_at <= Instant::now()
        {
            // Set before the request: an exchange that times out drops this future.
            state.retry_at = Instant::now() + RETRY_INTERVAL;
            state.is_complete = complete(&mut state.node, imds).await;
        }
        state.node.clone()
    }
}

/// Requests the details that are not set, and returns whether every request was answered.
async fn complete(node: &mut NodeIdentity, imds: &Imds) -> bool {
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
        match imds.get(path).await {
            Ok(found) => *known = Some(found.into()),
            Err(ImdsError::ErrorResponse(answer)) if answer.response().status().as_u16() == 404 => {
                warn!(
                    path,
                    "instance metadata does not have it; it is not sent to EKS Auth"
                );
            }
            Err(error) => {
                is_complete = false;
                let error = excerpt(&with_causes(&error), MAX_ERROR);
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
