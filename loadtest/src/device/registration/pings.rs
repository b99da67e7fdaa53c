//! Keep-alive of a signed-in device (device reference 13.3): a Ping 20 s after sign-in and after each
//! Pong, again every 8 s while none comes, and after six the connection is given up.

use shared::coap::{Token, signal};
use shared::time::Instant;

use super::super::line::Line;
use super::super::pace::{PING_AGAIN_AFTER, PINGS_MAX, PONG_LIMIT, Pace};
use super::super::rng::Rng;
use super::super::step::{Failure, Step};

/// The Pings of one session.
#[derive(Debug)]
pub(super) struct Pings {
    /// When the next Ping is due, or the connection is given up.
    next: Instant,
    /// The Ping that waits for its Pong, and when it was due.
    waiting: Option<(u64, Instant)>,
    /// How many in a row have had no Pong.
    unanswered: u8,
}

/// Whether the session goes on.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Pinged {
    Alive,
    GivenUp,
}

impl Pings {
    pub(super) fn begin(pace: Pace, now: Instant) -> Self {
        Self { next: now + pace.ping_after(), waiting: None, unanswered: 0 }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn timeout(&mut self, line: &mut Line, rng: &mut Rng, now: Instant) -> Pinged {
        if now < self.next {
            return Pinged::Alive;
        }
        if let Some((_, due)) = self.waiting.take() {
            line.step(Step::Ping, now.since(due), Err(Failure::TimedOut));
        }
        if self.unanswered == PINGS_MAX {
            return Pinged::GivenUp;
        }
        let token = rng.next_u64();
        self.waiting = Some((token, self.next));
        self.unanswered += 1;
        let wait = match self.unanswered {
            PINGS_MAX => PONG_LIMIT,
            _ => PING_AGAIN_AFTER,
        };
        self.next = now + wait;
        line.send(|out| signal::write_ping(out, Token::from_u64(token)));
        Pinged::Alive
    }

    /// Any Pong restarts the wait; only the right one tells how long it took.
    pub(super) fn pong(&mut self, line: &mut Line, token: Token, pace: Pace, now: Instant) {
        if let Some((_, due)) =
            self.waiting.take_if(|(expected, _)| token.as_u64() == Some(*expected))
        {
            line.step(Step::Ping, now.since(due), Ok(()));
        }
        self.unanswered = 0;
        self.next = now + pace.ping_after();
    }
}
