//! How long the turns of a shard take. What is read in a turn is answered, or passed on, at its end: so
//! that is the time from reading to sending, for everything that waits for nobody else.

use shared::channel::figures::Delays;
use shared::time::Instant;

/// Lengths that are told apart: up to half an hour.
const LENGTHS: usize = 32;

/// Delays by their length.
#[derive(Default)]
struct Counts {
    counts: [u64; LENGTHS],
    max_micros: u64,
}

impl Counts {
    fn add(&mut self, from: Instant, to: Instant) {
        let micros = u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX);
        // 0 is less than 1, 1 less than 2, 2 and 3 less than 4.
        let length = (u64::BITS - micros.leading_zeros()) as usize;
        self.counts[length.min(LENGTHS - 1)] += 1;
        self.max_micros = self.max_micros.max(micros);
    }

    fn told(&self) -> Delays {
        let used = LENGTHS - self.counts.iter().rev().take_while(|&&count| count == 0).count();
        Delays { max_micros: self.max_micros, counts: self.counts[..used].to_vec() }
    }
}

/// The turns of a shard since its start.
#[derive(Default)]
pub struct Turns {
    begun: Option<Instant>,
    ended: Option<Instant>,
    read_to_send: Counts,
    unread: Counts,
}

impl Turns {
    /// A turn begins.
    pub fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
        if let Some(ended) = self.ended.take() {
            self.unread.add(ended, now);
        }
    }

    /// A turn has ended, in which something was read or nothing; what follows goes out now.
    pub fn end(&mut self, now: Instant, had_events: bool) {
        self.ended = Some(now);
        if let Some(begun) = self.begun.take()
            && had_events
        {
            self.read_to_send.add(begun, now);
        }
    }

    /// The shard has slept: until the next turn there was nothing to read.
    pub fn sleep(&mut self) {
        self.ended = None;
    }

    /// From reading to sending.
    pub fn read_to_send(&self) -> Delays {
        self.read_to_send.told()
    }

    /// From one turn to the next without sleep: what came meanwhile was not read.
    pub fn unread(&self) -> Delays {
        self.unread.told()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    #[test]
    fn turns_that_read_something_are_counted_and_pauses_without_sleep() {
        let mut turns = Turns::default();
        for (begin, end, had_events, sleeps) in
            [(10, 13, true, false), (20, 99, false, true), (1000, 1000, true, false)]
        {
            turns.begin(at(begin));
            turns.end(at(end), had_events);
            if sleeps {
                turns.sleep();
            }
        }
        assert_eq!(turns.read_to_send(), Delays { max_micros: 3, counts: vec![1, 0, 1] });
        assert_eq!(turns.unread(), Delays { max_micros: 7, counts: vec![0, 0, 0, 1] });
    }
}
