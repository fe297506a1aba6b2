use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};

use pod_identity_agent::logging;
use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;

/// What is logged on this thread while it lives.
pub(crate) struct Log {
    memory: Memory,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn start() -> Self {
        listen_everywhere();
        let memory = Memory::default();
        let subscriber = logging::subscriber(LevelFilter::INFO, memory.clone());
        Self {
            memory,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The lines whose `msg` begins so.
    pub(crate) fn lines(&self, msg: &str) -> Vec<Value> {
        let bytes = self.memory.0.lock().unwrap();
        let lines: Vec<Value> = std::str::from_utf8(&bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        lines.into_iter().filter(|line| says(line, msg)).collect()
    }
}

/// While there is one subscriber only, tracing remembers of a place that logs what the thread that came
/// there first wanted: that of another test may want nothing. A second subscriber ends that.
fn listen_everywhere() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let sink = logging::subscriber(LevelFilter::INFO, io::sink());
        tracing::subscriber::set_global_default(sink).unwrap();
    });
}

pub(crate) fn says(line: &Value, msg: &str) -> bool {
    line["msg"]
        .as_str()
        .is_some_and(|words| words.starts_with(msg))
}
