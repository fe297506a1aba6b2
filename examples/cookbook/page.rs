//! Code on the page is code that is run.

use std::fs;
use std::path::Path;

/// In these languages, code on the page must be in a file of this folder.
const LANGUAGES: [&str; 8] = [
    "rust",
    "python",
    "js",
    "sh",
    "yaml",
    "json",
    "toml",
    "dockerfile",
];
/// The files that the page need not show.
const BESIDE: [&str; 6] = [
    "main.rs",
    "page.rs",
    "package-lock.json",
    "pod-identity-testkit.mjs",
    "pod_identity_testkit.py",
    "test_manifests.py",
];

#[test]
fn the_code_on_the_page_equals_the_files() {
    let files = files();
    let page = fs::read_to_string(folder().join("../../docs/cookbook.md")).unwrap();
    let blocks = blocks(&page);
    for block in &blocks {
        let run = files.iter().any(|(_name, text)| text.contains(block));
        assert!(run, "no file of examples/cookbook holds this:\n{block}");
    }
    for (name, text) in &files {
        let shown = blocks.iter().any(|block| text.contains(block));
        assert!(shown, "docs/cookbook.md shows nothing of {name}");
    }
}

/// Name and text of each.
fn files() -> Vec<(String, String)> {
    let files = fs::read_dir(folder()).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_type().unwrap().is_file());
    let named = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
    named
        .filter(|(name, _path)| !BESIDE.contains(&name.as_str()))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect()
}

/// Returns the text between the fences of the page.
fn blocks(page: &str) -> Vec<String> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language, String::new())),
            (None, None) => {}
            (Some((language, _text)), Some(_end)) => {
                if LANGUAGES.contains(language) {
                    blocks.extend(open.take().map(|(_language, text)| text));
                }
                open = None;
            }
            (Some((_language, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/cookbook"))
}
