use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastrand::Rng;
use pod_identity_core::{Timestamp, TokenDigest};

/// A pod with an SDK that signs requests all the time, as a busy service does.
pub(super) struct Pod {
    pub(super) node: usize,
    pub(super) address: IpAddr,
    pub(super) digest: TokenDigest,
    /// When what it holds expires. A pod begins without credentials.
    pub(super) expires: Timestamp,
    /// How long before that the SDK wants newer ones: 15 min as botocore does, or 5 min as most others do.
    pub(super) window: Duration,
    /// Requests of this round, counted from 0.
    pub(super) attempt: u32,
    /// Tells a request from those before it.
    pub(super) serial: u32,
    pub(super) since: Timestamp,
}

impl Pod {
    pub(super) fn new(number: usize, node: usize, begins: Timestamp) -> Self {
        let [_, _, high, low] = (number as u32).to_be_bytes();
        Self {
            node,
            address: Ipv4Addr::new(10, 1, high, low).into(),
            digest: TokenDigest::of(token(number).as_bytes()),
            expires: Timestamp::MIN,
            window: Duration::from_secs(if number.is_multiple_of(2) { 900 } else { 300 }),
            attempt: 0,
            serial: 0,
            since: begins,
        }
    }

    /// How long the SDK waits after a failed request: three attempts a second apart or so, and then until the
    /// application makes its next call.
    pub(super) fn pause(&mut self, rng: &mut Rng) -> Duration {
        self.attempt += 1;
        match self.attempt % ATTEMPTS {
            0 => Duration::from_millis(rng.u64(5_000..15_000)),
            _ => Duration::from_millis(rng.u64(200..1_500)),
        }
    }

    pub(super) fn hold(&mut self, expires: Timestamp) {
        self.expires = expires;
        self.attempt = 0;
    }

    /// When the SDK asks for newer credentials than these.
    pub(super) fn next(&self, now: Timestamp, rng: &mut Rng) -> Timestamp {
        let next_call = Duration::from_millis(rng.u64(1_000..10_000));
        (self.expires - self.window).max(now) + next_call
    }
}

/// A token as kubelet projects it, whose signature nobody verifies here.
pub(super) fn token(number: usize) -> String {
    let claims = format!(
        r#"{{"aud":["pods.eks.amazonaws.com"],"exp":{TOKEN_EXPIRES},"kubernetes.io":{{"namespace":"shop","pod":{{"name":"cart-{number}","uid":"{number}"}},"serviceaccount":{{"name":"cart","uid":"1"}}}}}}"#
    );
    let [header, claims, signature] =
        [r#"{"alg":"RS256","kid":"1"}"#, claims.as_str(), "signature"]
            .map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}.{signature}")
}

/// Later than any run: the rotation of tokens spreads over a day and adds little.
const TOKEN_EXPIRES: i64 = super::scenario::START.as_unix_secs() + 14 * 24 * 3600;

/// Of botocore; most other SDKs make three or four.
const ATTEMPTS: u32 = 3;

/// The least patient SDKs give up after this; they send the next request then.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
