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
        // Those of the partner side stand with the end-to-end tests.
        let kind = if file.contains('/') { "end_to_end" } else { "spec" };
        let path = root().join(format!("tests/{kind}/{file}.rs"));
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

/// Cases of the consumer, which this cloud is not (cloud reference 11).
const OF_THE_CONSUMER: [std::ops::RangeInclusive<u32>; 7] =
    [49..=57, 76..=77, 90..=90, 100..=100, 116..=117, 135..=141, 149..=154];

#[test]
fn every_case_of_the_cloud_reference_is_on_the_page() {
    let page = fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("the page");
    let (_, partner) = page.split_once("\n## The partner side\n").expect("the part");
    let (partner, _) = partner.split_once("\n### Vectors\n").expect("its end");
    let rows = partner.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| {
        let mut cells = row.trim_end_matches(" |").split(" | ");
        let case: u32 = cells.next()?.parse().ok()?;
        Some((case, cells.nth(1)?))
    });
    let rows: Vec<_> = rows.collect();
    let cases: Vec<_> = rows.iter().map(|(case, _)| *case).collect();
    assert_eq!(cases, (1..=154).collect::<Vec<_>>());
    for (case, proof) in rows {
        let of_consumer = OF_THE_CONSUMER.iter().any(|cases| cases.contains(&case));
        assert_eq!(proof == "consumer: not built", of_consumer, "case {case}");
        assert!(proof.contains("partner/") || proof.contains("not built"), "case {case}: {proof}");
    }
}
