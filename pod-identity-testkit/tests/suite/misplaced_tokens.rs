//! A token where it does not belong is neither recorded nor repeated.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use pod_identity_core::wire::eks_auth::ErrorCode;
use pod_identity_testkit::{ServiceError, assert_no_secrets};

use crate::common::{Client, assume, shop, signed};
use crate::raw::{Raw, agent};

/// As long as the id of an association, which is looked at first.
const TOKEN: &str = "eyJ9.e30.c2lnbmF0dX";
const CLUSTER: &str = "/clusters/test-cluster";

fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Request<Full<Bytes>> {
    let mut request = signed(path).method(method);
    for (name, value) in headers {
        let all = request.headers_mut().unwrap();
        all.insert(*name, value.parse().unwrap());
    }
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn the_mock_of_eks_neither_records_nor_repeats_it() {
    let (eks, _clock) = shop().await;
    let requests = [
        request(
            "POST",
            &format!("/clusters/{TOKEN}/assume-role-for-pod-identity"),
            &[],
        ),
        request("GET", &format!("/clusters/{TOKEN}"), &[]),
        request(
            "GET",
            &format!("{CLUSTER}/pod-identity-associations/{TOKEN}"),
            &[],
        ),
        request("GET", &format!("{CLUSTER}/addons/{TOKEN}"), &[]),
        request("GET", &format!("{CLUSTER}/updates/{TOKEN}"), &[]),
        request("GET", &format!("/tags/{TOKEN}"), &[]),
        request(
            "GET",
            &format!("/tags/arn:aws:eks:us-west-2:1:x/{TOKEN}"),
            &[],
        ),
        request("GET", &format!("/Bearer%20{TOKEN}"), &[]),
        request("GET", &format!("/x?{TOKEN}"), &[]),
        request(
            "GET",
            &format!("/addons/supported-versions?addonName={TOKEN}"),
            &[],
        ),
        request(
            "GET",
            &format!("/addons/configuration-schemas?addonName={TOKEN}"),
            &[],
        ),
        request(
            "GET",
            "/.well-known/openid-configuration",
            &[("host", TOKEN)],
        ),
        request("POST", "/", &[("x-amz-target", TOKEN)]),
        request("GET", "/", &[("user-agent", TOKEN)]),
        request(TOKEN, "/", &[]),
    ];
    let mut statuses = Vec::new();
    for request in requests {
        let shown = format!("{} {}", request.method(), request.uri());
        let mut client = Client::connect(&eks).await.unwrap();
        let answer = client.send(request).await.unwrap();
        println!("{shown}: {}", answer.body);
        assert_no_secrets(&answer.body, &[TOKEN]);
        statuses.push(answer.status);
    }
    let expected = [
        404, 404, 404, 404, 404, 400, 404, 404, 404, 200, 200, 200, 400, 404, 404,
    ];
    assert_eq!(statuses, expected, "each was looked up");

    let recorded = eks.requests();
    assert_eq!(recorded.len(), expected.len());
    for request in &recorded {
        let shown = format!("{request:?}");
        assert_no_secrets(&shown, &[TOKEN]);
        assert!(shown.contains("redacted"), "{shown}");
    }
    assert_eq!(recorded[0].cluster.as_deref(), Some("redacted"));
    assert_eq!(recorded[11].host.as_deref(), Some("redacted"));
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_named_unless_it_is_a_token() {
    let (eks, _clock) = shop().await;
    for (name, named) in [("other", "other"), (TOKEN, "redacted")] {
        let path = format!("/clusters/{name}/assume-role-for-pod-identity");
        for request in [
            request("POST", &path, &[]),
            request("GET", &format!("/clusters/{name}"), &[]),
        ] {
            let mut client = Client::connect(&eks).await.unwrap();
            let answer = client.send(request).await.unwrap();
            let message = format!("No cluster found for name: {named}.");
            assert_eq!(answer.message(), message);
        }
    }
}

/// So that a client can be tested that must not show it.
#[tokio::test]
async fn a_token_in_the_message_of_a_fault_is_sent() {
    let (eks, _clock) = shop().await;
    let message = format!("the token {TOKEN} is wrong");
    eks.inject(ServiceError::new(ErrorCode::InvalidToken).message(message.clone()));
    let answer = assume(&eks, TOKEN).await;
    assert_eq!(answer.message(), message);
}

#[tokio::test]
async fn the_mock_agent_neither_records_nor_repeats_it() {
    let agent = agent().await;
    let token = agent.token();
    let token = token.expose();
    let good = format!("Host: 169.254.170.23\r\nAuthorization: {token}");
    let path = "/v1/credentials";
    for (line, headers) in [
        (format!("GET /{token}"), good.clone()),
        (format!("GET /Bearer%20{token}"), good.clone()),
        (format!("GET {path}/{token}"), good.clone()),
        (format!("GET {path}?{token}"), good.clone()),
        (format!("GET {path}?token={token}"), good.clone()),
        (format!("{token} {path}"), good.clone()),
        (format!("GET {path}"), format!("Host: {token}")),
        (format!("GET http://{token}{path}"), good.clone()),
        (
            format!("GET {path}"),
            format!("{good}\r\nCookie: a={token}"),
        ),
    ] {
        let mut raw = Raw::connect(&agent).await;
        raw.send(&format!("{line} HTTP/1.1\r\n{headers}\r\n\r\n"))
            .await;
        let answer = raw.answer().await;
        assert_no_secrets(answer.text(), &[token]);
        let recorded = agent.requests();
        let shown = format!("{:?}", recorded.last().unwrap());
        println!("{shown}");
        assert_no_secrets(&shown, &[token]);
    }
    assert_eq!(agent.request_count(), 9);
    let paths: Vec<String> = agent.requests().into_iter().map(|it| it.path).collect();
    assert_eq!(
        paths[..5],
        [
            "/redacted",
            "/redacted",
            "/v1/credentials/redacted",
            "/v1/credentials?redacted",
            "/v1/credentials?token=redacted",
        ]
    );
}
