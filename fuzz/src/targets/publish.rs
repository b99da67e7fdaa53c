//! A publish of any bytes onto what was published before, and how the links are discovered.
//!
//! What must hold: what is kept reads again from its stored bytes; what is discovered and echoed is
//! sound CBOR; publishing the same again changes nothing.

use gateway::config::Limits;
use gateway::directory::Directory;
use gateway::directory::discovery::{self, Endpoint, Shape};
use gateway::directory::publish::{publish, unpublish};
use gateway::directory::query::Query;
use shared::ids::DeviceId;
use shared::ocf::cbor::scan;

use crate::bounded_with;

/// The device of the vectors.
const DEVICE: &str = "11111111-2222-4333-8444-555555555555";

/// A link has a record with each of its parts, and CBOR for two shapes of answers, where the request
/// has a few bytes: its strings alone are kept three times.
const PER_BYTE: usize = 64;

/// One input: the body of a publish.
pub fn run(data: &[u8]) {
    let device: DeviceId = DEVICE.parse().expect("an id");
    let limits = Limits { link_bytes_per_device_max: 8192, ..Limits::default() };
    let published =
        bounded_with(PER_BYTE * data.len(), || publish(device, None, data, 4096, &limits));
    let Ok(published) = published else { return };
    assert!(published.echo.is_empty() || scan(&published.echo) == Ok(()));
    let directory = published.directory;
    let stored = Directory::from_stored(directory.as_bytes()).expect("ours is readable");
    assert_eq!(stored.links().len(), directory.links().len());
    let again = publish(device, Some(&directory), data, 4096, &limits).ok().expect("as before");
    assert!(!again.changed);
    for shape in [Shape::Ocf, Shape::Old] {
        let mut found = Vec::new();
        let endpoint = Endpoint::new("cloud.example.com:5684");
        let links = std::iter::once((device, &directory));
        discovery::write(&mut found, links, &Query::default(), shape, &endpoint);
        assert_eq!(scan(&found), Ok(()));
    }
    let numbers: Vec<_> = directory.links().map(|link| i64::from(link.instance())).collect();
    let _ = unpublish(
        &directory,
        &numbers.iter().filter_map(|n| (*n).try_into().ok()).collect::<Vec<_>>(),
    );
}
