use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Clock, Failure, Secret};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::audit::AuditLog;
use crate::eks_auth::{EksAuth, EksAuthError, Session};
use crate::metrics::Metrics;
use crate::outage::Outage;
use crate::readiness::Readiness;

/// EKS Auth, with everything that an exchange leaves behind: a deadline kept, a measurement, a line in
/// the audit, a word in the log if it is news, and whether the agent is ready.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) eks_auth: Arc<dyn EksAuth>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outage: Outage,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: AuditLog,
}

impl Upstream {
    /// One exchange within `time`. `source` is the address that first asked, for the audit.
    pub(crate) async fn assume_role(
        &self,
        token: &Secret,
        source: IpAddr,
        time: Duration,
    ) -> Result<Session, Failure<EksAuthError>> {
        let began = Instant::now();
        let exchange = timeout(time, self.eks_auth.assume_role(token)).await;
        let result = exchange.unwrap_or_else(|_elapsed| Err(EksAuthError::timed_out(time)));
        self.metrics.count_exchange(began.elapsed(), &result);
        self.readiness.note(&result);
        self.outage.note(token, &result);
        self.audit
            .record(self.clock.now(), source, token.expose(), &result);
        result
    }

    /// Looks every 5 s whether EKS Auth is within reach, until it has been once.
    pub(crate) async fn look(&self) {
        while !self.readiness.has_reached() {
            let checked = timeout(TIME_FOR_A_LOOK, self.eks_auth.check()).await;
            match checked.unwrap_or_else(|_elapsed| Err("no answer within 4 s".to_owned())) {
                Ok(()) => {
                    self.readiness.reached();
                    info!("EKS Auth is within reach");
                    return;
                }
                Err(reason) => {
                    if self.readiness.troubled(reason.clone()) {
                        warn!(
                            reason,
                            "not ready: EKS Auth is not within reach; looking again every 5 s"
                        );
                    }
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// As often as kubelet asks, by the official chart's probe.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

const TIME_FOR_A_LOOK: Duration = Duration::from_secs(4);
