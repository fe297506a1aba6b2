use std::collections::HashMap;
use std::time::Duration;

use pod_identity_core::Timestamp;

/// A node with the rules of the official agent, version 0.1.37, as far as they are published and could be seen from
/// outside.
///
/// A miss is exchanged for the client that asks, with the three attempts of its SDK, and is cancelled when the client
/// hangs up. What is held is renewed in a sweep each minute once it is three hours old, two sets in a sweep. What
/// cannot be renewed is kept until 15 s before its expiry.
#[derive(Default)]
pub(super) struct Official {
    held: HashMap<usize, Held>,
    /// The request of a pod that is exchanged now, with its attempt.
    asking: HashMap<usize, (u32, u32)>,
}

struct Held {
    expires: Timestamp,
    fetched: Timestamp,
}

impl Official {
    pub(super) fn held(&self, now: Timestamp, pod: usize) -> Option<Timestamp> {
        let held = self.held.get(&pod)?;
        (now + MARGIN < held.expires).then_some(held.expires)
    }

    pub(super) fn ask(&mut self, pod: usize, serial: u32) {
        self.asking.insert(pod, (serial, 1));
    }

    pub(super) fn is_asking(&self, pod: usize, serial: u32) -> bool {
        self.asking
            .get(&pod)
            .is_some_and(|(asking, _)| *asking == serial)
    }

    pub(super) fn give_up(&mut self, pod: usize) {
        self.asking.remove(&pod);
    }

    pub(super) fn hold(&mut self, pod: usize, fetched: Timestamp, expires: Timestamp) {
        self.held.insert(pod, Held { expires, fetched });
    }

    /// Whether the SDK of the agent makes another attempt for this pod.
    pub(super) fn retries(&mut self, pod: usize) -> Option<u32> {
        let (_, attempt) = self.asking.get_mut(&pod)?;
        *attempt += 1;
        (*attempt <= ATTEMPTS).then_some(*attempt)
    }

    /// The pods whose credentials are renewed in this sweep.
    pub(super) fn sweep(&self, now: Timestamp) -> Vec<usize> {
        let is_due = |held: &&Held| held.fetched + RETENTION <= now && now + MARGIN < held.expires;
        let due = self.held.iter().filter(|(_, held)| is_due(held));
        let mut due: Vec<usize> = due.map(|(pod, _)| *pod).collect();
        due.sort_unstable();
        due.truncate(RENEWALS);
        due
    }
}

pub(super) const SWEEP: Duration = Duration::from_secs(60);
/// `--max-credential-retention-before-renewal`.
const RETENTION: Duration = Duration::from_secs(3 * 3600);
const MARGIN: Duration = Duration::from_secs(15);
/// Of the AWS SDK for Go.
const ATTEMPTS: u32 = 3;
/// Seen: each renewal takes two tokens of the limiter.
const RENEWALS: usize = 2;
