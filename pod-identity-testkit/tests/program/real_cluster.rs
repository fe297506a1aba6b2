//! `eks` as the AWS side of a cluster that is real: its keys, its webhook, its account.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pod_identity_core::{Clock, Secret, SystemClock};
use pod_identity_testkit::{Fault, MockApiServer, MockEksAuth, Operation};
use serde_json::{Value, json};

use crate::eks::assume_role_with;
use crate::process::{Mock, finish, run, soon};

const ROLE: &str = "arn:aws:iam::111122223333:role/app";

#[tokio::test]
async fn issuer_and_keys_come_from_an_api_server_over_https_with_its_token() {
    let cluster = MockApiServer::start().await;
    let folder = cluster.service_account_dir();
    let (ca, token) = (folder.join("ca.crt"), folder.join("token"));
    let keys = format!("{}/openid/v1/jwks", cluster.url());
    let mut arguments = vec!["eks", "--jwks", &keys, "--jwks-ca", ca.to_str().unwrap()];
    let associate = format!("default/app={ROLE}");
    arguments.extend(["--associate", &associate]);

    let refused = run(&arguments).await;
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("403"), "without its token: {stderr}");

    arguments.extend(["--jwks-token", token.to_str().unwrap()]);
    let mock = Mock::start(&arguments).await;
    let builder = cluster.issuer().token("default", "app");
    let pod = builder.mint(SystemClock.now());
    assert_eq!(assume_role_with(&mock, &pod).await.status, Some(200));
    let forged = builder.forged().mint(SystemClock.now());
    assert_eq!(assume_role_with(&mock, &forged).await.status, Some(400));
}

#[tokio::test]
async fn an_authority_that_did_not_sign_the_certificate_is_refused() {
    let (cluster, other) = (MockApiServer::start().await, MockApiServer::start().await);
    let keys = format!("{}/openid/v1/jwks", cluster.url());
    let ca = other.service_account_dir().join("ca.crt");
    let refused = run(&["eks", "--jwks", &keys, "--jwks-ca", ca.to_str().unwrap()]).await;
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr.contains("certificate"), "{stderr}");
    assert_eq!(cluster.requests().len(), 0);
}

#[tokio::test]
async fn a_file_of_keys_needs_the_issuer() {
    let refused = run(&["eks", "--jwks", "/nowhere/keys.json"]).await;
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("needs --issuer"), "{stderr}");
}

#[tokio::test]
async fn associations_follow_their_file_and_the_webhook_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, identities) = (
        folder.path().join("associations.json"),
        folder.path().join("webhook.json"),
    );
    list(&file, &["cart", "pay"]);
    let mock = Mock::start(&[
        "eks",
        "--associations-file",
        file.to_str().unwrap(),
        "--identities-file",
        identities.to_str().unwrap(),
    ])
    .await;
    assert_eq!(told(&identities), ["cart", "pay"]);
    let before = associations(&mock).await;
    let by_hand =
        format!(r#"{{"namespace": "shop", "service_account": "web", "role_arn": "{ROLE}"}}"#);
    mock.admin("POST", "/associations", &by_hand).await;
    assert_eq!(told(&identities), ["cart", "pay", "web"], "at once");

    list(&file, &["new", "pay"]);
    wait_until(|| told(&identities) == ["new", "pay", "web"]).await;
    let after = associations(&mock).await;
    let id = |all: &[Value], name| {
        let mut found = all.iter().filter(|it| it["service_account"] == name);
        found.next().unwrap()["id"].clone()
    };
    assert_eq!(id(&before, "pay"), id(&after, "pay"), "it has not changed");

    std::fs::write(&file, "{").unwrap();
    list(&file, &["pay"]);
    wait_until(|| told(&identities) == ["pay", "web"]).await;
}

#[tokio::test]
async fn a_malformed_file_of_associations_is_refused_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (text, reason) in [
        ("", "EOF"),
        ("[]", "expected an object"),
        (
            r#"{"associations": [{"namespace": "shop"}]}"#,
            "service_account",
        ),
        (
            r#"{"associations": [{"namespace": "shop", "service_account": "cart", "role_arn": "cart"}]}"#,
            "not the ARN of a role: cart",
        ),
    ] {
        std::fs::write(path, text).unwrap();
        let refused = run(&["eks", "--associations-file", path]).await;
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(stderr.contains(path) && stderr.contains(reason), "{stderr}");
    }
}

