use clap::ValueEnum;
use tracing_subscriber::filter::LevelFilter;

/// How much is logged, by the official agent's names of levels.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Verbosity {
    Panic,
    Fatal,
    Error,
    #[value(alias = "warning")]
    Warn,
    Info,
    Debug,
    Trace,
}

impl Verbosity {
    /// The nearest level of `tracing`, which has none above error.
    pub(super) fn level(self) -> LevelFilter {
        match self {
            Self::Panic | Self::Fatal | Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}
