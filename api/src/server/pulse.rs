//! Signs of life of one connection: what decides when it has been quiet, or slow, for too long (cloud
//! reference 4.12). No I/O and no clock but the one that comes in.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Bytes of an answer that have to be read within the write limit.
const READ_AT_LEAST: usize = 16 << 10;

/// How long each state may last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request's head to its last.
    pub(super) header: Duration,
    /// For the peer to read [`READ_AT_LEAST`] bytes.
    pub(super) write: Duration,
    /// Without a request.
    pub(super) idle: Duration,
}

/// Why a connection is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Exhausted {
    /// A request's head does not end.
    #[error("the head of a request took too long")]
    Header,
    /// The peer does not read.
    #[error("the peer reads too slowly")]
    Write,
    /// There was no request.
    #[error("idle")]
    Idle,
}

/// The state of a connection. All times are on its own clock, in nanoseconds; 0 stands for never.
///
/// The counters are atomic because HTTP/2 runs its requests as tasks; nothing else depends on them, so
/// no order is asked for.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    requests: AtomicUsize,
    quiet_since: AtomicU64,
    head_since: AtomicU64,
    unread_since: AtomicU64,
    read_meanwhile: AtomicUsize,
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).max(1)
}

impl Pulse {
    /// Bytes have come in. Between requests they begin a head.
    pub(super) fn received(&self, now: Duration) {
        if self.requests.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(nanos(now), Relaxed);
        }
    }

    /// A request has been read as far as its head.
    pub(super) fn request_begins(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    /// A request has been answered, or given up.
    pub(super) fn request_ends(&self, now: Duration) {
        self.quiet_since.store(nanos(now), Relaxed);
        self.requests.fetch_sub(1, Relaxed);
    }

    /// The peer does not take what is to be sent.
    pub(super) fn not_taken(&self, now: Duration) {
        if self.unread_since.load(Relaxed) == 0 {
            self.unread_since.store(nanos(now), Relaxed);
            self.read_meanwhile.store(0, Relaxed);
        }
    }

    /// The peer has taken so many bytes.
    pub(super) fn taken(&self, bytes: usize) {
        if self.unread_since.load(Relaxed) != 0
            && self.read_meanwhile.fetch_add(bytes, Relaxed) + bytes >= READ_AT_LEAST
        {
            self.unread_since.store(0, Relaxed);
        }
    }

    /// The peer has taken everything.
    pub(super) fn all_taken(&self) {
        self.unread_since.store(0, Relaxed);
    }

    /// When the present state has lasted for too long, and why; none while a request is being
    /// answered, which has limits of its own. `http2` sends bytes between requests that begin none.
    pub(super) fn deadline(
        &self,
        patience: Patience,
        http2: bool,
    ) -> Option<(Duration, Exhausted)> {
        let since = |at: &AtomicU64| Some(at.load(Relaxed)).filter(|&nanos| nanos != 0);
        let after = |nanos: u64, patience: Duration| Duration::from_nanos(nanos) + patience;
        if let Some(unread) = since(&self.unread_since) {
            return Some((after(unread, patience.write), Exhausted::Write));
        }
        if self.requests.load(Relaxed) > 0 {
            return None;
        }
        match since(&self.head_since) {
            Some(head) if !http2 => Some((after(head, patience.header), Exhausted::Header)),
            _ => Some((after(self.quiet_since.load(Relaxed), patience.idle), Exhausted::Idle)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_secs(4),
        write: Duration::from_secs(16),
        idle: Duration::from_secs(30),
    };

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn deadline(pulse: &Pulse) -> Option<(Duration, Exhausted)> {
        pulse.deadline(PATIENCE, false)
    }

    #[test]
    fn a_connection_may_be_idle_for_a_while_after_each_request() {
        let pulse = Pulse::default();
        assert_eq!(deadline(&pulse), Some((at(30), Exhausted::Idle)));
        pulse.received(at(10));
        pulse.request_begins();
        assert_eq!(deadline(&pulse), None, "requests have limits of their own");
        pulse.request_ends(at(15));
        assert_eq!(deadline(&pulse), Some((at(45), Exhausted::Idle)));
    }

    #[test]
    fn a_head_has_to_end_soon_however_it_trickles() {
        let pulse = Pulse::default();
        pulse.received(at(10));
        pulse.received(at(13));
        assert_eq!(deadline(&pulse), Some((at(14), Exhausted::Header)));
        assert_eq!(pulse.deadline(PATIENCE, true), Some((at(30), Exhausted::Idle)));
    }

    #[test]
    fn an_answer_has_to_be_read_however_it_trickles() {
        let pulse = Pulse::default();
        pulse.request_begins();
        pulse.not_taken(at(10));
        pulse.taken(100);
        pulse.not_taken(at(20));
        assert_eq!(deadline(&pulse), Some((at(26), Exhausted::Write)));
        pulse.taken(READ_AT_LEAST);
        assert_eq!(deadline(&pulse), None);
        pulse.not_taken(at(40));
        pulse.all_taken();
        assert_eq!(deadline(&pulse), None);
    }
}