/// STS is a mock that has no AssumeRole of its own.
#[cfg(feature = "assume-role")]
#[tokio::test]
async fn credentials_are_those_of_sts_for_a_session_with_the_tags_of_the_pod() {
    let (sts, asked) = sts().await;
    let mock = Mock::start_in(
        &environment(&sts),
        &[
            "eks",
            "--assume-role",
            "--associate",
            "default/app=arn:aws:iam::999988887777:role/app",
        ],
    )
    .await;
    let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    let answer = assume_role_with(&mock, &token).await;
    assert_eq!(answer.status, Some(200), "{}", answer.body);
    let answer = answer.json();
    assert_eq!(answer["credentials"]["accessKeyId"], "ASIAREAL1");
    assert_eq!(answer["credentials"]["sessionToken"], "real-token");
    assert_eq!(
        answer["credentials"]["expiration"],
        json!(4_102_444_800_u32)
    );
    assert_eq!(answer["assumedRoleUser"]["assumeRoleId"], "AROAREAL:name");

    let asked = asked.lock().unwrap().clone();
    let [asked] = asked.as_slice() else {
        panic!("asked {asked:?}");
    };
    let asked: std::collections::BTreeMap<_, _> = form_urlencoded::parse(asked.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(asked["RoleArn"], "arn:aws:iam::999988887777:role/app");
    assert!(asked["RoleSessionName"].starts_with("eks-test-cluster-"));
    assert!(asked["RoleSessionName"].len() <= 64, "{asked:?}");
    let tags: std::collections::BTreeMap<_, _> = (1..=6)
        .map(|number| {
            let tag = |part| asked[&format!("Tags.member.{number}.{part}")].clone();
            (tag("Key"), tag("Value"))
        })
        .collect();
    assert_eq!(tags["kubernetes-namespace"], "default");
    assert_eq!(tags["kubernetes-service-account"], "app");
    assert_eq!(tags["eks-cluster-name"], "test-cluster");
    assert!(
        tags["eks-cluster-arn"].contains(":999988887777:"),
        "its account"
    );
    assert!(asked.contains_key("TransitiveTagKeys.member.6"));

    let requests = mock.requests().await;
    assert_eq!(requests[0]["outcome"]["access_key_id"], "ASIAREAL1");
    assert!(!format!("{requests:?}").contains("real-token"));
    let session = mock.admin("GET", "/sessions/ASIAREAL1", "").await;
    assert_eq!(session["tags"]["kubernetes-namespace"], "default");
}

#[cfg(feature = "assume-role")]
#[tokio::test]
async fn a_target_role_is_assumed_by_the_first_one_with_the_external_id() {
    let (sts, asked) = sts().await;
    let mock = Mock::start_in(&environment(&sts), &["eks", "--assume-role"]).await;
    let association = json!({
        "namespace": "default",
        "service_account": "app",
        "role_arn": "arn:aws:iam::999988887777:role/app",
        "target_role_arn": "arn:aws:iam::444455556666:role/orders",
    });
    mock.admin("POST", "/associations", &association.to_string())
        .await;
    let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    assert_eq!(assume_role_with(&mock, &token).await.status, Some(200));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].contains("role%2Fapp") && asked[0].contains("Tags.member.1"));
    assert!(asked[1].contains("role%2Forders") && !asked[1].contains("Tags.member"));
    let external_id = "ExternalId=us-west-2%2F999988887777%2Ftest-cluster%2Fdefault%2Fapp";
    assert!(asked[1].contains(external_id), "{}", asked[1]);
}

#[cfg(feature = "assume-role")]
#[tokio::test]
async fn a_refusal_of_sts_is_passed_on_with_its_words() {
    let (sts, _asked) = sts().await;
    let mock = Mock::start_in(
        &environment(&sts),
        &[
            "eks",
            "--assume-role",
            "--associate",
            &format!("default/app={ROLE}"),
        ],
    )
    .await;
    sts.clear_faults();
    let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                  <Message>User me is not authorized</Message></Error></ErrorResponse>";
    sts.on(Operation::Unknown)
        .inject(Fault::respond(move |_request| {
            ::http::Response::builder()
                .status(403)
                .body(denied)
                .unwrap()
        }));
    let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
    let answer = assume_role_with(&mock, &token).await;
    assert_eq!(answer.status, Some(400), "{}", answer.body);
    let said = format!("cannot assume {ROLE}: User me is not authorized");
    assert_eq!(answer.json()["message"], said);
}

