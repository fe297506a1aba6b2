use std::io;
use std::sync::Mutex;

use pod_identity_core::{Secret, Timestamp, TokenDigest};

use crate::sync::lock;
use crate::{ProjectedVolume, TokenBuilder};

/// The token of one pod and its volume, with every token that has been in it.
#[derive(Debug)]
pub(crate) struct PodToken {
    pub(crate) volume: ProjectedVolume,
    builder: TokenBuilder,
    /// Never empty; the current one is the last.
    minted: Mutex<Vec<Secret>>,
}

impl PodToken {
    pub(crate) fn project(builder: TokenBuilder, now: Timestamp) -> io::Result<Self> {
        let token = Self {
            volume: ProjectedVolume::new()?,
            builder,
            minted: Mutex::default(),
        };
        token.rotate(now)?;
        Ok(token)
    }

    pub(crate) fn rotate(&self, now: Timestamp) -> io::Result<Secret> {
        let token = Secret::from(self.builder.mint(now));
        self.volume.write(token.expose())?;
        lock(&self.minted).push(token.clone());
        Ok(token)
    }

    pub(crate) fn current(&self) -> Secret {
        let minted = lock(&self.minted);
        let current = minted.last().cloned();
        current.expect("a token must have been minted at the start")
    }

    /// 0 for the current token, 1 for the one before it, and so on.
    pub(crate) fn age(&self, token: TokenDigest) -> Option<usize> {
        let minted = lock(&self.minted);
        minted
            .iter()
            .rev()
            .position(|minted| TokenDigest::of(minted.expose().as_bytes()) == token)
    }

    pub(crate) fn secrets(&self) -> Vec<Secret> {
        lock(&self.minted).clone()
    }
}
