//! The pages in `docs/` that are made from the program.

use std::fs;

use super::reference;
use crate::doctor::page as troubleshooting;
use crate::telemetry::metrics::tests as metrics;

type Page = (&'static str, fn() -> String);

/// The name of each page, and the function that makes it.
const PAGES: [Page; 3] = [
    ("flags.md", reference::page),
    ("metrics.md", metrics::page),
    ("troubleshooting.md", troubleshooting::page),
];

#[test]
fn each_page_in_the_documentation_is_the_one_made_from_the_program() {
    for (name, page) in PAGES {
        let written = fs::read_to_string(path(name)).unwrap();
        assert_eq!(written, page(), "{name}: `just pages` renews it");
    }
}

#[test]
#[ignore = "writes the pages; `just pages` runs it"]
fn write_the_pages() {
    for (name, page) in PAGES {
        fs::write(path(name), page()).unwrap();
    }
}

fn path(name: &str) -> String {
    format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))
}
