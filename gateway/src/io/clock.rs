//! The clocks of the machine, read for the core.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::time::{Instant, Now, UnixTime};

/// The clock of all shards of a process: they compare each other's deadlines.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The one that never goes back.
    pub fn instant(self) -> Instant {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(nanos)
    }

    /// Both clocks.
    pub fn now(self) -> Now {
        // A wall clock before 1970 is a machine that has not been set: no token seems expired then.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { instant: self.instant(), unix: UnixTime(unix) }
    }
}
