use std::time::Duration;

use fastrand::Rng;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_core::{Credentials, Failure, Secret, Timestamp, TokenBucket};

use crate::{EksAuthError, Session};

/// EKS Auth with a limit for the account: a token bucket of one second.
pub(super) struct LimitedEksAuth {
    bucket: TokenBucket,
    outage: Option<(Timestamp, Timestamp)>,
    minted: u64,
}

/// What became of an exchange.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Exchanged {
    /// With the time at which the credentials expire.
    Granted(Timestamp),
    Throttled,
    Down,
}

impl LimitedEksAuth {
    pub(super) fn new(per_second: f64, outage: Option<(Timestamp, Timestamp)>) -> Self {
        Self {
            bucket: TokenBucket::new(per_second as u32, per_second),
            outage,
            minted: 0,
        }
    }

    pub(super) fn exchange(&mut self, now: Timestamp) -> Exchanged {
        if self
            .outage
            .is_some_and(|(from, to)| from <= now && now < to)
        {
            return Exchanged::Down;
        }
        match self.bucket.try_take(now) {
            true => Exchanged::Granted(now + LIFETIME),
            false => Exchanged::Throttled,
        }
    }

    /// The answer as the agent reads it.
    pub(super) fn answer(
        &mut self,
        exchanged: Exchanged,
    ) -> Result<Session, Failure<EksAuthError>> {
        let code = match exchanged {
            Exchanged::Granted(expires) => {
                self.minted += 1;
                let secret = || Secret::from("secret".to_owned());
                let key = format!("ASIA{:016}", self.minted);
                let credentials = Credentials::new(key, secret(), secret(), expires);
                return Ok(Session::new(credentials, "shop", "cart"));
            }
            Exchanged::Throttled => ErrorCode::Throttling,
            Exchanged::Down => ErrorCode::ServiceUnavailable,
        };
        let error = EksAuthError::Refused {
            status: code.status(),
            code: code.name().to_owned(),
            message: String::new(),
            request_id: None,
        };
        Err(Failure::new(code.class(), error))
    }
}

/// How long an exchange takes.
pub(super) fn latency(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(40..100))
}

/// Source: the EKS user guide.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);
