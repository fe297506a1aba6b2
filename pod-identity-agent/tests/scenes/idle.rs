//! Timeouts of idle connections and of headers, in virtual time. It would run ahead of a busy kernel, so these
//! tests are not in `floods`.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::SECOND;
use crate::support::client::Request;
use crate::support::scene::Scene;
use crate::support::settings::Settings;

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_90_seconds() {
    let scene = Scene::flowing(Settings::DEFAULT).await;
    let token = scene.token();
    let mut client = scene.connect().await;
    let key = client.ask(Request::with_token(&token)).await.key();
    for rest in [31, 61, 89] {
        sleep(rest * SECOND).await;
        assert_eq!(client.ask(Request::with_token(&token)).await.key(), key);
    }
    let closed = tokio::time::timeout(91 * SECOND, client.until_closed());
    assert!(closed.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_header_times_out_5_seconds_after_its_first_byte() {
    let scene = Scene::flowing(Settings::DEFAULT).await;
    let mut client = scene.connect().await;
    sleep(60 * SECOND).await;
    client.send_bytes(b"GET /v1/credentials HTTP/1.1\r\n").await;
    let closed = tokio::time::timeout(Duration::from_millis(5100), client.until_closed());
    assert!(closed.await.is_ok());
}
