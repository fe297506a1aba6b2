use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use pod_identity_core::{Clock, Secret, Timestamp, TokenDigest};

use crate::sync::lock;
use crate::token::clock::Follower;
use crate::{ProjectedVolume, SettableClock, TokenBuilder};

/// The token of one pod in its projected volume, refreshed when kubelet does it: after 80 % of its
/// lifetime or 24 hours, less up to 10 seconds.
///
/// It [follows](Self::follow) a clock that the test sets, or the test calls [`refresh`](Self::refresh), for
/// example with tokio's paused time.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use pod_identity_core::Timestamp;
/// use pod_identity_testkit::{Issuer, PodToken, SettableClock};
///
/// let now = Timestamp::from_unix_secs(1_772_366_400);
/// let clock = SettableClock::at(now);
/// let token = PodToken::project(Issuer::new().token("shop", "cart"), now)?;
/// token.follow(&clock);
///
/// let first = token.current();
/// clock.advance(Duration::from_secs(19 * 3600));
/// assert_eq!(token.current(), first);
/// clock.advance(Duration::from_secs(3600));
/// assert_ne!(token.current(), first, "80 % of a day is over");
/// assert_eq!(std::fs::read(token.volume().token_path())?, token.current().expose().as_bytes());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PodToken(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    volume: ProjectedVolume,
    builder: TokenBuilder,
    /// Held while a token is projected, so that files appear in the order of their tokens. The lock of the
    /// volume is taken under it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Never empty; the last one is current.
    minted: Vec<Secret>,
    /// From when to when the current token is valid.
    life: (Timestamp, Timestamp),
    jitter: fastrand::Rng,
    refresh_at: Timestamp,
}

impl PodToken {
    /// Mints a token and projects it into a new volume, which is removed when this is dropped.
    ///
    /// # Errors
    /// If the volume cannot be created or written.
    pub fn project(builder: TokenBuilder, now: Timestamp) -> io::Result<Self> {
        Self::project_into(ProjectedVolume::new()?, builder, now)
    }

    /// Mints a token and projects it into this volume.
    ///
    /// # Errors
    /// If the volume cannot be written.
    pub fn project_into(
        volume: ProjectedVolume,
        builder: TokenBuilder,
        now: Timestamp,
    ) -> io::Result<Self> {
        let state = State {
            minted: Vec::new(),
            life: (now, now),
            jitter: fastrand::Rng::with_seed(0),
            refresh_at: now,
        };
        let token = Self(Arc::new(Inner {
            volume,
            builder,
            state: Mutex::new(state),
        }));
        token.rotate(now)?;
        Ok(token)
    }

    /// Seeds the jitter of up to 10 seconds, also that of the current token. Defaults to 0, so that every run is
    /// the same.
    pub fn set_seed(&self, seed: u64) {
        let mut state = lock(&self.0.state);
        state.jitter = fastrand::Rng::with_seed(seed);
        state.schedule();
    }

    /// Returns the volume of the token.
    pub fn volume(&self) -> &ProjectedVolume {
        &self.0.volume
    }

    /// Returns the token that was minted last, even if a test has written something else into the volume.
    pub fn current(&self) -> Secret {
        let current = lock(&self.0.state).minted.last().cloned();
        current.expect("a token must have been minted at the start")
    }

    /// Returns every token that was minted, the oldest first.
    pub fn all(&self) -> Vec<Secret> {
        lock(&self.0.state).minted.clone()
    }

    /// Returns when kubelet refreshes the current token.
    pub fn refresh_at(&self) -> Timestamp {
        lock(&self.0.state).refresh_at
    }

    /// Mints and projects a new token, whether it is due or not, and returns it.
    ///
    /// # Errors
    /// If the volume cannot be written.
    pub fn rotate(&self, now: Timestamp) -> io::Result<Secret> {
        self.0.rotate(&mut lock(&self.0.state), now)
    }

    /// [Rotates](Self::rotate) the token if it is [due](Self::refresh_at), or if the clock was set back to before it
    /// was issued. kubelet checks this about once a minute. However long the last check is past, one token is
    /// minted.
    ///
    /// # Errors
    /// If the volume cannot be written.
    pub fn refresh(&self, now: Timestamp) -> io::Result<Option<Secret>> {
        self.0.refresh(now)
    }

    /// [Refreshes](Self::refresh) whenever this clock is set, before the call that sets it returns. That call
    /// panics if the volume cannot be written.
    pub fn follow(&self, clock: &SettableClock) {
        let follower: Weak<Inner> = Arc::downgrade(&self.0);
        clock.lead(follower);
        self.0.moved(clock.now());
    }

    /// Returns how often a token has replaced the first.
    pub(crate) fn rotations(&self) -> usize {
        lock(&self.0.state).minted.len() - 1
    }

    /// Returns 0 for the current token, 1 for the one before it, and so on.
    pub(crate) fn age(&self, token: TokenDigest) -> Option<usize> {
        let state = lock(&self.0.state);
        let mut minted = state.minted.iter().rev();
        minted.position(|minted| TokenDigest::of(minted.expose().as_bytes()) == token)
    }
}

impl Inner {
    fn rotate(&self, state: &mut State, now: Timestamp) -> io::Result<Secret> {
        let token = Secret::from(self.builder.mint(now));
        self.volume.write(token.expose())?;
        state.minted.push(token.clone());
        state.life = self.builder.life(now);
        state.schedule();
        Ok(token)
    }

    fn refresh(&self, now: Timestamp) -> io::Result<Option<Secret>> {
        let mut state = lock(&self.state);
        if state.is_due(now) {
            self.rotate(&mut state, now).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl Follower for Inner {
    fn moved(&self, now: Timestamp) {
        self.refresh(now).expect("the volume must be writable");
    }
}

/// `requiresRefresh` in Kubernetes' `pkg/kubelet/token/token_manager.go`.
impl State {
    fn is_due(&self, now: Timestamp) -> bool {
        let (issued, _expires) = self.life;
        now >= self.refresh_at || now < issued
    }

    fn schedule(&mut self) {
        let (issued, expires) = self.life;
        let fifth = expires.saturating_since(issued) / 5;
        let jitter = Duration::from_millis(self.jitter.u64(..MAX_JITTER_MILLIS));
        self.refresh_at = (expires - fifth).min(issued + MAX_AGE) - jitter;
    }
}

const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_JITTER_MILLIS: u64 = 10_000;
