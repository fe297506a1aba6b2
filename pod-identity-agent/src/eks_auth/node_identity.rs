use aws_config::imds::Client as Imds;
use tracing::warn;

/// What EKS Auth is told about the node; nothing unless told. In the service's model since 2026-08.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeIdentity {
    /// The node's name in the cluster.
    pub name: Option<String>,
    /// Its EC2 instance id.
    pub instance_id: Option<String>,
    /// The id of its Availability Zone, such as `usw2-az1`: ids name the same zone in every account, names do not.
    pub zone: Option<String>,
}

impl NodeIdentity {
    /// With what instance metadata says of the instance, where nothing is set. The node's name in the
    /// cluster is not in there: it may be a host name or the instance id, as the subnet has it.
    pub(crate) async fn completed_by(mut self, imds: &Imds) -> Self {
        for (known, path) in [
            (&mut self.instance_id, "/latest/meta-data/instance-id"),
            (
                &mut self.zone,
                "/latest/meta-data/placement/availability-zone-id",
            ),
        ] {
            if known.is_none() {
                *known = look_up(imds, path).await;
            }
        }
        self
    }
}

async fn look_up(imds: &Imds, path: &str) -> Option<String> {
    match imds.get(path).await {
        Ok(found) => Some(found.into()),
        Err(error) => {
            warn!(%error, path, "instance metadata does not say; EKS Auth is not told");
            None
        }
    }
}
