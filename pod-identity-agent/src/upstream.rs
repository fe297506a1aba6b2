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
        let mut said = None;
        while !self.readiness.has_reached() {
            let checked = timeout(TIME_FOR_A_LOOK, self.eks_auth.check()).await;
            match checked.unwrap_or_else(|_elapsed| Err("no answer within 4 s".to_owned())) {
                Ok(()) => {
                    self.readiness.reached();
                    info!("EKS Auth is within reach");
                    return;
                }
                Err(reason) => {
                    self.readiness.troubled(reason.clone());
                    if said.as_ref() != Some(&reason) {
                        warn!(
                            reason,
                            "not ready: EKS Auth is not within reach; looking again every 5 s"
                        );
                        said = Some(reason);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pod_identity_core::{FailureClass, SystemClock};
    use tracing_subscriber::filter::LevelFilter;

    use super::*;
    use crate::eks_auth::{Checking, Exchange};
    use crate::logging::tests::logged;

    /// Never within reach, for a reason after the other.
    #[derive(Debug)]
    struct Away(Mutex<Vec<&'static str>>);

    impl EksAuth for Away {
        fn assume_role<'a>(&'a self, _token: &'a Secret) -> Exchange<'a> {
            let error = EksAuthError::Unreachable("no route".to_owned());
            Box::pin(async { Err(Failure::new(FailureClass::Transient, error)) })
        }

        fn check(&self) -> Checking<'_> {
            let mut reasons = self.0.lock().unwrap();
            let reason = reasons.pop().unwrap_or("no route").to_owned();
            Box::pin(async { Err(reason) })
        }
    }

    #[test]
    fn each_reason_not_to_be_ready_is_said_once_even_if_a_pod_has_met_it_before() {
        let reasons = Mutex::new(vec!["no credentials", "no credentials"]);
        let upstream = Upstream {
            eks_auth: Arc::new(Away(reasons)),
            clock: Arc::new(SystemClock),
            outage: Outage::default(),
            readiness: Arc::new(Readiness::new(false)),
            metrics: Arc::new(Metrics::new()),
            audit: AuditLog::off(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let lines = logged(LevelFilter::INFO, || {
            runtime.block_on(async {
                let (token, pod) = (
                    Secret::from("token".to_owned()),
                    IpAddr::from([10, 0, 0, 7]),
                );
                let asked = upstream.assume_role(&token, pod, TIME_FOR_A_LOOK).await;
                asked.unwrap_err();
                let looked = timeout(BETWEEN_LOOKS * 6, upstream.look()).await;
                looked.unwrap_err();
            });
        });
        let not_ready = lines
            .iter()
            .filter(|line| line["msg"].as_str().unwrap().starts_with("not ready"));
        let reasons: Vec<_> = not_ready.map(|line| line["reason"].clone()).collect();
        assert_eq!(reasons, ["no credentials", "no route"]);
    }
}
