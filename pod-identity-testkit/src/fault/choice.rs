use std::collections::{BTreeMap, BTreeSet};

use pod_identity_core::TokenDigest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::member::Member;
use crate::http::gate::Gate;
use crate::http::stage::Stage;

/// A token, chosen by its age in the mock's own volume or by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenChoice {
    /// 0 for the current one.
    Age(usize),
    Digest(TokenDigest),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum TokenAge {
    Current,
    Previous,
}

impl<'de> Deserialize<'de> for TokenChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::Age(match TokenAge::deserialize(deserializer)? {
            TokenAge::Current => 0,
            TokenAge::Previous => 1,
        }))
    }
}

/// A gate: one of the mock, by its name, or one of the test.
#[derive(Debug, Clone)]
pub(crate) enum GateChoice {
    Named(String),
    Gate(Gate),
}

impl<'de> Deserialize<'de> for GateChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Named)
    }
}

/// The stages at which an answer stalls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stalls(pub(crate) BTreeSet<Stage>);

impl<'de> Deserialize<'de> for Stalls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stage = Stage::deserialize(deserializer)?;
        Ok(Self(BTreeSet::from([stage])))
    }
}

impl Member for Stalls {
    fn is_set(&self) -> bool {
        self.0.is_set()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.0.overlaps(&other.0)
    }

    fn absorb(&mut self, other: Self) {
        self.0.absorb(other.0);
    }
}

/// The stages at which an answer waits for a gate; `None` is the gate of `until`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(pub(crate) BTreeMap<Stage, Option<Gate>>);

impl<'de> Deserialize<'de> for Holds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stage = Stage::deserialize(deserializer)?;
        Ok(Self(BTreeMap::from([(stage, None)])))
    }
}

impl Member for Holds {
    fn is_set(&self) -> bool {
        self.0.is_set()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.0.overlaps(&other.0)
    }

    fn absorb(&mut self, other: Self) {
        self.0.absorb(other.0);
    }
}

impl Serialize for TokenChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Age(0) => serializer.serialize_str("current"),
            Self::Age(1) => serializer.serialize_str("previous"),
            Self::Age(age) => serializer.collect_str(&format_args!("{age} rotations ago")),
            Self::Digest(digest) => serializer.collect_str(&format_args!("{digest:?}")),
        }
    }
}

impl Serialize for GateChoice {
    /// A gate of a test in Rust has no name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Named(name) => name,
            Self::Gate(_) => "..",
        })
    }
}

impl Serialize for Stalls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        stages(self.0.iter(), serializer)
    }
}

impl Serialize for Holds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        stages(self.0.keys(), serializer)
    }
}

/// One as it is read; a list of several, which only a test in Rust can give.
fn stages<'a, S: Serializer>(
    mut stages: impl ExactSizeIterator<Item = &'a Stage>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match (stages.len(), stages.next()) {
        (1, Some(only)) => only.serialize(serializer),
        (_, first) => serializer.collect_seq(first.into_iter().chain(stages)),
    }
}
