use std::time::Duration;

use serde::Deserialize;

use crate::Gate;
use crate::http::wire::Wire;

/// Where in an answer something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// The request has been read, nothing of the answer has been decided or sent.
    BeforeHeaders,
    /// Half of the status line and headers has been sent.
    InHeaders,
    /// The headers and half of the body have been sent; of a chunked body, with a chunk begun.
    InBody,
    /// All has been sent.
    AfterBody,
}

impl Stage {
    const ALL: [Self; 4] = [
        Self::BeforeHeaders,
        Self::InHeaders,
        Self::InBody,
        Self::AfterBody,
    ];
}

/// How an answer ends that does not leave its connection open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The connection was closed: a FIN.
    Closed(Stage),
    /// The connection was reset: a RST.
    Reset(Stage),
}

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
    /// The gate to be released.
    Gate(Gate),
    /// Time to pass, by tokio's clock.
    Pause(Duration),
    /// Nothing but the client to leave, the faults to be cleared, or the mock to end.
    Forever,
}

/// One step of a delivery.
#[derive(Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Wait),
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
        matches!(
            self.ending,
            Some(Ending::Closed(Stage::BeforeHeaders) | Ending::Reset(Stage::BeforeHeaders))
        )
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
        steps
    }

    fn waits_at(&self, stage: Stage) -> impl Iterator<Item = &Wait> {
        let here = self.waits.iter().filter(move |(at, _)| *at == stage);
        here.map(|(_, wait)| wait)
    }

    /// In as few writes as can be, or byte by byte.
    fn send(&self, piece: Vec<u8>, steps: &mut Vec<Step>) {
        if let Some(interval) = self.drip {
            for byte in piece {
                steps.push(Step::Send(vec![byte]));
                steps.push(Step::Wait(Wait::Pause(interval)));
            }
        } else if let Some(Step::Send(bytes)) = steps.last_mut() {
            bytes.extend(piece);
        } else if !piece.is_empty() {
            steps.push(Step::Send(piece));
        }
    }
}