/// The headers that were signed have the session token.
#[cfg(feature = "assume-role")]
#[tokio::test]
async fn a_session_token_that_sts_quotes_is_not_repeated() {
    let (sts, _asked) = sts().await;
    let token = "IQoJb3JpZ2luX2VjEXAMPLE//wEaCXVz".repeat(10);
    let mut environment = environment(&sts);
    environment.push(("AWS_SESSION_TOKEN", token.clone()));
    let quoted = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>\
         <Message>The Canonical String should have been 'x-amz-security-token:{token}'</Message>\
         </Error></ErrorResponse>"
    );
    sts.on(Operation::GetCallerIdentity)
        .inject_always(Fault::respond(move |_request| {
            ::http::Response::builder()
                .status(403)
                .body(quoted.clone())
                .unwrap()
        }));
    let mut command = crate::process::command(&["eks", "--assume-role"]);
    let refused = finish(command.envs(environment)).await;
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    let said = "SignatureDoesNotMatch: The Canonical String should have been \
                'x-amz-security-token:<left out>'";
    assert!(stderr.contains(said), "{stderr}");
    pod_identity_testkit::assert_no_secrets(&stderr, &[&token]);
}

#[cfg(feature = "assume-role")]
#[tokio::test]
async fn a_program_without_usable_credentials_does_not_start() {
    let (sts, _asked) = sts().await;
    let mut environment = environment(&sts);
    environment[2].1 = "wrong".to_owned();
    let mut command = crate::process::command(&["eks", "--assume-role"]);
    let refused = finish(command.envs(environment)).await;
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("credentials of the environment"),
        "{stderr}"
    );
    assert!(!stderr.contains("wrong"), "{stderr}");
}

/// A mock whose unknown operation AssumeRole succeeds, and the bodies that it was sent.
#[cfg(feature = "assume-role")]
async fn sts() -> (MockEksAuth, Arc<Mutex<Vec<String>>>) {
    let sts = MockEksAuth::builder()
        .account("999988887777")
        .node_key("AKIAOWN", Secret::from("own-secret".to_owned()))
        .signatures(pod_identity_testkit::SignatureCheck::Enforce)
        .start()
        .await
        .unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let bodies = asked.clone();
    let succeeds = Fault::respond(move |request| {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        bodies.lock().unwrap().push(body);
        ::http::Response::new(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
             <AssumedRoleUser><AssumedRoleId>AROAREAL:name</AssumedRoleId>\
             <Arn>arn:aws:sts::999988887777:assumed-role/app/name</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>ASIAREAL1</AccessKeyId><SecretAccessKey>real-secret</SecretAccessKey>\
             <SessionToken>real-token</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>\
             </AssumeRoleResult></AssumeRoleResponse>",
        )
    });
    sts.on(Operation::Unknown)
        .inject(succeeds.always().optional());
    (sts, asked)
}

#[cfg(feature = "assume-role")]
fn environment(sts: &MockEksAuth) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL_STS", sts.endpoint()),
        ("AWS_ACCESS_KEY_ID", "AKIAOWN".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "own-secret".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

fn list(file: &Path, service_accounts: &[&str]) {
    let all: Vec<Value> = service_accounts
        .iter()
        .map(|name| json!({"namespace": "shop", "service_account": name, "role_arn": ROLE}))
        .collect();
    std::fs::write(file, json!({ "associations": all }).to_string()).unwrap();
}

fn told(identities: &Path) -> Vec<String> {
    let file: Value = serde_json::from_slice(&std::fs::read(identities).unwrap()).unwrap();
    let all = file["identities"].as_array().unwrap().iter();
    all.map(|it| it["serviceAccount"].as_str().unwrap().to_owned())
        .collect()
}

async fn associations(mock: &Mock) -> Vec<Value> {
    let answer = mock.admin("GET", "/associations", "").await;
    answer["associations"].as_array().unwrap().clone()
}

async fn wait_until(condition: impl Fn() -> bool + Send + Sync) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
