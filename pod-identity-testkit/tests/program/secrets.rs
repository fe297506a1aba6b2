//! Everything that the mocks of the program write is searched for secrets, also where a client puts them where they do
//! not belong.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::Stdio;

use pod_identity_core::Timestamp;
use pod_identity_testkit::{Issuer, assert_no_secrets};
use rustix::process::Signal;
use serde_json::json;

use crate::eks::{assume_role_with, signature};
use crate::http::{self, Answer};
use crate::process::{Mock, command, soon};

#[tokio::test]
async fn no_secret_comes_out_of_a_mock_in_any_form() {
    let associate = "shop/cart=arn:aws:iam::111122223333:role/cart";
    let of_eks = ["eks", "--signatures", "warn", "--associate", associate];
    for (arguments, members) in [
        (
            &of_eks[..],
            ["/credentials/secretAccessKey", "/credentials/sessionToken"],
        ),
        (&["agent"], ["/SecretAccessKey", "/Token"]),
    ] {
        let pod = ["--namespace", "shop", "--service-account", "cart"];
        let mut mock = Watched::start(&[arguments, &pod].concat(), Some(members)).await;
        mock.credentials().await;
        mock.misplaced_tokens().await;
        if mock.is_eks() {
            mock.signed_requests().await;
        }
        mock.controls().await;
        mock.end().await;
    }
}

#[cfg(feature = "webhook")]
#[tokio::test]
async fn no_secret_comes_out_of_the_webhook() {
    let arguments = ["webhook", "--plain", "--identity", "shop/cart"];
    let mut mock = Watched::start(&arguments, None).await;
    mock.reviews().await;
    mock.misplaced_tokens().await;
    mock.controls().await;
    mock.end().await;
}

/// What it answers over TLS is searched in the suite.
#[cfg(feature = "api-server")]
#[tokio::test]
async fn the_program_of_an_api_server_writes_no_secret() {
    let stderr = tempfile::tempfile().unwrap();
    let mut command = command(&["api-server"]);
    command.stderr(Stdio::from(stderr.try_clone().unwrap()));
    let mock = Mock::of(command).await;
    let directory = mock.text("/service_account_dir");
    let token = std::fs::read_to_string(format!("{directory}/token")).unwrap();
    let plain = mock.text("/endpoint").replace("https:", "http:");
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    soon(http::send("GET", &format!("{plain}/{token}"), &headers, "")).await;
    assert_no_secrets(&mock.ready.to_string(), &[&token]);
    let ended = mock.end(Signal::TERM).await;
    let written = all_of(stderr);
    assert_eq!(
        (ended.code, ended.stdout.as_str(), written.as_str()),
        (Some(0), "", "")
    );
}

fn all_of(mut file: File) -> String {
    let mut written = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut written).unwrap();
    written
}

