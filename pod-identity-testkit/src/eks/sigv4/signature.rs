use aws_lc_rs::{digest, hmac};
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pod_identity_core::{Secret, Timestamp};

/// A Signature Version 4 with its parameters, from the header or from the query.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) access_key_id: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) at: Timestamp,
    pub(crate) session_token: Option<Secret>,
    /// The validity in seconds of a signature in the query.
    pub(crate) expires: Option<u64>,
    /// `x-amz-date`, as sent.
    date: String,
    signed_headers: String,
    signature: String,
}

/// Why there is no [`Signature`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoSignature {
    Missing,
    Incomplete,
}

impl Signature {
    pub(crate) fn of(head: &Parts) -> Result<Self, NoSignature> {
        let found = match header(head, AUTHORIZATION.as_str()) {
            Some(value) => value.strip_prefix(ALGORITHM).map(|fields| {
                let fields = fields.to_owned();
                Self::parse(
                    |name| field(&fields, name),
                    header(head, "x-amz-date"),
                    header(head, "x-amz-security-token"),
                    None,
                )
            }),
            None => Self::presigned(head),
        };
        found
            .ok_or(NoSignature::Missing)?
            .ok_or(NoSignature::Incomplete)
    }

    fn presigned(head: &Parts) -> Option<Option<Self>> {
        let query: Vec<(String, String)> = query(head)
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect();
        let get = |wanted: &str| {
            let mut pairs = query.iter();
            pairs
                .find(|(name, _)| name.strip_prefix("X-Amz-") == Some(wanted))
                .map(|(_, value)| value.clone())
        };
        get("Algorithm").filter(|name| name == ALGORITHM)?;
        let expires = get("Expires").and_then(|seconds| seconds.parse().ok());
        Some(expires.and_then(|expires| {
            Self::parse(get, get("Date"), get("Security-Token"), Some(expires))
        }))
    }

    fn parse(
        field: impl Fn(&str) -> Option<String>,
        date: Option<String>,
        token: Option<String>,
        expires: Option<u64>,
    ) -> Option<Self> {
        let credential = field("Credential")?;
        // From the end, because an access key id from the network may contain a slash.
        let mut scope = credential.rsplitn(5, '/');
        let (end, service, region, day) =
            (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        let access_key_id = scope.next()?.to_owned();
        let date = date?;
        if end != TERMINATOR || !date.starts_with(day) {
            return None;
        }
        Some(Self {
            access_key_id,
            region: region.to_owned(),
            service: service.to_owned(),
            at: moment(&date)?,
            session_token: token.map(Secret::from),
            expires,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
            date,
        })
    }

    /// Returns whether this key signed this request.
    pub(crate) fn is_by(&self, secret: &Secret, head: &Parts, body: &[u8]) -> bool {
        let to_sign = [
            ALGORITHM.to_owned(),
            self.date.clone(),
            self.scope(),
            hex(&sha256(self.canonical(head, body).as_bytes())),
        ];
        let expected = hex(hmac_of(&self.key(secret), to_sign.join("\n").as_bytes()).as_ref());
        // Not in constant time: the keys of a mock protect nothing.
        expected == self.signature
    }

    fn day(&self) -> &str {
        self.date.get(..8).unwrap_or_default()
    }

    fn scope(&self) -> String {
        [self.day(), &self.region, &self.service, TERMINATOR].join("/")
    }

    fn key(&self, secret: &Secret) -> Vec<u8> {
        let start = format!("AWS4{}", secret.expose()).into_bytes();
        let steps = [self.day(), &self.region, &self.service, TERMINATOR];
        steps.iter().fold(start, |key, step| {
            hmac_of(&key, step.as_bytes()).as_ref().to_vec()
        })
    }

    /// Returns the canonical request, with the headers that the signature lists.
    fn canonical(&self, head: &Parts, body: &[u8]) -> String {
        let mut lines = vec![
            head.method.to_string(),
            // Normalized and encoded once more: every service does that but S3.
            encoded(&normalized(head.uri.path()), &PATH),
            canonical_query(head),
        ];
        for name in self.signed_headers.split(';') {
            lines.push(format!("{name}:{}", canonical_header(head, name)));
        }
        lines.push(String::new());
        lines.push(self.signed_headers.clone());
        lines.push(payload(head, body));
        lines.join("\n")
    }
}

/// Returns the service that a signature says it is for, whether the signature is whole or not.
pub(crate) fn service_of(head: &Parts) -> Option<String> {
    let in_header = header(head, AUTHORIZATION.as_str()).and_then(|value| {
        let fields = value.strip_prefix(ALGORITHM)?;
        field(fields, "Credential")
    });
    let credential = in_header.or_else(|| {
        let (_, value) = query(head).find(|(name, _)| *name == "X-Amz-Credential")?;
        Some(decoded(value))
    })?;
    let mut scope = credential.rsplit('/');
    (scope.next()? == TERMINATOR).then_some(())?;
    scope.next().map(str::to_owned)
}

/// Formats a time as SigV4 does: `20260301T120000Z`.
pub(crate) fn amz_date(at: Timestamp) -> String {
    let whole = Timestamp::from_unix_secs(at.as_unix_secs()).to_string();
    whole
        .chars()
        .filter(|it| !matches!(it, '-' | ':'))
        .collect()
}

fn moment(text: &str) -> Option<Timestamp> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    if day.len() != 8 || time.len() != 6 {
        return None;
    }
    let part = |text: &str, from: usize, to: usize| text.get(from..to).map(str::to_owned);
    let (year, month, date) = (part(day, 0, 4)?, part(day, 4, 6)?, part(day, 6, 8)?);
    let (hour, minute, second) = (part(time, 0, 2)?, part(time, 2, 4)?, part(time, 4, 6)?);
    Timestamp::parse_rfc3339(&format!("{year}-{month}-{date}T{hour}:{minute}:{second}Z")).ok()
}

