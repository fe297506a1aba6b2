//! The recipes of `docs/cookbook.md` in Rust, and that the page has them as they are here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod my_app;
mod my_chart;
mod page;
mod rotation;
mod secrets;
mod yesterdays_outage;
