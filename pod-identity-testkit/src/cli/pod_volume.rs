use std::io;
use std::sync::Arc;

use pod_identity_core::{Clock, Timestamp};

use super::moving_clock::MovingClock;
use crate::scenario::timeline::{Deed, Staged, Timeline};
use crate::{ProjectedVolume, TokenBuilder};

/// The token of a pod whose node agent is not ours.
#[derive(Debug)]
pub(super) struct PodVolume {
    pub(super) volume: ProjectedVolume,
    token: TokenBuilder,
    pub(super) clock: Arc<MovingClock>,
    timeline: Timeline,
}

impl PodVolume {
    /// # Errors
    /// When there is no temporary directory.
    pub(super) fn project(token: TokenBuilder, clock: Arc<MovingClock>) -> io::Result<Self> {
        let volume = ProjectedVolume::new()?;
        volume.write(token.mint(clock.now()))?;
        Ok(Self {
            volume,
            token,
            clock,
            timeline: Timeline::default(),
        })
    }
}

impl Staged for PodVolume {
    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn happen(&self, deed: &Deed, at: Timestamp) -> io::Result<()> {
        match deed {
            Deed::Rotate => self.volume.write(self.token.mint(at)),
            Deed::Spoil(defect) => self.volume.spoil(*defect),
            _ => Ok(()),
        }
    }
}
