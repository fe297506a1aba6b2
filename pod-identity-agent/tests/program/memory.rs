//! Secrets in memory, as a core dump has it, after they were dropped.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pod_identity_core::wire::agent::{decode, encode};
use pod_identity_core::{Credentials, Secret, ServiceAccountToken, Timestamp, TokenFile};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::client;
use crate::support::memory::Memory;
use crate::support::process::Server;
use crate::support::shop::{shop, token};
use crate::support::soon;

/// A set that another has pushed out of the cache.
#[tokio::test]
async fn the_answers_of_an_evicted_set_are_overwritten() {
    let eks = shop().await;
    let server = Server::start(&eks, &["--max-cache-size", "1"]).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let answer = client::insist(server.credentials, &token(&eks)).await;
        bodies.push(answer.body);
    }
    let held = bodies.pop().unwrap();
    // The tasks of the connections drop what they have written.
    soon(async {
        let in_memory =
            |body: &String| Memory::of(server.program.id()).allocations(body.as_bytes());
        loop {
            let evicted: usize = bodies.iter().map(in_memory).sum();
            if evicted == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(in_memory(&held), 1, "it must be found while it is held");
    })
    .await;
}

/// The copies that core makes while it reads tokens and credentials, and writes answers.
#[tokio::test]
async fn what_held_a_secret_is_overwritten_before_it_is_freed() {
    let eks = shop().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let token = token(&eks);
    let [secret, session, held, left] = ["secret", "session", "held", "left"].map(canary);
    let expires = Timestamp::from_unix_secs(1_772_366_400);
    let [of_secret, of_session] = [&secret, &session].map(|text| Secret::from(text.clone()));
    let credentials = Credentials::new("ASIAEXAMPLE", of_secret, of_session, expires);
    write(TOKEN, token.as_bytes());
    write(BODY, &encode(&credentials));
    write(HELD, held.as_bytes());
    write(LEFT, left.repeat(500).as_bytes());

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::a_process_that_has_dropped_its_secrets"])
        .args(["--ignored", "--nocapture"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let dropped = async { while soon(lines.next_line()).await.unwrap().unwrap() != DROPPED {} };
    soon(dropped).await;
    let memory = Memory::of(child.id().unwrap());

    // The search finds what is held, and what was freed as it was.
    assert!(memory.count(held.as_bytes()) > 0);
    assert!(memory.count(left.as_bytes()) > 0);
    let signature = token.rsplit_once('.').unwrap().1;
    let decoded = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for (what, bytes) in [
        ("signature", signature.as_bytes()),
        ("decoded signature", &decoded),
        ("secret key", secret.as_bytes()),
        ("session token", session.as_bytes()),
    ] {
        // The allocator writes into what is freed, so the end of a text outlasts its beginning.
        let end = bytes.split_at(bytes.len() / 2).1;
        assert_eq!(memory.count(end), 0, "{what}");
    }
    drop(child.stdin.take());
    assert!(soon(child.wait()).await.unwrap().success());
}

/// Its secrets come from files, so that it holds no other copies than those that are tested.
#[test]
#[ignore = "it runs in the process that the test before it makes"]
fn a_process_that_has_dropped_its_secrets() {
    let file = TokenFile::new(PathBuf::from(TOKEN));
    let token = file.read().unwrap();
    let parsed = ServiceAccountToken::parse(token.expose()).unwrap();
    assert!(parsed.claims().pod_uid.is_some());
    drop((token.clone(), parsed, token));
    let body = read(BODY);
    let credentials = decode(body.expose().as_bytes(), None).unwrap();
    let encoded = encode(&credentials);
    assert_eq!(*encoded, body.expose().as_bytes());
    drop((credentials.clone(), credentials, encoded, body));
    let held = read(HELD);
    drop(fs::read(Path::new(LEFT)).unwrap());

    writeln!(io::stdout(), "\n{DROPPED}").unwrap();
    let _closed = io::stdin().read(&mut [0]);
    drop(held);
}

fn read(name: &str) -> Secret {
    fs::read_to_string(Path::new(name)).unwrap().into()
}

/// A text whose second half is nowhere else.
fn canary(name: &str) -> String {
    format!("{name}-wJalrXUtnFEMIK7MDENGbPxRfiCY").repeat(2)
}

const TOKEN: &str = "token";
const BODY: &str = "body";
const HELD: &str = "held";
const LEFT: &str = "left";
const DROPPED: &str = "dropped";
