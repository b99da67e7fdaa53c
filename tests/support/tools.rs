//! Programs of others that some tests need (I/O).

use std::env;
use std::path::PathBuf;

/// Set where every tool has to be there, so that no test is skipped.
const REQUIRED: &str = "OCF_TESTS_REQUIRE_TOOLS";

/// A program on the path. None, with a message, where it is missing and may be.
///
/// # Panics
/// Where it is missing and must not be.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        missing(name);
    }
    found
}

/// Says that something is missing, so that a test is skipped.
///
/// # Panics
/// Where nothing may be missing.
pub fn missing(what: &str) {
    let must = env::var_os(REQUIRED).is_some_and(|value| !value.is_empty());
    assert!(!must, "{what} is missing, and {REQUIRED} forbids to do without it");
    eprintln!("skipped: {what} is missing");
}
