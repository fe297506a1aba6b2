use std::net::SocketAddr;
use std::time::Duration;

use crate::doctor::findings::{NO_TOKEN_KEYS, OLD_TOKEN_KEYS};
use crate::doctor::node::agent::ask;
use crate::doctor::node::known::Known;
use crate::doctor::step::Outcome;
use crate::tokens::key_ring::{DISK, KeyRing, STALE};

/// Whether the agent has the keys of the cluster, as its metrics show, and where it has them from. Where they
/// are missing or old, the sources are asked for the reason.
pub(super) async fn check(known: &mut Known) -> Outcome {
    let Some(ring) = &known.keys else {
        return Outcome::Skipped("--verify-tokens=false leaves each token to EKS Auth");
    };
    let held = match known.agent.metrics {
        Some(address) => Held::of_agent(address, known.around.timeout).await,
        None => None,
    };
    match held {
        None => match ask_sources(ring).await {
            Ok(now) => Outcome::Fine(format!(
                "{now}; no metrics of an agent show whether it has them"
            )),
            Err(reason) => Outcome::found(&NO_TOKEN_KEYS, reason),
        },
        Some(Held { number: 0, .. }) => {
            let now = ask_sources(ring).await;
            Outcome::found(&NO_TOKEN_KEYS, now.unwrap_or_else(|reason| reason))
        }
        Some(held) if held.is_old() => {
            let now = ask_sources(ring).await;
            let now = now.unwrap_or_else(|reason| reason);
            Outcome::found(&OLD_TOKEN_KEYS, format!("{}; {now}", held.text()))
        }
        Some(held) => Outcome::Fine(held.text()),
    }
}

/// The keys that a running agent has.
struct Held {
    number: usize,
    mode: String,
    age: Duration,
}

impl Held {
    /// `None` if nobody answers there, or somebody without these metrics.
    async fn of_agent(address: SocketAddr, patience: Duration) -> Option<Self> {
        let answer = ask(address, "/metrics", patience).await.ok()?;
        let page = String::from_utf8_lossy(answer.body());
        let after = |prefix: &str| page.lines().find_map(|line| line.strip_prefix(prefix));
        let mode = after("pod_identity_verification_mode{mode=\"")?;
        Some(Self {
            number: after("pod_identity_token_keys ")?.parse().ok()?,
            mode: mode.split_once('"')?.0.to_owned(),
            age: Duration::try_from_secs_f64(
                after("pod_identity_token_keys_age_seconds ")?
                    .parse()
                    .ok()?,
            )
            .ok()?,
        })
    }

    fn is_old(&self) -> bool {
        self.mode == DISK || self.age > STALE
    }

    fn text(&self) -> String {
        let Self { number, mode, age } = self;
        let verb = if mode == DISK { "stored" } else { "fetched" };
        let minutes = age.as_secs() / 60;
        format!("{} from {mode}, {verb} {minutes} min ago", counted(*number))
    }
}

/// What the sources say now.
async fn ask_sources(ring: &KeyRing) -> Result<String, String> {
    if !ring.has_sources() {
        return Err("neither an API server nor an issuer is known".to_owned());
    }
    let (keys, source) = ring.ask_sources().await?;
    Ok(format!("{source} has {} now", counted(keys.len())))
}

fn counted(keys: usize) -> String {
    match keys {
        1 => "1 key".to_owned(),
        _ => format!("{keys} keys"),
    }
}
