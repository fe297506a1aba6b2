use std::fmt;
use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The agent's metrics: those of the official agent, by their names, and more.
///
/// Label values come from small, fixed sets. None comes from a client: no token, no role session, no pod.
pub(crate) struct Metrics {
    registry: Registry,
    responses: IntCounterVec,
    cache_errors: IntCounterVec,
    cache_state: IntCounterVec,
    /// Series of the above that each hit counts, looked up once.
    ok: IntCounter,
    hits: IntCounter,
    misses: IntCounter,
    answer_seconds: Histogram,
    eks_auth_seconds: HistogramVec,
    refusals: IntCounterVec,
    validations: IntCounterVec,
    gauges: Gauges,
}

/// Set from a [`Reading`] whenever the metrics are rendered.
struct Gauges {
    cached: IntGauge,
    waiting: IntGauge,
    watched_pods: IntGauge,
    gone: IntCounter,
    refresh_lag: Gauge,
    shortest_life: Gauge,
    connections: IntGauge,
    listeners: IntGauge,
    listeners_wanted: IntGauge,
    degraded: IntGauge,
    upstream_rate: Gauge,
    clock_skew: Gauge,
    verified: IntGauge,
    keys: IntGauge,
    keys_age: Gauge,
    verification: IntGaugeVec,
}

/// The state of the agent at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    pub(crate) cached: usize,
    pub(crate) waiting: usize,
    pub(crate) evicted: u64,
    /// Pods of this node, if they are watched.
    pub(crate) watched_pods: usize,
    /// Sets of credentials that were dropped because their pods are gone.
    pub(crate) gone: u64,
    pub(crate) refresh_lag: Duration,
    pub(crate) shortest_life: Duration,
    pub(crate) connections: usize,
    pub(crate) degraded: bool,
    /// Exchanges per second, while EKS Auth throttles.
    pub(crate) upstream_rate: Option<f64>,
    /// How far the node's clock is behind EKS Auth's, in seconds.
    pub(crate) clock_skew: f64,
    /// Tokens that are known to be a pod's.
    pub(crate) verified: usize,
    pub(crate) keys: usize,
    /// How long ago a source had the keys; zero while there are none.
    pub(crate) keys_age: Duration,
    /// Where the keys come from that tokens are verified with.
    pub(crate) verification: &'static str,
}

