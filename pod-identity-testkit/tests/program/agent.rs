use rustix::process::Signal;

use crate::process::Mock;

#[tokio::test]
async fn the_ready_line_contains_the_environment_of_a_pod() {
    let mock = Mock::start(&["agent", "--namespace", "shop", "--service-account", "cart"]).await;
    let variable = |name: &str| mock.text(&format!("/env/{name}"));
    assert_eq!(
        variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        mock.text("/endpoint")
    );
    assert_eq!(
        variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        mock.text("/token_file")
    );
    let answer = mock.ask().await;
    assert_eq!(answer.status, Some(200));
    assert!(
        answer.json()["AccessKeyId"]
            .as_str()
            .unwrap()
            .starts_with("ASIA")
    );
}

#[tokio::test]
async fn a_signal_ends_it_and_its_files_are_removed() {
    for signal in [Signal::TERM, Signal::INT] {
        let ended = Mock::start(&["agent"]).await.end(signal).await;
        assert_eq!(ended.code, Some(0));
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.litter, 0);
    }
}

#[tokio::test]
async fn its_port_can_be_chosen_and_an_occupied_one_is_an_error() {
    let first = Mock::start(&["agent"]).await;
    let endpoint = first.text("/endpoint");
    let (address, _path) = endpoint[7..].split_once('/').unwrap();
    let (_ip, port) = address.split_once(':').unwrap();
    let second = crate::process::run(&["agent", "--port", port]).await;
    assert_eq!(second.status.code(), Some(1));
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(
        stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{stderr}"
    );
    assert!(stderr.contains("--port"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[tokio::test]
async fn it_listens_on_the_given_address_and_accepts_localhost_as_host() {
    for (bind, endpoint) in [
        ("0.0.0.0", "http://127.0.0.1:"),
        ("localhost", "http://127.0.0.1:"),
        ("127.0.0.2", "http://127.0.0.2:"),
    ] {
        let mock = Mock::start(&["agent", "--bind", bind, "--allow-host", "agent.test"]).await;
        assert!(
            mock.text("/endpoint").starts_with(endpoint),
            "{}",
            mock.ready
        );
        let token = std::fs::read_to_string(mock.text("/token_file")).unwrap();
        for (host, status) in [
            ("localhost:1", 200),
            ("agent.test", 200),
            ("evil.test", 403),
        ] {
            let headers = [("authorization", token.as_str()), ("host", host)];
            let answer = crate::http::send("GET", mock.text("/endpoint"), &headers, "").await;
            assert_eq!(answer.status, Some(status), "{bind} {host}");
        }
    }
    let output = crate::process::run(&["agent", "--bind", "192.0.2.1"]).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("--bind"), "{stderr}");
}
