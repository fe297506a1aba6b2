use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Backoff, Clock, KubernetesName, LogSuppressor};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::kubernetes::api_server::ApiServer;
use crate::kubernetes::api_server_error::ApiServerError;
use crate::kubernetes::gone_pods::{GonePods, MAX_PODS};
use crate::kubernetes::watch_event::{Lines, PodList, WatchEvent, parse_event};

/// Follows which pods this node has, so that the credentials of those that are gone are not refreshed.
///
/// It lists them once and then watches. Of a pod it asks for the metadata only. A pod whose containers have
/// all ended, as that of a job, counts as gone; one that is terminating does not.
///
/// Whatever goes wrong, the agent goes on: a pod of which nothing is heard is not gone.
#[derive(Debug)]
pub(crate) struct PodWatch {
    api_server: ApiServer,
    node: KubernetesName,
    pods: Arc<GonePods>,
    clock: Arc<dyn Clock>,
    /// Where to go on; `None` where the pods have to be listed.
    version: Option<String>,
    log: LogSuppressor<Instant>,
    was_up: bool,
    /// The log says that it cannot watch, and not yet that it can again.
    is_away: bool,
}

impl PodWatch {
    pub(crate) fn new(
        api_server: ApiServer,
        node: KubernetesName,
        pods: Arc<GonePods>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            api_server,
            node,
            pods,
            clock,
            version: None,
            log: LogSuppressor::new(LOG_INTERVAL),
            was_up: false,
            is_away: false,
        }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let ended = self.follow().await;
            // An API server ends a watch after some minutes; one that ends at once would be asked in a loop.
            failures = match began.elapsed() < LONG_ENOUGH {
                true => failures + 1,
                false => 1,
            };
            match ended {
                Ok(()) => {}
                Err(error) => {
                    if may_recur(&error) {
                        self.version = None;
                    }
                    if !is_expired(&error) {
                        self.note_failure(&error);
                    }
                }
            }
            tokio::time::sleep(BACKOFF.delay(failures, fastrand::f64())).await;
        }
    }

    /// Lists the pods if necessary, and watches them until the watch ends.
    async fn follow(&mut self) -> Result<(), ApiServerError> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => {
                let version = within(ANSWER_WITHIN, self.list()).await?;
                self.version = Some(version.clone());
                version
            }
        };
        let lasting = fastrand::u64(WATCH_SECONDS);
        let path = format!(
            "{}&resourceVersion={version}&watch=1&allowWatchBookmarks=true&timeoutSeconds={lasting}",
            self.pods_path()
        );
        let opened = async {
            self.api_server
                .get(&path, METADATA)
                .await?
                .succeeded()
                .await
        };
        let mut response = within(ANSWER_WITHIN, opened).await?;
        // One that opens and fails at once, again and again, is no end of the trouble.
        let up_at = match self.is_away {
            true => Instant::now() + LONG_ENOUGH,
            false => Instant::now(),
        };
        let followed = async {
            let mut lines = Lines::default();
            let mut is_up = false;
            loop {
                let data = tokio::select! {
                    biased;
                    () = sleep_until(up_at), if !is_up => {
                        is_up = true;
                        self.note_up();
                        continue;
                    }
                    data = response.next() => data?,
                };
                let Some(data) = data else {
                    return Ok(());
                };
                lines.push(&data)?;
                while let Some(line) = lines.next() {
                    self.take(&line)?;
                }
            }
        };
        // A connection whose other end has vanished says nothing for ever.
        let limit = Duration::from_secs(lasting) + ANSWER_WITHIN;
        timeout(limit, followed).await.unwrap_or(Ok(()))
    }

    /// Notes all pods of the node, and returns the version of that state.
    async fn list(&self) -> Result<String, ApiServerError> {
        // Version 0 is whatever the API server has in memory. Without it, each agent that starts would make
        // the API server read all pods of the cluster from etcd.
        let path = format!("{}&resourceVersion=0", self.pods_path());
        let response = self.api_server.get(&path, METADATA_LIST).await?;
        let body = response.succeeded().await?.bytes(MAX_LIST).await?;
        let list: PodList = serde_json::from_slice(&body)
            .map_err(|error| ApiServerError::Malformed(error.to_string()))?;
        let version = list.metadata.version().map(str::to_owned);
        let version = version.ok_or_else(|| {
            ApiServerError::Malformed("a list of pods has no resourceVersion".to_owned())
        })?;
        let items = list.items.unwrap_or_default();
        if items.len() > MAX_PODS {
            let message = format!("more than {MAX_PODS} pods are said to be on this node");
            return Err(ApiServerError::Malformed(message));
        }
        let uids = items.iter().filter_map(|item| item.metadata.uid());
        let uids: HashSet<KubernetesName> = uids.collect();
        self.pods.set_present(uids, self.clock.now());
        Ok(version)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), ApiServerError> {
        let (event, version) = parse_event(line)?;
        match event {
            WatchEvent::Present(uid) => self.pods.add(uid),
            WatchEvent::Gone(uid) => {
                debug!(uid = uid.as_str(), "a pod of this node is gone");
                self.pods.remove(uid, self.clock.now());
            }
            WatchEvent::Bookmark | WatchEvent::Other => {}
            WatchEvent::Failed(refused) => return Err(ApiServerError::Refused(refused)),
        }
        if version.is_some() {
            self.version = version;
        }
        Ok(())
    }

    fn note_up(&mut self) {
        let pods = self.pods.present_len();
        if self.log.recovered() {
            info!(
                pods,
                "the API server answers again: the pods of this node are watched"
            );
        } else if !self.was_up {
            info!(
                pods,
                node = self.node.as_str(),
                "the pods of this node are watched"
            );
        }
        self.was_up = true;
        self.is_away = false;
    }

    fn note_failure(&mut self, error: &ApiServerError) {
        self.is_away = true;
        match self.log.occurred(Instant::now()) {
            Some(suppressed) => warn!(
                %error,
                suppressed,
                "the pods of this node cannot be watched now; credentials of pods that are deleted meanwhile \
                 are refreshed as those of the others"
            ),
            None => debug!(%error, "the pods of this node still cannot be watched"),
        }
    }

    /// With a selector that leaves out pods that have ended.
    fn pods_path(&self) -> String {
        let node = &self.node;
        format!(
            "/api/v1/pods?fieldSelector=spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
        )
    }
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, ApiServerError>>,
) -> Result<T, ApiServerError> {
    let answered = timeout(limit, answer).await;
    answered.unwrap_or(Err(ApiServerError::TimedOut(limit)))
}

/// Whether a watch that goes on at the same version may fail in the same way: that version is too old, or an
/// event after it cannot be read. A new list is beyond it. A service that is away, busy, or allows nothing says
/// nothing about the version.
fn may_recur(error: &ApiServerError) -> bool {
    match error {
        ApiServerError::Malformed(_) => true,
        ApiServerError::Refused(refused) => !matches!(refused.status, 401 | 403 | 429 | 502 | 503),
        _ => false,
    }
}

fn is_expired(error: &ApiServerError) -> bool {
    matches!(error, ApiServerError::Refused(refused) if refused.status == EXPIRED)
}

const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The version to go on at is too old for the API server.
const EXPIRED: u16 = 410;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a watch lasts, as in the clients of Kubernetes: at random, so that agents do not come back at
/// the same time.
const WATCH_SECONDS: std::ops::Range<u64> = 300..600;

/// A watch that lasted as long has worked.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

const BACKOFF: Backoff =
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).with_jitter(0.5);

const LOG_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// 250 pods with metadata of 4 KB each are 1 MB.
const MAX_LIST: usize = 16 * 1024 * 1024;