/// The path without empty and dot segments: "Normalize URI paths according to RFC 3986" (the documentation
/// of Signature Version 4).
fn normalized(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let is_directory = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    let end = if is_directory && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

fn field(fields: &str, name: &str) -> Option<String> {
    fields
        .split(',')
        .filter_map(|field| field.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

fn header(head: &Parts, name: &str) -> Option<String> {
    let value = head.headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn canonical_header(head: &Parts, name: &str) -> String {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return String::new();
    };
    let values = head.headers.get_all(name).iter().map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let parts: Vec<&str> = value.split_whitespace().collect();
        parts.join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

fn query(head: &Parts) -> impl Iterator<Item = (&str, &str)> {
    let query = head.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Returns the canonical query: sorted, encoded again, and without the signature itself.
fn canonical_query(head: &Parts) -> String {
    let again = |text: &str| encoded(&decoded(text), &UNRESERVED);
    let mut pairs: Vec<(String, String)> = query(head)
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (again(name), again(value)))
        .collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

/// Returns the hash of the payload: `UNSIGNED-PAYLOAD` if the client declares that, else that of the received body.
fn payload(head: &Parts, body: &[u8]) -> String {
    let declared = header(head, "x-amz-content-sha256");
    match declared {
        Some(hash) if hash == "UNSIGNED-PAYLOAD" => hash,
        _ => hex(&sha256(body)),
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn encoded(text: &str, except: &'static AsciiSet) -> String {
    utf8_percent_encode(text, except).to_string()
}

fn sha256(data: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, data).as_ref().to_vec()
}

fn hmac_of(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";

const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: AsciiSet = UNRESERVED.remove(b'/');

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The example `get-vanilla-query-order-key-case` of AWS's Signature Version 4 test suite.
    fn vanilla(query: &str) -> Parts {
        let authorization = "AWS4-HMAC-SHA256 \
            Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
            SignedHeaders=host;x-amz-date, \
            Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        Request::get(format!("/?{query}"))
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header("authorization", authorization)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn the_published_example_is_verified_and_a_changed_one_is_not() {
        let secret = Secret::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let head = vanilla("Param2=value2&Param1=value1");
        let signature = Signature::of(&head).unwrap();
        assert_eq!(signature.access_key_id, "AKIDEXAMPLE");
        assert_eq!(signature.service, "service");
        assert_eq!(amz_date(signature.at), "20150830T123600Z");
        assert!(signature.is_by(&secret, &head, b""));
        assert!(signature.is_by(&secret, &vanilla("Param1=value1&Param2=value%32"), b""));

        assert!(!signature.is_by(&secret, &vanilla("Param1=value1"), b""));
        assert!(!signature.is_by(&secret, &head, b"a body"));
        assert!(!signature.is_by(&Secret::from("another".to_owned()), &head, b""));
    }

    #[test]
    fn a_time_of_signing_is_a_day_and_a_time_in_utc() {
        let at = moment("20150830T123600Z");
        assert_eq!(at, Timestamp::parse_rfc3339("2015-08-30T12:36:00Z").ok());
        for text in [
            "",
            "20150830",
            "20150830T123600",
            "20150830 123600Z",
            "2015-08-30T12:36:00Z",
            "201508300T123600Z",
            "20150830T1236000Z",
            "2015083T123600Z",
            "20150830T12360Z",
            "20151330T123600Z",
            "2015é30T123600Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn a_signature_must_be_complete() {
        let full = "AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws4_request, SignedHeaders=host, Signature=0";
        for (authorization, expected) in [
            (None, Some(NoSignature::Missing)),
            (Some("Bearer x"), Some(NoSignature::Missing)),
            (
                Some("AWS4-HMAC-SHA256 Credential=A"),
                Some(NoSignature::Incomplete),
            ),
            (
                Some(&*full.replace("aws4_request", "aws5_request")),
                Some(NoSignature::Incomplete),
            ),
            (
                Some(&*full.replace("20150830", "20150831")),
                Some(NoSignature::Incomplete),
            ),
            (
                Some(&*full.replace(", Signature=0", "")),
                Some(NoSignature::Incomplete),
            ),
            (Some(full), None),
        ] {
            let mut request = Request::get("/").header("x-amz-date", "20150830T123600Z");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let head = request.body(()).unwrap().into_parts().0;
            assert_eq!(Signature::of(&head).err(), expected, "{authorization:?}");
        }
    }

    #[test]
    fn the_body_is_signed_unless_the_client_declares_that_it_is_not() {
        let declaring = |hash: &str| {
            let request = Request::get("/").header("x-amz-content-sha256", hash);
            request.body(()).unwrap().into_parts().0
        };
        let of_body = hex(&sha256(b"body"));
        let unsigned = "UNSIGNED-PAYLOAD";
        assert_eq!(payload(&declaring(unsigned), b"body"), unsigned);
        for other in ["", &of_body, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"] {
            assert_eq!(payload(&declaring(other), b"body"), of_body, "{other}");
        }
    }
}
