use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::Empty;

use crate::doctor::http_exchange::exchange;
use crate::doctor::surroundings::Surroundings;

/// The name of the role whose credentials instance metadata (IMDSv2) would hand out, if it answers.
pub(super) async fn role_of_node(around: &Surroundings) -> Option<String> {
    if around.variable("AWS_EC2_METADATA_DISABLED") == Some("true") {
        return None;
    }
    let base = around
        .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .unwrap_or("http://169.254.169.254");
    let base: Uri = base.trim_end_matches('/').parse().ok()?;
    let token = ask(around, &base, Method::PUT, TOKEN_PATH, TTL).await?;
    let header = ("x-aws-ec2-metadata-token", token.as_str());
    let role = ask(around, &base, Method::GET, ROLE_PATH, header).await?;
    let role = role.lines().next()?.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    (!role.is_empty() && role.chars().all(is_name)).then(|| role.to_owned())
}

async fn ask(
    around: &Surroundings,
    base: &Uri,
    method: Method,
    path: &str,
    (name, value): (&str, &str),
) -> Option<String> {
    let host: IpAddr = base.host()?.trim_matches(['[', ']']).parse().ok()?;
    let address = SocketAddr::new(host, base.port_u16().unwrap_or(80));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", base.authority()?.as_str())
        .header(name, value)
        .body(Empty::<Bytes>::new())
        .ok()?;
    let response = exchange(address, request, around.timeout).await.ok()?;
    let body = response
        .status()
        .is_success()
        .then(|| response.into_body())?;
    String::from_utf8(body.to_vec()).ok()
}

const TOKEN_PATH: &str = "/latest/api/token";
const TTL: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
const ROLE_PATH: &str = "/latest/meta-data/iam/security-credentials/";
