//! The page that says which test proves which clause names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Everything between backticks.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("the page");
    let named: BTreeSet<_> = quoted(&page).filter_map(|name| name.split_once("::")).collect();
    assert!(named.len() > 200, "{}", named.len());
    for (file, test) in named {
        let path = root().join(format!("tests/spec/{file}.rs"));
        let source = fs::read_to_string(&path).unwrap_or_else(|_| panic!("no {}", path.display()));
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "no test {file}::{test}");
    }
    let paths = quoted(&page).filter(|name| name.ends_with(".rs"));
    for path in paths {
        assert!(root().join(path).exists(), "no {path}");
    }
}

#[test]
fn every_part_of_the_device_reference_is_on_the_page() {
    let page = fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("the page");
    let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for part in (1..=18).filter(|part| ![14, 15].contains(part)) {
        let begins = format!("{part} ");
        assert!(headings.iter().any(|heading| heading.starts_with(&begins)), "part {part}");
    }
}
