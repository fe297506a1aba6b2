use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use pod_identity_core::Clock;
use pod_identity_core::wire::agent::AllowedHosts;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::stream::{self, ClientEnd};
use super::world::{KeysOf, World};
use crate::EksAuth;
use crate::credentials::cache::CredentialCache;
use crate::credentials::handler::CredentialsHandler;
use crate::credentials::settings::Settings;
use crate::eks_auth::outage::Outage;
use crate::eks_auth::reachability::Reachability;
use crate::eks_auth::upstream::Upstream;
use crate::serve::connection;
use crate::serve::connection_limits::ConnectionLimits;
use crate::serve::connections::Connections;
use crate::serve::drain::{self, Drain, DrainTrigger, DrainWatcher};
use crate::serve::respond::{ConnectionRejected, Reply, Respond};
use crate::telemetry::audit::AuditLog;
use crate::telemetry::metrics::{Metrics, Reading};
use crate::telemetry::readiness::Readiness;
use crate::tokens::key_ring::KeyRing;

/// An agent without sockets: all of it that a request meets, put together as `Agent::run` does.
pub(super) struct Node {
    pub(super) connections: Arc<Connections>,
    cache: Arc<CredentialCache>,
    responder: Arc<Counting>,
    /// A task for each connection.
    serving: Mutex<JoinSet<()>>,
    background: Mutex<JoinSet<()>>,
    trigger: DrainTrigger,
    watcher: DrainWatcher,
}

/// Counts what gets no answer.
struct Counting {
    handler: CredentialsHandler,
    rejected: AtomicUsize,
}

impl Node {
    pub(super) fn new(
        world: &Arc<World>,
        settings: Settings,
        limits: ConnectionLimits,
        verifies: bool,
    ) -> Self {
        let clock: Arc<dyn Clock> = world.clone();
        let eks_auth: Arc<dyn EksAuth> = world.clone();
        let metrics = Arc::new(Metrics::new());
        let upstream = Arc::new(Upstream {
            eks_auth,
            clock: Arc::clone(&clock),
            outage: Outage::default(),
            reachability: Reachability::new(&Readiness::new(false)),
            metrics: Arc::clone(&metrics),
            audit: AuditLog::off(),
        });
        let seed = settings.seed;
        let keys = Arc::new(match verifies {
            true => KeyRing::new(vec![Box::new(KeysOf(Arc::clone(world)))], None),
            false => KeyRing::new(Vec::new(), None),
        });
        let connections = Arc::new(Connections::new(limits));
        let cache = CredentialCache::new(Arc::clone(&upstream), Arc::clone(&keys), clock, settings);
        let cache = Arc::new(cache);
        let handler = CredentialsHandler::new(Arc::clone(&cache), metrics, AllowedHosts::new([]));
        let mut background = JoinSet::new();
        let verifying = Arc::clone(&cache);
        background.spawn(async move { verifying.verify_with_fetched_keys().await });
        background.spawn(async move { keys.run(seed).await });
        background.spawn(Arc::clone(&cache).run());
        background.spawn(async move { upstream.probe().await });
        let (trigger, watcher) = drain::channel();
        Self {
            connections,
            cache,
            responder: Arc::new(Counting {
                handler,
                rejected: AtomicUsize::new(0),
            }),
            serving: Mutex::default(),
            background: Mutex::new(background),
            trigger,
            watcher,
        }
    }

    /// Connects a client. `None`: it is turned away at once.
    pub(super) fn connect(&self, address: IpAddr, capacity: usize) -> Option<ClientEnd> {
        let (client, agent) = stream::connection(capacity);
        let serving = connection::admit(
            agent,
            address,
            &self.connections,
            &self.responder,
            self.watcher.clone(),
            (),
        )?;
        self.serving.lock().unwrap().spawn(serving);
        Some(client)
    }

    /// Requests and connections that were turned away.
    pub(super) fn rejected(&self) -> usize {
        self.responder.rejected.load(Ordering::Relaxed)
    }

    pub(super) fn reading(&self) -> Reading {
        self.cache.reading()
    }

    /// The state of the cache, for the report of a failure.
    pub(super) fn details(&self) -> String {
        serde_json::to_string(&self.cache.details()).unwrap()
    }

    /// Exchanges under way that a source was charged for.
    pub(super) fn charged(&self) -> usize {
        let sources = self.cache.details().sources.latest;
        sources
            .iter()
            .map(|source| source.exchanges_in_flight)
            .sum()
    }

    /// Drops what has ended. A panic of the agent is one of the simulation.
    pub(super) fn reap(&self) {
        let mut serving = self.serving.lock().unwrap();
        while let Some(ended) = serving.try_join_next() {
            ended.unwrap();
        }
        let ended = self.background.lock().unwrap().try_join_next();
        assert!(ended.is_none(), "an essential task has ended: {ended:?}");
    }

    /// Closes connections that are idle, while polled.
    pub(super) async fn sweep(&self) {
        self.connections.sweep().await;
    }

    /// Shuts down. Returns false if connections are left after this time.
    pub(super) async fn stop(&self, within: Duration) -> bool {
        self.trigger.start(Drain::Ending);
        let mut serving = std::mem::take(&mut *self.serving.lock().unwrap());
        let ended = async {
            while let Some(ended) = serving.join_next().await {
                ended.unwrap();
            }
        };
        timeout(within, ended).await.is_ok()
    }
}

impl Respond for Counting {
    fn respond(&self, request: &Request<Incoming>, address: IpAddr) -> Reply<'_> {
        self.handler.respond(request, address)
    }

    fn note_rejected(&self, rejected: ConnectionRejected, address: IpAddr) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.handler.note_rejected(rejected, address);
    }

    fn note_gone(&self) {
        self.handler.note_gone();
    }
}
