//! The SDK's own signer against this verifier, over requests of every shape.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use fastrand::Rng;
use http::Request;
use http::request::Parts;
use pod_identity_core::{Secret, Timestamp};

use super::check::{Keys, Scope, SignatureError};

const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const TEMPORARY: &str = "ASIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A request before it is signed.
#[derive(Debug, Clone)]
struct Shape {
    method: &'static str,
    path: String,
    query: Vec<String>,
    headers: Vec<(&'static str, String)>,
    body: String,
    session_token: Option<String>,
    presigned: bool,
    hashed: bool,
}

impl Shape {
    fn random(rng: &mut Rng) -> Self {
        let presigned = rng.bool();
        Self {
            method: pick(rng, &["GET", "POST", "PUT", "DELETE"]),
            path: (0..rng.usize(1..5))
                .map(|_| format!("/{}", pieces(rng, &PATH_PIECES, 4)))
                .collect(),
            query: (0..rng.usize(..5))
                .map(|_| {
                    let equals = pick(rng, &["=", ""]);
                    let value = match equals {
                        "" => String::new(),
                        _ => pieces(rng, &QUERY_PIECES, 3),
                    };
                    format!("k{}{equals}{value}", pieces(rng, &QUERY_PIECES, 2))
                })
                .collect(),
            headers: (0..rng.usize(..4))
                .map(|_| {
                    let name = pick(rng, &["x-one", "x-two", "content-type", "x-amz-meta"]);
                    (name, pieces(rng, &HEADER_PIECES, 4))
                })
                .collect(),
            body: pieces(rng, &QUERY_PIECES, 6),
            session_token: rng.bool().then(|| pieces(rng, &["a", "/", "+", "=="], 8)),
            presigned,
            hashed: !presigned && rng.bool(),
        }
    }

    fn target(&self) -> String {
        match self.query.is_empty() {
            true => self.path.clone(),
            false => format!("{}?{}", self.path, self.query.join("&")),
        }
    }

    fn signed(&self) -> Parts {
        let uri = format!("http://mock.test{}", self.target());
        let mut headers = vec![("host", "mock.test".to_owned())];
        headers.extend(self.headers.iter().cloned());
        let mut request = Request::builder().method(self.method).uri(&uri);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let mut request = request.body(()).unwrap();

        let token = self.session_token.clone();
        let key = match token {
            Some(_) => TEMPORARY,
            None => KEY,
        };
        let identity = Credentials::new(key, SECRET, token, None, "test").into();
        let mut settings = SigningSettings::default();
        if self.presigned {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(Duration::from_secs(60));
        }
        if self.hashed {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-west-2")
            .name("eks")
            .time(SystemTime::from(NOW))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let body = SignableBody::Bytes(self.body.as_bytes());
        let signable = SignableRequest::new(self.method, &uri, headers, body).unwrap();
        let (instructions, _signature) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        // As it arrives: a path and a query.
        let target = request.uri().path_and_query().unwrap().to_string();
        *request.uri_mut() = target.parse().unwrap();
        request.into_parts().0
    }
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    rng.choice(of.iter().copied()).unwrap()
}

fn pieces(rng: &mut Rng, of: &[&str], most: usize) -> String {
    (0..rng.usize(..=most)).map(|_| pick(rng, of)).collect()
}

fn verify(secret: &str, head: &Parts, body: &str) -> Result<(), SignatureError> {
    let keys = Keys {
        nodes: [KEY, TEMPORARY]
            .map(|key| (key.to_owned(), Secret::from(secret.to_owned())))
            .into(),
        ..Keys::default()
    };
    let scope = Scope {
        service: "eks",
        region: Some("us-west-2"),
        timely: true,
    };
    keys.signer(scope, head, body.as_bytes(), NOW).map(drop)
}

#[test]
fn every_request_that_the_sdk_signs_is_verified() {
    let mut rng = Rng::with_seed(0);
    for _ in 0..CASES {
        let shape = Shape::random(&mut rng);
        let head = shape.signed();
        assert_eq!(
            verify(SECRET, &head, &shape.body),
            Ok(()),
            "{shape:?} {head:?}"
        );
    }
}

#[test]
fn a_request_that_changes_after_signing_does_not_match() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..CASES {
        let shape = Shape::random(&mut rng);
        let signed = shape.signed();
        let target = signed.uri.to_string();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));

        let mut other_path = signed.clone();
        other_path.uri = format!("{path}x?{query}").parse().unwrap();
        let mut other_query = signed.clone();
        other_query.uri = format!("{path}?{query}&more=1").parse().unwrap();
        let mut other_method = signed.clone();
        other_method.method = http::Method::PATCH;
        let mut other_host = signed.clone();
        let host = "evil.test".parse().unwrap();
        other_host.headers.insert("host", host);
        for changed in [other_path, other_query, other_method, other_host] {
            let verified = verify(SECRET, &changed, &shape.body);
            assert_eq!(verified, Err(SignatureError::Mismatch), "{changed:?}");
        }
        for (secret, body) in [
            ("other", shape.body.clone()),
            (SECRET, shape.body.clone() + "x"),
        ] {
            let verified = verify(secret, &signed, &body);
            assert_eq!(verified, Err(SignatureError::Mismatch), "{shape:?}");
        }
    }
}

const CASES: usize = 500;

const PATH_PIECES: [&str; 15] = [
    "a", "Z9", "/", "/./", "/../", "-", "_", "~", "%20", "%2F", "%3A", ":", "@", "$", "a.b",
];
/// Without a bare `+`: clients disagree on whether it is a space.
const QUERY_PIECES: [&str; 11] = [
    "a", "B", "0", "-", "~", "%20", "%2B", "%2f", ":", "/", "%C3%A9",
];
const HEADER_PIECES: [&str; 6] = ["a", " ", "  ", "=", ";", "/"];