/// A mock, and all that it has written, each with its name.
struct Watched {
    mock: Mock,
    stderr: File,
    token: String,
    /// Where in an answer secrets belong.
    members: Option<[&'static str; 2]>,
    secrets: Vec<String>,
    out: Vec<(String, String)>,
}

impl Watched {
    async fn start(arguments: &[&str], members: Option<[&'static str; 2]>) -> Self {
        let stderr = tempfile::tempfile().unwrap();
        let mut command = command(arguments);
        command.stderr(Stdio::from(stderr.try_clone().unwrap()));
        let mock = Mock::of(command).await;
        let token = match mock.ready["token_file"].as_str() {
            Some(file) => std::fs::read_to_string(file).unwrap(),
            None => Issuer::new().token("shop", "cart").mint(NOW),
        };
        let control = mock.text("/admin/token").to_owned();
        Self {
            secrets: vec![token.clone(), control],
            out: Vec::new(),
            token,
            members,
            stderr,
            mock,
        }
    }

    async fn credentials(&mut self) {
        let answer = self.exchange(&self.token).await;
        assert_eq!(answer.status, Some(200), "{}", answer.body);
        self.answered("a pod", &answer);
        let [_, _, key, session] = &self.secrets[..] else {
            panic!("{:?}", answer.body)
        };
        let signed = format!(
            "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential={key}&X-Amz-Security-Token={session}&X-Amz-Signature={key}"
        );
        let answer = self.ask("GET", &signed, &[]).await;
        self.answered("a secret in a signature", &answer);
    }

    async fn misplaced_tokens(&mut self) {
        let token = self.token.clone();
        let forged = format!("{}{}", &token[..token.len() - 8], "forgedAA");
        self.secrets.push(forged.clone());
        for sent in [
            forged,
            format!("Bearer {token}"),
            format!("{token},{token}"),
        ] {
            let answer = self.exchange(&sent).await;
            self.answered("a wrong token", &answer);
        }
        let authorization = [("authorization", token.as_str())];
        for (path, headers) in [
            (format!("/{token}"), &authorization[..]),
            (format!("/v1/credentials?token={token}"), &[]),
            (
                format!("/clusters/{token}/assume-role-for-pod-identity"),
                &authorization,
            ),
            (format!("/v1/credentials?{token}"), &[]),
            (format!("/Bearer%20{token}"), &[]),
            ("/v1/credentials".to_owned(), &[("host", &token)]),
            (
                "/v1/credentials".to_owned(),
                &[("x-amz-security-token", &token)],
            ),
        ] {
            for method in ["GET", "POST"] {
                let answer = self.ask(method, &path, headers).await;
                self.answered("a misplaced token", &answer);
            }
        }
    }

    /// Those that the mock of EKS looks at: it refuses others before.
    async fn signed_requests(&mut self) {
        let token = self.token.clone();
        let cluster = format!("/clusters/{}", self.mock.text("/cluster"));
        let signature = signature(&self.mock);
        let headers = [
            ("authorization", signature.as_str()),
            ("x-amz-date", "20260301T000000Z"),
        ];
        let unknown = "No cluster found for name: redacted.";
        for (method, path, part) in [
            (
                "POST",
                format!("/clusters/{token}/assume-role-for-pod-identity"),
                unknown,
            ),
            ("GET", format!("/clusters/{token}"), unknown),
            (
                "GET",
                format!("{cluster}/pod-identity-associations/{token}"),
                "associationId",
            ),
            (
                "GET",
                format!("{cluster}/addons/{token}"),
                "No addon: redacted",
            ),
            ("GET", format!("/tags/{token}"), "redacted is not an ARN"),
            ("GET", format!("/{token}"), "GET /redacted"),
        ] {
            let answer = self.ask(method, &path, &headers).await;
            self.add("the answer to a signed request", &answer.body, part);
        }
    }

    #[cfg(feature = "webhook")]
    async fn reviews(&mut self) {
        let token = self.token.clone();
        let pod = json!({
            "metadata": {"name": token},
            "spec": {"serviceAccountName": token, "containers": [{"name": "app"}]},
        });
        let review = |kind: &str, request: serde_json::Value| {
            let version = "admission.k8s.io/v1";
            json!({"apiVersion": version, "kind": kind, "request": request})
        };
        let request = json!({"uid": "1", "namespace": "shop", "object": pod});
        for (review, part) in [
            (
                review("AdmissionReview", request.clone()),
                "\"allowed\":true",
            ),
            (review(&token, request), "redacted"),
            (review("AdmissionReview", json!(token)), "redacted"),
        ] {
            let uri = self.mock.text("/endpoint");
            let headers = [("content-type", "application/json")];
            let answer = soon(http::send("POST", uri, &headers, &review.to_string())).await;
            self.add("the answer to a review", &answer.body, part);
        }
    }

    async fn controls(&mut self) {
        let token = self.token.clone();
        for (method, path, body, part) in [
            ("POST", "/expectations", r#"{"times": 1}"#, "{}"),
            ("POST", "/verify", "", "failures"),
            ("GET", "/requests", "", "\"outcome\""),
            ("GET", "/faults", "", "faults"),
            ("GET", "/gates", "", "gates"),
            ("GET", "/clock", "", "now"),
            ("GET", "/", "", "version"),
        ] {
            let answer = self.mock.try_admin(method, path, body).await;
            self.add(&format!("{method} {path}"), &answer.body, part);
        }
        let answer = self.mock.try_admin("POST", &format!("/{token}"), "").await;
        self.add("the answer to a wrong path", &answer.body, "/redacted");
        let answer = self
            .mock
            .try_admin("POST", &format!("/gates/{token}"), "")
            .await;
        self.add(
            "the answer to an unknown gate",
            &answer.body,
            "gate redacted",
        );
        let fault = json!({"error": token}).to_string();
        let answer = self.mock.try_admin("POST", "/faults", &fault).await;
        self.add("the answer to a wrong fault", &answer.body, "error");
        let uri = format!("{}/requests", self.mock.text("/admin/uri"));
        let answer = soon(http::send("GET", &uri, &[("authorization", &token)], "")).await;
        self.add("the answer to a stranger", &answer.body, "error");
    }

    async fn end(self) {
        let Self {
            mock,
            stderr,
            secrets,
            out,
            ..
        } = self;
        let ready = mock.ready.to_string();
        let ended = mock.end(Signal::TERM).await;
        let written = all_of(stderr);
        // It writes its ready line and nothing else.
        assert_eq!(
            (ended.code, ended.stdout.as_str(), written.as_str()),
            (Some(0), "", "")
        );
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let [token, control, granted @ ..] = &secrets[..] else {
            panic!("there are more")
        };
        assert!(ready.contains(control), "this is the only place for it");
        assert_no_secrets(&ready, &[&[*token], granted].concat());
        for (name, text) in out {
            println!("{name}");
            assert_no_secrets(&text, &secrets);
        }
    }

    /// Asks for credentials as a client of this mock does.
    async fn exchange(&self, token: &str) -> Answer {
        if self.is_eks() {
            return assume_role_with(&self.mock, token).await;
        }
        self.ask("GET", "/v1/credentials", &[("authorization", token)])
            .await
    }

    fn is_eks(&self) -> bool {
        self.mock.ready["cluster"].is_string()
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let endpoint = self.mock.text("/endpoint");
        let authority = endpoint.split('/').nth(2).unwrap();
        soon(http::send(
            method,
            &format!("http://{authority}{path}"),
            headers,
            "",
        ))
        .await
    }

    /// A success is the only place for what it grants.
    fn answered(&mut self, name: &str, answer: &Answer) {
        if answer.status != Some(200) {
            let text = format!("{:?}: {}", answer.status, answer.body);
            return self.add(&format!("the answer to {name}"), &text, "Some(");
        }
        let granted = answer.json();
        let members = self.members.expect("it grants nothing");
        let secrets = members.map(|it| granted.pointer(it).unwrap());
        let secrets = secrets.map(|it| it.as_str().unwrap().to_owned());
        self.secrets.extend(secrets);
    }

    fn add(&mut self, name: &str, text: &str, part: &str) {
        assert!(text.contains(part), "no {part} in {name}: {text}");
        self.out.push((name.to_owned(), text.to_owned()));
    }
}

/// Of the token of a mock that has none.
const NOW: Timestamp = Timestamp::from_unix_secs(1_772_366_400);
