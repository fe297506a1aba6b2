use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::finish;

#[tokio::test]
async fn the_helper_for_python_works() {
    let test = folder("tests/clients").join("test_pod_identity_testkit.py");
    passes("python3", &[test.to_str().unwrap()]).await;
}

#[tokio::test]
#[ignore = "needs pytest"]
async fn the_fixture_for_pytest_works() {
    let test = folder("tests/clients").join("fixture_of_pytest.py");
    let plugins = ["-m", "pytest", "-q", "-p", "no:cacheprovider"];
    passes(
        "python3",
        &[&plugins[..], &[test.to_str().unwrap()]].concat(),
    )
    .await;
}

#[tokio::test]
async fn the_helper_for_node_works() {
    let test = folder("tests/clients").join("pod-identity-testkit.test.mjs");
    passes("node", &["--test", test.to_str().unwrap()]).await;
}

/// Runs it with credentials in its environment that it must not use.
async fn passes(program: &str, arguments: &[&str]) {
    let found =
        std::env::split_paths(env!("PATH")).any(|directory| directory.join(program).is_file());
    assert!(
        found,
        "{program} is not in PATH; the README says what the tests of the helpers need"
    );
    let python_path = std::env::join_paths([folder("clients"), folder("tests/clients")]);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", env!("PATH"))
        .env("HOME", env!("HOME"))
        .env("PYTHONPATH", python_path.unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_ACCESS_KEY_ID", "of the caller")
        .env(
            "POD_IDENTITY_TESTKIT",
            env!("CARGO_BIN_EXE_pod-identity-testkit"),
        );
    let output = finish(&mut command).await;
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
