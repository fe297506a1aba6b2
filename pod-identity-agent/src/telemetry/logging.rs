//! JSON lines, with the field names that the official agent uses: `level`, `msg`, `time`.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use pod_identity_core::{Clock, SystemClock};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

use crate::telemetry::json_line::json_line;
use crate::telemetry::log_level::LogLevel;

/// A subscriber that writes one JSON object per line, each with one write. The fields of the spans that an
/// event is in are on its line too.
///
/// The thread that logs also writes: put a writer that can block, such as a pipe that nobody reads, behind
/// one that only queues.
///
/// This project's events appear from `level` on. Those of other crates appear from `warn` on, whatever
/// the level: at finer levels they may print what they send and receive, which includes secrets. Those of
/// `aws_config` appear from `error` on: it warns at each attempt, and prints responses when it does.
pub fn subscriber(
    level: LevelFilter,
    writer: impl Write + Send + 'static,
) -> impl Subscriber + Send + Sync {
    adjustable_subscriber(level, writer).0
}

/// The same, with a handle to change the level.
pub(crate) fn adjustable_subscriber(
    level: LevelFilter,
    writer: impl Write + Send + 'static,
) -> (impl Subscriber + Send + Sync, LogLevel) {
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = JsonLines {
        writer: Mutex::new(writer),
    };
    let subscriber = Registry::default().with(lines.with_filter(filter));
    (subscriber, LogLevel::new(handle, targets, level))
}

fn targets(level: LevelFilter) -> Targets {
    let ours = [
        "pod_identity_core",
        "pod_identity_provider",
        "pod_identity_agent",
        "pod_identity_cli",
        "pod_identity_testkit",
    ];
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("aws_config", level.min(LevelFilter::ERROR))
        .with_targets(ours.map(|target| (target, level)))
}

struct JsonLines<W> {
    /// Held for one line.
    writer: Mutex<W>,
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        // From the outermost in: inner fields are more precise, and the event's own take precedence.
        if let Some(spans) = context.event_scope(event) {
            for span in spans.from_root() {
                if let Some(of_span) = span.extensions().get::<Fields>() {
                    fields.0.extend(of_span.0.clone());
                }
            }
        }
        fields
            .0
            .insert("level".into(), level_name(*event.metadata().level()).into());
        fields
            .0
            .insert("time".into(), SystemClock.now().to_string().into());
        event.record(&mut fields);
        let line = json_line(&Value::Object(fields.0));
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Credentials are served even if the log cannot be written.
        let _unwritten = writer
            .write_all(line.as_bytes())
            .and_then(|()| writer.flush());
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => "msg",
            name => name,
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert(field, value.to_string().into());
    }
}

/// The official agent writes `warning` in full.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::{Arc, LazyLock};

    use tracing::Dispatch;
    use tracing::subscriber::with_default;

    use super::*;

    /// What was written, to be read by a test.
    #[derive(Clone, Default)]
    pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        pub(crate) fn lines(&self) -> Vec<Value> {
            let bytes = self.0.lock().unwrap();
            let lines = std::str::from_utf8(&bytes).unwrap().lines();
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// While a process has one subscriber only, tracing asks the thread that is the first to log a line whether anybody
    /// wants it, and remembers that for all threads. That thread may be of a test without a subscriber. A second
    /// subscriber makes it ask both.
    static ANOTHER: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(subscriber(LevelFilter::OFF, io::sink())));

    /// The lines that are logged while `log` runs.
    pub(crate) fn logged(level: LevelFilter, log: impl FnOnce()) -> Vec<Value> {
        LazyLock::force(&ANOTHER);
        let memory = Memory::default();
        with_default(subscriber(level, memory.clone()), log);
        memory.lines()
    }

    /// The same for a future, in virtual time.
    pub(crate) fn logged_in_virtual_time(
        level: LevelFilter,
        logging: impl Future<Output = ()>,
    ) -> Vec<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        logged(level, || runtime.block_on(logging))
    }

    #[test]
    fn a_line_has_the_official_field_names_and_its_own_fields() {
        let lines = logged(LevelFilter::INFO, || {
            let error = io::Error::other("no \"route\"\n");
            tracing::warn!(%error, "client-addr" = "10.0.0.7", attempts = 3, "cannot connect");
        });
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(line["level"], "warning");
        assert_eq!(line["msg"], "cannot connect");
        assert_eq!(line["error"], "no \"route\"\n");
        assert_eq!(line["client-addr"], "10.0.0.7");
        assert_eq!(line["attempts"], 3);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_line_has_the_fields_of_its_spans_and_its_own_take_precedence() {
        let lines = logged(LevelFilter::INFO, || {
            let connection =
                tracing::info_span!("connection", "client-addr" = "10.0.0.7", kind = 1);
            let request = tracing::info_span!(parent: &connection, "request", kind = 2, id = tracing::field::Empty);
            request.record("id", "r-1");
            request.in_scope(|| {
                tracing::info!("plain");
                tracing::info!(kind = 3, "own");
            });
            tracing::info!("outside");
        });
        let [plain, own, outside] = &lines[..] else {
            panic!("{lines:?}")
        };
        for line in [plain, own] {
            assert_eq!(line["client-addr"], "10.0.0.7");
            assert_eq!(line["id"], "r-1");
        }
        assert_eq!((&plain["kind"], &own["kind"]), (&2.into(), &3.into()));
        assert!(outside.get("client-addr").is_none(), "{outside}");
    }

    #[test]
    fn the_level_can_be_changed_and_the_change_is_logged_at_the_finer_level() {
        LazyLock::force(&ANOTHER);
        let memory = Memory::default();
        let (subscriber, level) = adjustable_subscriber(LevelFilter::ERROR, memory.clone());
        with_default(subscriber, || {
            tracing::debug!("unwanted");
            level.set(LevelFilter::DEBUG);
            tracing::debug!("wanted");
            tracing::debug!(target: "hyper::proto", "Authorization: secret");
            level.set(LevelFilter::ERROR);
            tracing::warn!("unwanted");
        });
        assert_eq!(level.get(), LevelFilter::ERROR);
        let bytes = memory.0.lock().unwrap();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        let messages = lines.map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["msg"].as_str().unwrap().to_owned()
        });
        let changed = "log level changed".to_owned();
        let expected = [changed.clone(), "wanted".to_owned(), changed];
        assert_eq!(messages.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn other_crates_log_warnings_and_errors_only() {
        let lines = logged(LevelFilter::TRACE, || {
            tracing::trace!("ours");
            tracing::info!(target: "hyper::proto", "Authorization: secret");
            tracing::warn!(target: "aws_config::imds", "the answer was: secret");
            tracing::warn!(target: "rustls", "no roots");
        });
        let messages: Vec<_> = lines
            .iter()
            .map(|line| line["msg"].as_str().unwrap())
            .collect();
        assert_eq!(messages, ["ours", "no roots"]);
    }
}
