use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::api_server::field_selector::FieldSelector;
use crate::api_server::representation::Representation;
use crate::api_server::status::Status;
use crate::http::feed::{Feed, FeedSender, Piece};

/// The pods of a cluster, with their history and the watches that are open.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    pods: BTreeMap<PodName, Value>,
    /// By version, the oldest first.
    history: Vec<Change>,
    /// A watch from before this version has missed changes that are no longer known.
    oldest: u64,
    watches: Vec<Watch>,
}

/// Namespace and name.
type PodName = (String, String);

#[derive(Debug)]
struct Change {
    version: u64,
    before: Option<Value>,
    after: Option<Value>,
}

/// What a watch was opened with.
#[derive(Debug, Clone)]
pub(crate) struct WatchOptions {
    pub(crate) selection: Selection,
    /// The version to begin after; `None` for the current state.
    pub(crate) from: Option<u64>,
    pub(crate) bookmarks: bool,
}

/// Which pods a request is about, and how it wants them.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) namespace: Option<String>,
    pub(crate) fields: FieldSelector,
    pub(crate) representation: Representation,
}

#[derive(Debug)]
struct Watch {
    selection: Selection,
    bookmarks: bool,
    feed: FeedSender,
}

impl Pods {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Stores a pod with its new version, or removes it, and tells the watches.
    pub(crate) fn set(&mut self, namespace: &str, name: &str, pod: Option<Value>, version: u64) {
        let key = (namespace.to_owned(), name.to_owned());
        let before = match &pod {
            Some(pod) => self.pods.insert(key, pod.clone()),
            None => self.pods.remove(&key),
        };
        let change = Change {
            version,
            before,
            after: pod,
        };
        self.tell(|watch| watch.selection.event(&change));
        self.history.push(change);
    }

    pub(crate) fn list(&self, selection: &Selection, version: u64) -> Value {
        let pods = self.pods.values().filter(|pod| selection.matches(pod));
        let pods: Vec<Value> = pods.cloned().collect();
        selection.representation.pods(&pods, version)
    }

    /// Opens a watch: returns what it begins with, and what follows.
    pub(crate) fn watch(&mut self, options: WatchOptions) -> (String, Feed) {
        let (feed, following) = Feed::channel();
        let selection = options.selection;
        let first: Vec<String> = match options.from {
            // It ends at once, because the sender is dropped.
            Some(from) if from < self.oldest => {
                let status = Status::expired(from, self.oldest);
                return (error_event(&status), following);
            }
            Some(from) => {
                let later = self.history.iter().filter(|change| change.version > from);
                later.filter_map(|change| selection.event(change)).collect()
            }
            None => {
                let pods = self.pods.values().filter(|pod| selection.matches(pod));
                let shown = pods.map(|pod| event("ADDED", &selection.representation.pod(pod)));
                shown.collect()
            }
        };
        self.watches.push(Watch {
            selection,
            bookmarks: options.bookmarks,
            feed,
        });
        (first.concat(), following)
    }

    /// Forgets the history up to this version.
    pub(crate) fn compact(&mut self, version: u64) {
        self.history.clear();
        self.oldest = version;
    }

    pub(crate) fn send_bookmarks(&mut self, version: u64) {
        self.tell(|watch| {
            let bookmark = watch.selection.representation.bookmark(version);
            watch.bookmarks.then(|| event("BOOKMARK", &bookmark))
        });
    }

    /// Ends the open watches in order.
    pub(crate) fn end_watches(&mut self) {
        self.watches.clear();
    }

    /// Ends the open watches with this error.
    pub(crate) fn fail_watches(&mut self, status: &Status) {
        self.tell(|_any| Some(error_event(status)));
        self.watches.clear();
    }

    /// Breaks the connections of the open watches.
    pub(crate) fn break_watches(&mut self) {
        for watch in self.watches.drain(..) {
            // A watch that has ended is broken enough.
            watch.feed.send(Piece::Break).ok();
        }
    }

    pub(crate) fn watch_count(&mut self) -> usize {
        self.watches.retain(|watch| !watch.feed.is_closed());
        self.watches.len()
    }

    fn tell(&mut self, event: impl Fn(&Watch) -> Option<String>) {
        self.watches.retain(|watch| match event(watch) {
            Some(event) => watch.feed.send(Piece::Data(Bytes::from(event))).is_ok(),
            None => !watch.feed.is_closed(),
        });
    }
}

impl Selection {
    fn matches(&self, pod: &Value) -> bool {
        let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str);
        let is_in = |wanted: &String| namespace == Some(wanted);
        self.namespace.as_ref().is_none_or(is_in) && self.fields.matches(pod)
    }

    /// A change as a watch sees it: a pod that no longer matches is a pod that was deleted.
    fn event(&self, change: &Change) -> Option<String> {
        let before = change.before.as_ref().filter(|pod| self.matches(pod));
        let after = change.after.as_ref().filter(|pod| self.matches(pod));
        let (kind, pod) = match (before, after) {
            (None, None) => return None,
            (None, Some(pod)) => ("ADDED", pod),
            (Some(_), Some(pod)) => ("MODIFIED", pod),
            (Some(pod), None) => ("DELETED", pod),
        };
        let mut shown = self.representation.pod(pod);
        if let Some(version) = shown.pointer_mut("/metadata/resourceVersion") {
            *version = change.version.to_string().into();
        }
        Some(event(kind, &shown))
    }
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn error_event(status: &Status) -> String {
    event("ERROR", &status.to_json())
}
