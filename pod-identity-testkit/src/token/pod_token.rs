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
/// It [follows](Self::follow) a clock that the test moves, or is asked to [`refresh`](Self::refresh) at
/// times of the test's own, such as tokio's paused time.
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
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Never empty; the current one is the last.
    minted: Vec<Secret>,
    /// Between which times the current one was made to be good.
    life: (Timestamp, Timestamp),
    jitter: fastrand::Rng,
    refresh_at: Timestamp,
}

impl PodToken {
    /// Mints a token and projects it into a volume of its own, which goes when this is dropped.
    ///
    /// # Errors
    /// When the volume cannot be made or written.
    pub fn project(builder: TokenBuilder, now: Timestamp) -> io::Result<Self> {
        Self::project_into(ProjectedVolume::new()?, builder, now)
    }

    /// Mints a token and projects it into this volume.
    ///
    /// # Errors
    /// When the volume cannot be written.
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

    /// Draws the up to 10 seconds from this seed, those of the current token too. The seed is 0 otherwise,
    /// so that every run is the same.
    pub fn set_seed(&self, seed: u64) {
        let mut state = lock(&self.0.state);
        state.jitter = fastrand::Rng::with_seed(seed);
        state.schedule();
    }

    /// The volume that it is in.
    pub fn volume(&self) -> &ProjectedVolume {
        &self.0.volume
    }

    /// The token that was minted last. What a test writes into the volume itself is none.
    pub fn current(&self) -> Secret {
        let current = lock(&self.0.state).minted.last().cloned();
        current.expect("a token must have been minted at the start")
    }

    /// Every token that has been in the volume, the oldest first.
    pub fn all(&self) -> Vec<Secret> {
        lock(&self.0.state).minted.clone()
    }

    /// When kubelet refreshes the current one.
    pub fn refresh_at(&self) -> Timestamp {
        lock(&self.0.state).refresh_at
    }

    /// Mints another one and projects it, whether it is time or not. Returns it.
    ///
    /// # Errors
    /// When the volume cannot be written.
    pub fn rotate(&self, now: Timestamp) -> io::Result<Secret> {
        self.0.rotate(&mut lock(&self.0.state), now)
    }

    /// Does what kubelet does when it looks at the pod, about once a minute: [rotates](Self::rotate) if it
    /// [is time](Self::refresh_at), or if the time has leapt back before it was issued. However long nobody
    /// has looked, there is one new token.
    ///
    /// # Errors
    /// When the volume cannot be written.
    pub fn refresh(&self, now: Timestamp) -> io::Result<Option<Secret>> {
        self.0.refresh(now)
    }

    /// From now on [refreshes](Self::refresh) whenever this clock is moved, before the move returns. Moving
    /// it panics if the volume cannot be written then.
    pub fn follow(&self, clock: &SettableClock) {
        let follower: Weak<Inner> = Arc::downgrade(&self.0);
        clock.lead(follower);
        self.0.moved(clock.now());
    }

    /// 0 for the current token, 1 for the one before it, and so on.
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
