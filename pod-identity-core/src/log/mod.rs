//! Suppression of repeated log messages.

#[cfg(feature = "cache")]
mod keyed_log_suppressor;
mod log_suppressor;

#[cfg(feature = "cache")]
pub use keyed_log_suppressor::KeyedLogSuppressor;
pub use log_suppressor::LogSuppressor;
