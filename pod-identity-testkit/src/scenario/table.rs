use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Reads the `Words` of a table and makes a `T` of them. As serde's `try_from`, but the error is found in
/// this table, rather than in the whole array that it is in.
pub(super) fn deserialize<'de, Words, T, D>(deserializer: D) -> Result<T, D::Error>
where
    Words: Deserialize<'de>,
    T: TryFrom<Words, Error: fmt::Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(Table(PhantomData))
}

struct Table<Words, T>(PhantomData<(Words, T)>);

impl<'de, Words, T> Visitor<'de> for Table<Words, T>
where
    Words: Deserialize<'de>,
    T: TryFrom<Words, Error: fmt::Display>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        let words = Words::deserialize(MapAccessDeserializer::new(map))?;
        T::try_from(words).map_err(A::Error::custom)
    }
}
