//! Many requests between many users, to search every answer for what belongs to others.

use std::time::Duration;

use super::plan::{Fault, Plan, Scale};

/// So many users with so many devices each, until so many requests have been asked: connections and
/// devices go wrong now and then, the process lives.
pub fn plan(seed: u64, users: usize, devices: usize, requests: u64) -> Plan {
    let mut faults = [0; Fault::ALL.len()];
    for (fault, rate) in
        [(Fault::Cut, 2), (Fault::BadDevice, 20), (Fault::Sale, 1), (Fault::Nonsense, 1)]
    {
        faults[fault as usize] = rate;
    }
    Plan {
        shards: 4,
        users,
        peers: users * devices,
        span: Duration::from_secs(24 * 3600),
        pause: Duration::from_secs(2),
        delay: Duration::from_millis(30),
        token_secs: Some(3600),
        takeover: true,
        requests: Some(requests),
        outbox: 1000,
        faults,
        ..Plan::of_seed(seed, Scale::Full)
    }
}