impl Metrics {
    /// A counter of lines of `log` (`log` or `audit`) that could not be written.
    pub(crate) fn lost_lines(log: &'static str) -> IntCounter {
        let name = "pod_identity_log_lines_lost";
        let help =
            "Log lines lost because they were not read in time or could not be written, by log.";
        IntCounter::with_opts(Opts::new(name, help).const_label("log", log))
            .expect("a metric's name must be valid")
    }

    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let answers = HistogramOpts::new(
            "pod_identity_answer_seconds",
            "Time from a request for credentials to its response.",
        )
        .buckets(vec![
            0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9, 2.0,
        ]);
        let exchanges = HistogramOpts::new(
            "pod_identity_eks_auth_seconds",
            "Duration of exchanges with EKS Auth, by outcome: ok or an error code.",
        )
        .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0]);
        let info = Opts::new(
            "pod_identity_build_info",
            "The version of the agent; always 1.",
        );
        let info = register(r, IntGaugeVec::new(info, &["version"]));
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("the process metrics must be registered once");
        let responses = counter(
            r,
            "pod_identity_http_response",
            "Responses to requests for credentials, by HTTP status.",
            &["code"],
        );
        let cache_state = counter(
            r,
            "pod_identity_cache_state",
            "Requests answered from the cache (hit), requests that waited for an exchange (miss), and tokens evicted \
             to keep within the limits (evicted).",
            &["state"],
        );
        Self {
            ok: responses.with_label_values(&["200"]),
            hits: cache_state.with_label_values(&["hit"]),
            misses: cache_state.with_label_values(&["miss"]),
            responses,
            cache_errors: counter(
                r,
                "pod_identity_cache_errors",
                "Requests that got no credentials, by type: eks_auth (EKS Auth refused or did not answer; code is its \
                 error code, Timeout, Unreachable, Malformed or Expired), token (the token cannot be valid), agent \
                 (OverBudget or Busy), client (GaveUp: the connection was closed before the response).",
                &["type", "code"],
            ),
            cache_state,
            answer_seconds: register(r, Histogram::with_opts(answers)),
            eks_auth_seconds: register(r, HistogramVec::new(exchanges, &["outcome"])),
            refusals: counter(
                r,
                "pod_identity_refusals",
                "Requests refused without asking EKS Auth, by reason: Path, Method or Host (not a request for \
                 credentials at an address of the agent); Empty, Malformed, Unsigned, NoExpiry, Expired, \
                 NotYetValid, Audience or Signature (the token); OverBudget, Busy or Connections (a limit); TooLarge or Http \
                 (not a request that can be read).",
                &["reason"],
            ),
            validations: counter(
                r,
                "pod_identity_local_validation",
                "Tokens that the agent has verified itself, by result: success, failure (a wrong signature), skipped (left to EKS Auth).",
                &["result"],
            ),
            gauges: Gauges::new(r),
            registry,
        }
    }

    /// The metrics of a link that is watched: how often it was lost, and whether all is reachable. They are
    /// shown from now on.
    pub(crate) fn link(&self) -> (IntCounter, IntGauge) {
        let lost = IntCounter::new(
            "pod_identity_link_lost",
            "Times that the link, an address or a route of the agent was found to be gone or taken (with --watch-link).",
        );
        let reachable = IntGauge::new(
            "pod_identity_link_reachable",
            "1 while link, addresses and routes of the agent are there, otherwise 0, also while they cannot be watched (with --watch-link).",
        );
        (
            register(&self.registry, lost),
            register(&self.registry, reachable),
        )
    }

    /// Adds a counter that is incremented elsewhere to the exposition.
    pub(crate) fn show(&self, counter: IntCounter) {
        register(&self.registry, Ok(counter));
    }

    pub(crate) fn count_response(&self, status: StatusCode, took: Duration) {
        match status {
            StatusCode::OK => self.ok.inc(),
            _ => self.responses.with_label_values(&[status.as_str()]).inc(),
        }
        self.answer_seconds.observe(took.as_secs_f64());
    }

    /// Counts a request that was answered from the cache.
    pub(crate) fn count_hit(&self) {
        self.hits.inc();
    }

    /// Counts a request that waited for EKS Auth and got credentials.
    pub(crate) fn count_miss(&self) {
        self.misses.inc();
    }

    /// Counts a request without credentials. Both labels must come from a small, fixed set.
    pub(crate) fn count_cache_error(&self, kind: &'static str, code: &'static str) {
        self.cache_errors.with_label_values(&[kind, code]).inc();
    }

    /// Counts a client that disconnected before its answer.
    pub(crate) fn count_given_up(&self) {
        self.count_cache_error("client", "GaveUp");
    }

    /// `reason` must come from a small, fixed set.
    pub(crate) fn count_refusal(&self, reason: &'static str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// `result` must be one of those of the official agent.
    pub(crate) fn count_validation(&self, result: &'static str) {
        self.validations.with_label_values(&[result]).inc();
    }

    /// `outcome` must come from a small, fixed set.
    pub(crate) fn count_exchange(&self, took: Duration, outcome: &'static str) {
        self.eks_auth_seconds
            .with_label_values(&[outcome])
            .observe(took.as_secs_f64());
    }

    /// Sets how many credentials addresses the agent is to listen on.
    pub(crate) fn want_listeners(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.gauges.listeners_wanted.set(count);
    }

    /// Counts a credentials address that the agent has begun to listen on.
    pub(crate) fn count_listener(&self) {
        self.gauges.listeners.inc();
    }

    /// Returns the exposition text, with the gauges set from `reading`.
    pub(crate) fn render(&self, reading: &Reading) -> String {
        self.gauges.set(reading);
        let evicted = self.cache_state.with_label_values(&["evicted"]);
        evicted.inc_by(reading.evicted.saturating_sub(evicted.get()));
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("gathered metrics must encode")
    }
}

