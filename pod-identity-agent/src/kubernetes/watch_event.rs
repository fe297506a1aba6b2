use bytes::{Bytes, BytesMut};
use pod_identity_core::KubernetesName;
use serde::Deserialize;

use crate::kubernetes::api_server_error::{ApiServerError, Refused};

/// What a watch says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WatchEvent {
    /// A pod is there, or has changed.
    Present(KubernetesName),
    /// A pod does not exist any more, or does not match any more.
    Gone(KubernetesName),
    /// There is nothing to say, up to this version.
    Bookmark,
    /// Something that this agent does not know, or a pod without a UID.
    Other,
    /// The watch has failed.
    Failed(Refused),
}

/// A list, as far as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct PodList {
    pub(crate) metadata: Metadata,
    /// Null in a list of metadata that has none: an API server makes an empty array of whole pods only.
    pub(crate) items: Option<Vec<Item>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    uid: Option<String>,
    resource_version: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Object {
    metadata: Metadata,
    code: Option<u16>,
    message: Option<String>,
}

impl Metadata {
    pub(crate) fn uid(&self) -> Option<KubernetesName> {
        KubernetesName::label(self.uid.as_deref()?)
    }

    /// The version, which is opaque. It goes into a query, so one with other than letters and digits counts
    /// as absent.
    pub(crate) fn version(&self) -> Option<&str> {
        let version = self.resource_version.as_deref()?;
        let is_plain = version.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_plain && (1..=64).contains(&version.len())).then_some(version)
    }
}

/// Parses an event, and returns it with the version that a later watch may begin at.
pub(crate) fn parse_event(line: &[u8]) -> Result<(WatchEvent, Option<String>), ApiServerError> {
    let event: Event = serde_json::from_slice(line)
        .map_err(|error| ApiServerError::Malformed(error.to_string()))?;
    let object = event.object;
    let uid = object.metadata.uid();
    let version = object.metadata.version().map(str::to_owned);
    Ok(match (event.kind.as_str(), uid) {
        ("ADDED" | "MODIFIED", Some(uid)) => (WatchEvent::Present(uid), version),
        ("DELETED", Some(uid)) => (WatchEvent::Gone(uid), version),
        ("BOOKMARK", _) => (WatchEvent::Bookmark, version),
        ("ERROR", _) => {
            let code = object.code.unwrap_or(500);
            let message = object.message.unwrap_or_default();
            (WatchEvent::Failed(Refused::new(code, &message)), None)
        }
        _ => (WatchEvent::Other, version),
    })
}

/// Splits the bytes of a watch into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(BytesMut);

impl Lines {
    /// # Errors
    /// Fails if a line is longer than any object of Kubernetes can be.
    pub(crate) fn push(&mut self, data: &Bytes) -> Result<(), ApiServerError> {
        if self.0.len() + data.len() > MAX_LINE {
            let message = format!("an event is longer than {MAX_LINE} bytes");
            return Err(ApiServerError::Malformed(message));
        }
        self.0.extend_from_slice(data);
        Ok(())
    }

    /// The next whole line, without its end.
    pub(crate) fn next(&mut self) -> Option<BytesMut> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let mut line = self.0.split_to(end + 1);
        line.truncate(end);
        Some(line)
    }
}

/// Twice what etcd accepts as an object; the metadata alone, which is asked for, are a few kilobytes.
const MAX_LINE: usize = 3 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> KubernetesName {
        KubernetesName::label(name).unwrap()
    }

    #[test]
    fn an_event_is_read_as_far_as_it_is_understood() {
        let object =
            r#"{"metadata":{"uid":"u1","resourceVersion":"7","labels":{"a":"b"}},"x":[1]}"#;
        for (line, event, version) in [
            (
                format!(r#"{{"type":"ADDED","object":{object}}}"#),
                WatchEvent::Present(uid("u1")),
                Some("7"),
            ),
            (
                format!(r#"{{"type":"MODIFIED","object":{object}}}"#),
                WatchEvent::Present(uid("u1")),
                Some("7"),
            ),
            (
                format!(r#"{{"type":"DELETED","object":{object}}}"#),
                WatchEvent::Gone(uid("u1")),
                Some("7"),
            ),
            (
                format!(r#"{{"type":"NEWER","object":{object}}}"#),
                WatchEvent::Other,
                Some("7"),
            ),
            (
                r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"8&x=1"}}}"#
                    .to_owned(),
                WatchEvent::Bookmark,
                None,
            ),
            (
                r#"{"type":"ADDED","object":{"metadata":{"uid":"U 1"}}}"#.to_owned(),
                WatchEvent::Other,
                None,
            ),
            (
                r#"{"type":"ERROR","object":{"code":410,"message":"too old\n"}}"#.to_owned(),
                WatchEvent::Failed(Refused {
                    status: 410,
                    message: "too old ".to_owned(),
                }),
                None,
            ),
        ] {
            let parsed = parse_event(line.as_bytes()).unwrap();
            assert_eq!(parsed, (event, version.map(str::to_owned)), "{line}");
        }
        for line in ["", "{}", "null", "{\"type\":1}", "\u{0}"] {
            assert!(parse_event(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn lines_come_in_any_pieces_and_are_bounded() {
        let mut lines = Lines::default();
        for piece in ["a", "b\nc", "\n\nd"] {
            lines.push(&Bytes::from_static(piece.as_bytes())).unwrap();
        }
        let mut read = std::iter::from_fn(|| lines.next());
        assert_eq!(read.next().unwrap(), "ab");
        assert_eq!(read.next().unwrap(), "c");
        assert_eq!(read.next().unwrap(), "");
        assert!(read.next().is_none());
        let long = Bytes::from(vec![b'x'; MAX_LINE]);
        assert!(lines.push(&long).is_err());
    }
}
