use std::net::IpAddr;

use crate::doctor::findings::{self, EKS_AUTH_OUT_OF_REACH};
use crate::doctor::node::known::Known;
use crate::doctor::step::Outcome;
use crate::eks_auth::unavailable::Unavailable;

/// The agent's region and its own credentials, as this process finds them.
pub(super) async fn check_credentials(known: &mut Known) -> Outcome {
    let loaded = async {
        let Some(route) = known.eks_auth.route().await? else {
            return Ok("those of the client".to_owned());
        };
        route.load_credentials().await?;
        Ok(format!("loaded, for the region {}", route.region()))
    };
    match loaded.await {
        Ok(seen) => {
            known.may_ask = true;
            Outcome::Fine(seen)
        }
        Err(error) => outcome(&error),
    }
}

/// A connection to EKS Auth, and through what.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let route = match known.eks_auth.route().await {
        Ok(Some(route)) => route,
        Ok(None) | Err(_) => return Outcome::Skipped("its endpoint is not known"),
    };
    let way = route.way();
    let connected = tokio::time::timeout(known.around.timeout, way.connect()).await;
    let connected =
        connected.unwrap_or_else(|_elapsed| Err(Unavailable::TimedOut(known.around.timeout)));
    match connected {
        Ok(address) if way.is_proxy => Outcome::Fine(format!(
            "{} through the proxy {}:{}, {}",
            way.service,
            way.host,
            way.port,
            address.ip()
        )),
        Ok(address) => {
            let kind = if is_private(address.ip()) {
                "a private address, as of a VPC endpoint"
            } else {
                "a public address"
            };
            Outcome::Fine(format!(
                "{} directly, {}, {kind}",
                way.service,
                address.ip()
            ))
        }
        Err(error) => {
            known.may_ask = false;
            outcome(&error)
        }
    }
}

fn outcome(error: &Unavailable) -> Outcome {
    // Whoever runs this on the node may read the cause, which pods are not told.
    let message = error.in_full();
    let finding = findings::in_message(&message).unwrap_or(&EKS_AUTH_OUT_OF_REACH);
    Outcome::found(finding, message)
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
    }
}
