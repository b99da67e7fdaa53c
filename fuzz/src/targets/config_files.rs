//! The configuration files of both programs: any text is a configuration or says which key is wrong.
//!
//! They come from the operator, but a wrong one must say so. Theirs is the one bound of memory that is
//! looser: the parser keeps spans and a table for every key and an error for every mistake, and the typed
//! configuration has a size of its own.

use std::path::Path;

use shared::config::parse;

use crate::bounded_with;

const PER_BYTE: usize = 1024;
const CONFIGURATION_BYTES: usize = 64 * 1024;

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("file.toml");
    bounded_with(CONFIGURATION_BYTES + PER_BYTE * data.len(), || {
        if let Err(error) = parse::<gateway::config::Config>(text, path) {
            assert!(!error.to_string().is_empty());
        }
    });
    bounded_with(CONFIGURATION_BYTES + PER_BYTE * data.len(), || {
        if let Err(error) = parse::<api::config::Config>(text, path) {
            assert!(!error.to_string().is_empty());
        }
    });
}
