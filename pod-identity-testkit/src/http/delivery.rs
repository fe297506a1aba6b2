use std::time::Duration;

use crate::http::feed::Feed;
use crate::http::gate::Gate;
use crate::http::stage::{Ending, Stage};
use crate::http::wire::Wire;

/// How the bytes of an answer reach the client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery {
    pub(crate) waits: Vec<(Stage, Wait)>,
    pub(crate) drip: Option<Duration>,
    pub(crate) ending: Option<Ending>,
}

/// What a delivery waits for.
#[derive(Debug, Clone)]
pub(crate) enum Wait {
    /// The release of the gate.
    Gate(Gate),
    /// Time, by tokio's clock.
    Pause(Duration),
    /// The client leaves, the faults are cleared, or the mock ends.
    Forever,
}

/// One step of a delivery.
#[derive(Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Wait),
    /// Send what the feed has, to its end.
    Follow(Feed),
    Close,
    Reset,
}

impl Delivery {
    /// The waits before there is an answer.
    pub(crate) fn opening(&self) -> impl Iterator<Item = &Wait> {
        self.waits_at(Stage::BeforeHeaders)
    }

    /// Whether the connection ends before there is an answer.
    pub(crate) fn is_silent(&self) -> bool {
        self.ending
            .is_some_and(|ending| ending.stage() == Stage::BeforeHeaders)
    }

    /// The steps after the opening. Only a `Close` or `Reset` ends the connection, and nothing follows it.
    pub(crate) fn steps(&self, wire: &Wire) -> Vec<Step> {
        let mut steps = Vec::new();
        for stage in Stage::ALL {
            self.send(wire.piece(stage), &mut steps);
            if stage != Stage::BeforeHeaders {
                steps.extend(self.waits_at(stage).cloned().map(Step::Wait));
            }
            match self.ending {
                Some(Ending::Closed(at)) if at == stage => {
                    steps.push(Step::Close);
                    break;
                }
                Some(Ending::Reset(at)) if at == stage => {
                    steps.push(Step::Reset);
                    break;
                }
                _ => {}
            }
        }
        let is_ended = matches!(steps.last(), Some(Step::Close | Step::Reset));
        let feed = wire.feed().filter(|_feed| !is_ended);
        steps.extend(feed.cloned().map(Step::Follow));
        steps
    }

    fn waits_at(&self, stage: Stage) -> impl Iterator<Item = &Wait> {
        let here = self.waits.iter().filter(move |(at, _)| *at == stage);
        here.map(|(_, wait)| wait)
    }

    /// Joins writes where it can, or sends byte by byte. A drip waits before a byte and not after one: with the last
    /// byte the client has its answer, and must not find it in flight.
    fn send(&self, piece: Vec<u8>, steps: &mut Vec<Step>) {
        if let Some(interval) = self.drip {
            for byte in piece {
                if !steps.is_empty() {
                    steps.push(Step::Wait(Wait::Pause(interval)));
                }
                steps.push(Step::Send(vec![byte]));
            }
        } else if let Some(Step::Send(bytes)) = steps.last_mut() {
            bytes.extend(piece);
        } else if !piece.is_empty() {
            steps.push(Step::Send(piece));
        }
    }
}