impl Gauges {
    fn new(r: &Registry) -> Self {
        let whole = |name, help| register(r, IntGauge::new(name, help));
        let real = |name, help| register(r, Gauge::new(name, help));
        Self {
            cached: whole(
                "pod_identity_cached_credentials",
                "Sets of credentials in the cache.",
            ),
            waiting: whole(
                "pod_identity_waiting_tokens",
                "Known tokens without credentials.",
            ),
            watched_pods: whole(
                "pod_identity_watched_pods",
                "Pods of this node that the agent knows of; 0 without --pod-liveness-check.",
            ),
            gone: register(
                r,
                IntCounter::new(
                    "pod_identity_gone_pods_dropped",
                    "Sets of credentials dropped instead of renewed because their pods are gone.",
                ),
            ),
            refresh_lag: real(
                "pod_identity_refresh_lag_seconds",
                "How late the most overdue refresh is.",
            ),
            shortest_life: real(
                "pod_identity_shortest_remaining_seconds",
                "Remaining lifetime of the credentials that expire first; 0 if there are none.",
            ),
            connections: whole(
                "pod_identity_connections",
                "Open connections to the credentials addresses.",
            ),
            listeners: whole(
                "pod_identity_listeners_up",
                "Credentials addresses that the agent listens on.",
            ),
            listeners_wanted: whole(
                "pod_identity_listeners_wanted",
                "Credentials addresses that the agent was told to listen on. On a node without IPv6 one of two stays \
                 out of reach.",
            ),
            degraded: whole(
                "pod_identity_degraded",
                "1 while EKS Auth does not answer or cannot be reached; otherwise 0.",
            ),
            upstream_rate: real(
                "pod_identity_eks_auth_rate_limit",
                "Exchanges per second that EKS Auth was found to allow; 0 while it does not throttle.",
            ),
            clock_skew: real(
                "pod_identity_clock_skew_seconds",
                "How far the node's clock is behind that of EKS Auth; negative where it is ahead.",
            ),
            verified: whole(
                "pod_identity_verified_tokens",
                "Tokens that the agent has verified itself and remembers.",
            ),
            keys: whole(
                "pod_identity_token_keys",
                "Keys of the cluster that tokens are verified with; 0 while EKS Auth verifies each.",
            ),
            keys_age: real(
                "pod_identity_token_keys_age_seconds",
                "How long ago the keys were last fetched or, for keys kept from an earlier start, stored; 0 while there are none.",
            ),
            verification: register(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "pod_identity_verification_mode",
                        "1 for where the keys of the cluster come from: api-server, issuer, disk, or off while there are none. Only the series of the current mode exists; the others are absent, not 0.",
                    ),
                    &["mode"],
                ),
            ),
        }
    }

    fn set(&self, reading: &Reading) {
        let whole =
            |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        whole(&self.cached, reading.cached as u64);
        whole(&self.waiting, reading.waiting as u64);
        whole(&self.watched_pods, reading.watched_pods as u64);
        let gone = reading.gone.saturating_sub(self.gone.get());
        self.gone.inc_by(gone);
        self.refresh_lag.set(reading.refresh_lag.as_secs_f64());
        self.shortest_life.set(reading.shortest_life.as_secs_f64());
        whole(&self.connections, reading.connections as u64);
        whole(&self.degraded, u64::from(reading.degraded));
        self.upstream_rate.set(reading.upstream_rate.unwrap_or(0.0));
        self.clock_skew.set(reading.clock_skew);
        whole(&self.verified, reading.verified as u64);
        whole(&self.keys, reading.keys as u64);
        self.keys_age.set(reading.keys_age.as_secs_f64());
        self.verification.reset();
        let mode = self.verification.with_label_values(&[reading.verification]);
        mode.set(1);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> C {
    let metric = metric.expect("a metric's name must be valid");
    let registered = registry.register(Box::new(metric.clone()));
    registered.expect("a metric's name must be registered once");
    metric
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::Write;

    use prometheus::proto::{MetricFamily, MetricType};

    use super::*;

    #[test]
    fn what_only_grows_is_a_counter() {
        let metrics = Metrics::new();
        for evicted in [2, 2, 5] {
            let page = metrics.render(&Reading {
                evicted,
                ..Reading::default()
            });
            let series = format!("pod_identity_cache_state{{state=\"evicted\"}} {evicted}");
            assert!(page.lines().any(|line| line == series), "{page}");
        }
    }

    /// The reference: every metric with a series, of which each labelled one gets one here.
    pub(crate) fn page() -> String {
        let metrics = Metrics::new();
        metrics.count_response(StatusCode::BAD_REQUEST, Duration::ZERO);
        metrics.count_given_up();
        metrics.count_refusal("Path");
        metrics.count_exchange(Duration::ZERO, "ok");
        metrics.count_validation("success");
        metrics.render(&Reading::default());
        metrics.show(Metrics::lost_lines("log"));
        metrics.link();
        let mut page = INTRODUCTION.to_owned();
        for family in metrics.registry.gather() {
            if family.name().starts_with("pod_identity_") {
                let labels = labels(&family);
                let _written = writeln!(
                    page,
                    "| `{}{labels}` | {} | {} |",
                    family.name(),
                    kind(&family),
                    family.help()
                );
            }
        }
        page
    }

    fn labels(family: &MetricFamily) -> String {
        let labels = family.get_metric().first().unwrap().get_label();
        let names: Vec<_> = labels.iter().map(|label| label.name()).collect();
        match &names[..] {
            [] => String::new(),
            names => format!("{{{}}}", names.join(",")),
        }
    }

    fn kind(family: &MetricFamily) -> &'static str {
        match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            other => panic!("{other:?}"),
        }
    }

    const INTRODUCTION: &str = "\
# Metrics

The metrics of the agent, made from its source: `just pages` renews this page. They are at `/metrics` of port 2705, \
with the usual `process_*` metrics. `pod_identity_http_response`, `pod_identity_cache_state`, \
`pod_identity_cache_errors` and `pod_identity_local_validation` have the names of the official agent and keep their meaning. Label values come from \
fixed sets: none comes from a client.

| metric | type | meaning |
|---|---|---|
";
}
