use crate::process::{Mock, command, soon};

#[tokio::test]
async fn the_mock_of_eks_trusts_the_keys_that_it_serves_to_its_service_account() {
    let issuer = "https://issuer.example";
    let mock = Mock::start(&["api-server", "--issuer", issuer]).await;
    assert_eq!(mock.text("/env/KUBERNETES_SERVICE_HOST"), "127.0.0.1");
    let keys = format!("{}/openid/v1/jwks", mock.text("/endpoint"));
    let directory = mock.text("/service_account_dir");
    let [ca, token] = ["ca.crt", "token"].map(|name| format!("{directory}/{name}"));
    let flags = ["--jwks", &keys, "--jwks-ca", &ca, "--jwks-token", &token];
    let flags = [&["eks", "--issuer", issuer][..], &flags].concat();
    // It is ready when it has read the keys.
    let eks = Mock::start(&flags).await;
    assert!(eks.ready.get("token_file").is_none(), "{}", eks.ready);
}

#[tokio::test]
async fn a_node_or_a_pod_that_is_none_is_a_usage_error() {
    for flags in [
        ["--node", "node-1=taint"],
        ["--node", "=key:NoExecute"],
        ["--pod", "cart-0@node-1"],
        ["--pod", "shop/cart-0"],
    ] {
        let output = soon(command(&["api-server", flags[0], flags[1]]).output()).await;
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("expected "), "{message}");
    }
}
