use std::io;
use std::sync::Arc;
use std::time::Duration;

use pod_identity_core::{Clock, Timestamp};
use tokio::runtime::Handle;

use super::moving_clock::MovingClock;
use crate::mock::action::Action;
use crate::mock::timeline::{Step, Target, Timeline};
use crate::{ProjectedVolume, TokenBuilder};

/// The token of a pod whose node agent is another program.
#[derive(Debug)]
pub(super) struct PodVolume {
    pub(super) volume: ProjectedVolume,
    token: TokenBuilder,
    pub(super) clock: Arc<MovingClock>,
    timeline: Timeline,
}

impl PodVolume {
    /// # Errors
    /// If the temporary directory cannot be created.
    pub(super) fn project(token: TokenBuilder, clock: Arc<MovingClock>) -> io::Result<Self> {
        let volume = ProjectedVolume::new()?;
        volume.write(token.mint(clock.now()))?;
        Ok(Self {
            volume,
            token,
            clock,
            timeline: Timeline::new(Handle::current()),
        })
    }

    /// Starts the events of the token, by the time since now.
    ///
    /// # Errors
    /// Fails if the token cannot be written.
    pub(super) async fn begin(
        self: &Arc<Self>,
        actions: Vec<(Duration, Action)>,
    ) -> io::Result<()> {
        let start = self.clock.now();
        let steps = actions.into_iter().map(|(at, action)| Step {
            at: start + at,
            action,
        });
        Timeline::add(self, steps.collect());
        Timeline::catch_up(&**self).await.map(drop)
    }
}

impl Target for PodVolume {
    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn apply(&self, action: &Action, at: Timestamp) -> io::Result<()> {
        match action {
            Action::Rotate => self.volume.write(self.token.mint(at)),
            Action::Spoil(defect) => self.volume.spoil(*defect),
            _ => Ok(()),
        }
    }
}
