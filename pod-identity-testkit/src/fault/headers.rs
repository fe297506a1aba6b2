use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::error::FaultError;
use crate::fault::member::Member;

/// Headers that are added to an answer or replace its own.
#[derive(Clone, Default)]
pub(crate) struct Headers(pub(crate) HeaderMap);

impl Headers {
    pub(super) fn one(name: HeaderName, value: HeaderValue) -> Self {
        Self(HeaderMap::from_iter([(name, value)]))
    }
}

impl Member for Headers {
    fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.0.keys().any(|name| other.0.contains_key(name))
    }

    fn absorb(&mut self, other: Self) {
        for (name, value) in &other.0 {
            self.0.entry(name).or_insert_with(|| value.clone());
        }
    }
}

impl fmt::Debug for Headers {
    /// Without values: a test may have put a secret in one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
        let mut headers = HeaderMap::new();
        for (name, value) in texts {
            // Without the value: a test may have put a secret in it.
            let unfit = || D::Error::custom(FaultError::Header(name.clone()));
            let header = HeaderName::try_from(&name).map_err(|_unfit| unfit())?;
            let value = HeaderValue::try_from(value).map_err(|_unfit| unfit())?;
            headers.insert(header, value);
        }
        Ok(Self(headers))
    }
}

impl Serialize for Headers {
    /// Without values.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = self.0.keys().map(|name| (name.as_str(), ".."));
        serializer.collect_map(names)
    }
}
