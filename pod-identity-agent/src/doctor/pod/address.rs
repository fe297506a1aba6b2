use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pod_identity_core::{Endpoint, Host};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::doctor::finding::Found;
use crate::doctor::findings::{NO_ROUTE, REFUSED, TIMED_OUT, UNRESOLVED};
use crate::doctor::http_exchange::connect;
use crate::doctor::pod::known::Known;
use crate::doctor::step::Outcome;

/// Connects to the agent.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let Some(endpoint) = &known.endpoint else {
        return Outcome::Skipped("no variable names an agent");
    };
    let patience = known.around.timeout;
    let addresses = match resolved(endpoint, patience).await {
        Ok(addresses) => addresses,
        Err(found) => return Outcome::Found(vec![found]),
    };
    let mut found = Vec::new();
    for address in addresses {
        match connect(address, patience).await {
            Ok(_connected) => {
                known.address = Some(address);
                return Outcome::Fine(format!("{address} accepts connections"));
            }
            Err(error) => found.push(failed(address, &error, patience)),
        }
    }
    Outcome::Found(found)
}

async fn resolved(endpoint: &Endpoint, patience: Duration) -> Result<Vec<SocketAddr>, Found> {
    let found: Vec<_> = match endpoint.host() {
        Host::Name(name) => {
            let looked_up = timeout(patience, lookup_host((name.as_str(), endpoint.port()))).await;
            match looked_up.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())) {
                Ok(addresses) => addresses.map(|address| address.ip()).collect(),
                Err(error) => return Err(UNRESOLVED.with(format!("{name}: {error}"))),
            }
        }
        _ => Vec::new(),
    };
    let checked = endpoint.check_resolved(found);
    checked.map_err(|error| UNRESOLVED.with(error.to_string()))
}

fn failed(address: SocketAddr, error: &io::Error, patience: Duration) -> Found {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
            REFUSED.with(address.to_string())
        }
        io::ErrorKind::TimedOut => {
            TIMED_OUT.with(format!("no connection to {address} within {patience:?}"))
        }
        _ => NO_ROUTE.with(format!("{address}: {error}")),
    }
}
