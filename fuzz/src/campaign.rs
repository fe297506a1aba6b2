use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use pod_identity_fuzz::{Check, Target, keep, mutate, read_corpus};

/// One target with the inputs that it gets.
pub(crate) struct Campaign {
    target: &'static Target,
    check: Check,
    corpus: Vec<Vec<u8>>,
    rng: Rng,
    slowest: Duration,
}

impl Campaign {
    /// # Errors
    /// Fails if the corpus cannot be read.
    pub(crate) fn new(target: &'static Target, seed: u64) -> io::Result<Self> {
        Ok(Self {
            target,
            check: (target.check)(),
            corpus: read_corpus(target.name)?,
            rng: Rng::with_seed(seed),
            slowest: Duration::ZERO,
        })
    }

    /// Returns whether the properties hold for the corpus and for so many mutations of it. Prints the input for which
    /// they do not, and keeps it.
    ///
    /// # Errors
    /// Fails if there is nowhere to print or to keep it.
    pub(crate) fn run(mut self, cases: u64) -> io::Result<bool> {
        let began = Instant::now();
        for input in self.corpus.clone() {
            if let Err(reason) = self.holds(&input) {
                return self.report(&input, &reason, false);
            }
        }
        for _ in 0..cases {
            let input = self.rng.choice(&self.corpus).cloned().unwrap_or_default();
            let input = mutate(&mut self.rng, input, &self.corpus, self.target.words);
            if let Err(reason) = self.holds(&input) {
                let smallest = self.smallest(input);
                let reason = self.holds(&smallest).err().unwrap_or(reason);
                return self.report(&smallest, &reason, true);
            }
        }
        let (name, kept, slowest) = (
            self.target.name,
            self.corpus.len(),
            self.slowest.as_millis(),
        );
        let seconds = began.elapsed().as_secs_f64();
        writeln!(
            io::stdout(),
            "{name:<14} {kept:>3} kept {cases:>9} new {seconds:>7.1} s, slowest {slowest} ms"
        )?;
        Ok(true)
    }

    /// Fails with the panic of the check, or of any thread that it has made.
    fn holds(&mut self, input: &[u8]) -> Result<(), String> {
        let began = Instant::now();
        let check = AssertUnwindSafe(|| (self.check)(input));
        let held = panic::catch_unwind(check);
        self.slowest = self.slowest.max(began.elapsed());
        match (held, panics().take()) {
            (Ok(()), None) => Ok(()),
            (_, reason) => Err(reason.unwrap_or_default()),
        }
    }

    /// Leaves out parts for as long as the input fails without them.
    fn smallest(&mut self, mut input: Vec<u8>) -> Vec<u8> {
        let mut part = input.len().next_power_of_two();
        while part > 0 {
            let mut at = 0;
            while at < input.len() {
                let mut shorter = input.clone();
                shorter.drain(at..(at + part).min(input.len()));
                match self.holds(&shorter) {
                    Err(_) => input = shorter,
                    Ok(()) => at += part,
                }
            }
            part /= 2;
        }
        input
    }

    fn report(&self, input: &[u8], reason: &str, is_new: bool) -> io::Result<bool> {
        let mut out = io::stdout();
        writeln!(
            out,
            "{}: {reason}\n  \"{}\"",
            self.target.name,
            input.escape_ascii()
        )?;
        if is_new {
            let path = keep(self.target.name, input)?;
            writeln!(out, "  kept in {}", path.display())?;
        }
        Ok(false)
    }
}

/// Collects panics instead of printing them: the search for the smallest input provokes many.
pub(crate) fn collect_panics() {
    panic::set_hook(Box::new(|panic| {
        panics().get_or_insert_with(|| panic.to_string());
    }));
}

/// The first panic that was not looked at yet.
fn panics() -> MutexGuard<'static, Option<String>> {
    static FIRST: Mutex<Option<String>> = Mutex::new(None);
    FIRST.lock().unwrap_or_else(PoisonError::into_inner)
}
