use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pod_identity_testkit::{MockWebhook, PodContainer, WebhookConfig, admit_pod, mutate_pod};
use serde_json::Value;

use super::{Check, Target};

pub(super) const TARGET: Target = Target {
    name: "admission",
    cases: 4_000,
    words: &[
        "\"spec\":",
        "\"containers\":",
        "\"initContainers\":",
        "\"volumes\":",
        "\"env\":",
        "\"name\":",
        "\"metadata\":",
        "\"serviceAccountName\":\"cart\"",
        "\"namespace\":\"shop\"",
        "\"annotations\":",
        "\"volumeMounts\":",
        "\"projected\":",
    ],
    check,
};

/// A patch fits the pod that it was made for, and another pass of the webhook adds no variable twice.
fn check() -> Check {
    let config = WebhookConfig::new().identity("shop", "cart");
    let webhook = MockWebhook::builder(config.clone())
        .plain()
        .start_blocking();
    let webhook = webhook.expect("a port of loopback must be free");
    let mut count = 0_u32;
    Box::new(move |input| {
        count += 1;
        // A connection takes longer than all the rest.
        if count.is_multiple_of(8) {
            let answer = post(&webhook.uri(), &review(input)).expect("the webhook must answer");
            assert!(
                answer.starts_with(b"HTTP/1.1 "),
                "{}",
                answer.escape_ascii()
            );
        }
        let Ok(pod) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        if let Ok(patch) = mutate_pod(&pod, &config) {
            let patched = patch.apply_to(&pod).expect("a patch must fit its pod");
            let again = mutate_pod(&patched, &config).expect("a patched pod must still be a pod");
            let twice = again.apply_to(&patched).expect("a patch must fit its pod");
            assert_eq!(variables(&twice), variables(&patched), "{again:?}");
        }
        if let Ok(admitted) = admit_pod(&pod, &config) {
            let container = admitted["spec"]["containers"][0]["name"].as_str();
            let container = container.expect("an admitted container must have a name");
            PodContainer::of(&admitted, container)
                .expect("an admitted pod must have its container");
        }
    })
}

/// Returns a review of this pod, or of this text in place of one.
fn review(pod: &[u8]) -> Vec<u8> {
    let begin = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1","namespace":"shop","operation":"CREATE","object":"#;
    [begin, pod, b"}}"].concat()
}

fn post(uri: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let address = uri
        .trim_start_matches("http://")
        .trim_end_matches("/mutate");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    write!(
        stream,
        "POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn variables(pod: &Value) -> usize {
    let containers = pod["spec"]["containers"].as_array();
    let count = |container: &Value| container["env"].as_array().map_or(0, Vec::len);
    containers.map_or(0, |all| all.iter().map(count).sum())
}
