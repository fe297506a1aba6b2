use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use pod_identity_core::Timestamp;

use crate::fault::fault::Fault;
use crate::http::answer::{self, Answer};
use crate::http::delivery::{Delivery, Wait};
use crate::http::gzip;
use crate::http::request::Request;
use crate::http::stage::{Ending, Stage};
use crate::http::wire::{Framing, Wire};

/// The effects of a fault's members that are the same for every mock.
impl Fault {
    /// Returns the answer that replaces the mock's own. The mock itself handles `error`, `status` and
    /// `malformed`.
    pub(crate) fn own_answer(&self, request: &Request) -> Option<Answer> {
        if let Some(location) = &self.redirect {
            return Some(answer::redirect(self.status.unwrap_or(302), &location.0));
        }
        if let Some(body) = &self.body {
            return Some(answer::json(200, body.0.clone()));
        }
        if self.empty {
            return Some(answer::json(200, ""));
        }
        if self.html {
            return Some(answer::html(200, PAGE));
        }
        if let Some(answer) = &self.answer {
            return Some(answer.0.clone());
        }
        let respond = self.respond.as_ref()?;
        Some(respond.answer(&request.to_http().unwrap_or_default()))
    }

    /// Returns when the credentials of a success expire instead, if the fault changes that.
    pub fn expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let later = self.expires_in.map(|time| now + time.0);
        later.or_else(|| self.expired_for.map(|time| now - time.0))
    }

    pub(crate) fn delivery(&self) -> Delivery {
        let mut waits = Vec::new();
        if let Some(time) = self.latency {
            waits.push((Stage::BeforeHeaders, Wait::Pause(time.0)));
        }
        for (stage, gate) in &self.hold.0 {
            let gate = gate.clone().expect("a gate must be found at the injection");
            waits.push((*stage, Wait::Gate(gate)));
        }
        let stalls = self.stall.0.iter();
        waits.extend(stalls.map(|stage| (*stage, Wait::Forever)));
        Delivery {
            waits,
            drip: self.drip.map(|interval| interval.0),
            ending: self
                .close
                .map(Ending::Closed)
                .or(self.reset.map(Ending::Reset)),
        }
    }

    /// Returns the bytes of an answer.
    pub(crate) fn wire(&self, answer: Answer, request: &Request) -> Wire {
        let (mut parts, body) = answer.into_parts();
        let mut body = body.to_vec();
        if self.byte_order_mark {
            body.splice(..0, BYTE_ORDER_MARK);
        }
        if self.oversize && body.len() <= MAX_BODY {
            body.resize(MAX_BODY + 1, b' ');
        }
        if self.gzip {
            body = gzip::stored(&body);
            let gzip = HeaderValue::from_static("gzip");
            parts.headers.insert(CONTENT_ENCODING, gzip);
        }
        for (name, value) in &self.headers.0 {
            parts.headers.insert(name, value.clone());
        }
        let framing = match self.chunked {
            true => Framing::Chunked,
            false => Framing::Length,
        };
        let answer = Answer::from_parts(parts, Bytes::from(body));
        Wire::new(answer, framing, request)
    }
}

const PAGE: &str = "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>\n";
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// The most that a client should read: 64 KiB.
const MAX_BODY: usize = 64 * 1024;
