use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};

use pod_identity_agent::logging;
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;

/// The log of an agent.
#[derive(Debug)]
pub(crate) struct Said(String);

impl Said {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Returns the lines whose `msg` begins with this text.
    pub(crate) fn lines(&self, msg: &str) -> Vec<Value> {
        let lines = self.0.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        lines.filter(|line| says(line, msg)).collect()
    }
}

pub(crate) fn says(line: &Value, msg: &str) -> bool {
    line["msg"]
        .as_str()
        .is_some_and(|text| text.starts_with(msg))
}

/// The lines that are logged on the thread that started it, which is that of one test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn start() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = logging::subscriber(LevelFilter::INFO, ToOwnLog);
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        OWN.with(|own| {
            own.0.lock().unwrap().clear();
            own.clone()
        })
    }

    pub(crate) fn said(&self) -> Said {
        Said(String::from_utf8(self.0.lock().unwrap().clone()).unwrap())
    }
}

thread_local! {
    static OWN: Log = Log::default();
}

/// There is one subscriber for all tests of a process, and each writes to the log of its thread.
struct ToOwnLog;

impl Write for ToOwnLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OWN.with(|own| own.0.lock().unwrap().extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
