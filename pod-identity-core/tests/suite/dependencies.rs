//! What this crate must never depend on.

use std::process::Command;

#[test]
fn the_normal_dependency_tree_holds_no_runtime_no_sockets_and_no_entropy() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "pod-identity-core", "--all-features"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .arg("--offline")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"zeroize"), "{tree}");
    for refused in ["tokio", "hyper", "rustls", "mio", "getrandom"] {
        assert!(!names.contains(&refused), "{refused} in\n{tree}");
    }
}
