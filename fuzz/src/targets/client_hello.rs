//! The first record of a connection, read once more when the handshake has failed: which suites the
//! peer offers.

use gateway::connection::hello::OfferedSuites;

use crate::bounded;

/// One input.
pub fn run(data: &[u8]) {
    let offered = bounded(data.len(), || OfferedSuites::of_first_record(data));
    let told = offered.to_string();
    assert!(told.len() <= 1024, "a line of a log");
}
