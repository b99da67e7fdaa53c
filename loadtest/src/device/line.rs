//! The way to the cloud: down, coming up or up; and everything that waits to go out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use shared::time::Instant;

use super::breach::Breach;
use super::input::{Event, Output};
use super::link::{Link, Progress};
use super::stack::Stack;
use super::step::{Failure, Step};

/// The line of one device or client.
pub(super) struct Line {
    stack: Stack,
    state: State,
    /// An idle device wants nothing, and owns no memory for it.
    wants: Option<Box<Wants>>,
}

enum State {
    Down,
    /// Connecting since this time.
    Connecting(Instant),
    Up(Box<Link>),
}

/// What waits to be fetched.
#[derive(Default)]
struct Wants {
    send: Vec<u8>,
    close: bool,
    connect: bool,
    events: VecDeque<Event>,
}

impl Line {
    pub(super) fn new(stack: Stack) -> Self {
        Self { stack, state: State::Down, wants: None }
    }

    fn wants(&mut self) -> &mut Wants {
        self.wants.get_or_insert_default()
    }

    #[cfg(test)]
    pub(super) fn is_idle(&mut self) -> bool {
        self.wants.is_none() && self.link().is_none_or(|link| link.is_idle())
    }

    pub(super) fn stack(&self) -> Stack {
        self.stack
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// TLS is established.
    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.state, State::Up(link) if link.is_established())
    }

    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Up(link) => Some(link),
            State::Down | State::Connecting(_) => None,
        }
    }

    /// Asks for a connection. It counts as begun at `since`.
    pub(super) fn connect(&mut self, since: Instant) {
        debug_assert!(self.is_down());
        self.state = State::Connecting(since);
        self.wants().connect = true;
    }

    /// The connection is there: TLS begins.
    pub(super) fn connected(&mut self, config: Arc<ClientConfig>, now: Instant) -> bool {
        let State::Connecting(since) = self.state else { return false };
        self.step(Step::Connect, now.since(since), Ok(()));
        match Link::start(config, now, &mut self.wants().send) {
            Ok(link) => {
                self.state = State::Up(Box::new(link));
                true
            }
            Err(error) => {
                self.step(Step::Handshake, Duration::ZERO, Err(Failure::Tls(error.to_string())));
                self.close();
                false
            }
        }
    }

    /// The connection did not come about.
    pub(super) fn not_connected(&mut self, kind: io::ErrorKind, now: Instant) -> bool {
        let State::Connecting(since) = self.state else { return false };
        self.step(Step::Connect, now.since(since), Err(Failure::Connect(kind)));
        self.state = State::Down;
        true
    }

    /// Takes the bytes of one read. When it is false, the line is down.
    pub(super) fn absorb(&mut self, bytes: &[u8], cut: bool) -> bool {
        let stack = self.stack;
        let Some(link) = self.link() else { return true };
        let Err(breach) = link.absorb(bytes, cut, stack) else { return true };
        self.breach(breach);
        self.close();
        false
    }

    /// Works on what was received until something has to be done about it.
    pub(super) fn advance(&mut self, frame: &mut Vec<u8>) -> Progress {
        match &mut self.state {
            State::Up(link) => {
                let out = &mut self.wants.get_or_insert_default().send;
                link.advance(frame, out, self.stack)
            }
            State::Down | State::Connecting(_) => Progress::Idle,
        }
    }

    /// Sends the message that `write` writes, in a TLS record of its own. Without an established
    /// connection it is dropped, as a device drops what it wants to say on a line that is gone.
    pub(super) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let State::Up(link) = &mut self.state else { return };
        if link.is_established() && !link.send(&mut self.wants.get_or_insert_default().send, write)
        {
            self.close();
        }
    }

    /// Gives up a connection that has taken too long to come about.
    pub(super) fn abandon(&mut self, now: Instant) {
        let late = match &self.state {
            State::Connecting(since) => Some((Step::Connect, *since)),
            State::Up(link) => link.handshake_since().map(|since| (Step::Handshake, since)),
            State::Down => None,
        };
        if let Some((step, since)) = late {
            self.step(step, now.since(since), Err(Failure::TimedOut));
            self.close();
        }
    }

    /// Hangs up, orderly where TLS is up.
    pub(super) fn close(&mut self) {
        if let State::Up(link) = &mut self.state {
            link.close(&mut self.wants.get_or_insert_default().send);
        }
        if !self.is_down() {
            self.state = State::Down;
            let wants = self.wants();
            // One that was asked for and not yet begun needs no closing.
            wants.close = !std::mem::take(&mut wants.connect);
        }
    }

    /// The other end has closed.
    pub(super) fn closed(&mut self) {
        self.state = State::Down;
        self.wants().send = Vec::new();
    }

    pub(super) fn event(&mut self, event: Event) {
        self.wants().events.push_back(event);
    }

    pub(super) fn breach(&mut self, breach: Breach) {
        if self.stack == Stack::Fussy {
            self.event(Event::Breach(breach));
        }
    }

    pub(super) fn step(&mut self, step: Step, took: Duration, result: Result<(), Failure>) {
        self.event(Event::Step { step, took, result });
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        let output = self.wants.as_mut()?.next();
        if output.is_none() {
            self.wants = None;
        }
        output
    }
}

impl Wants {
    fn next(&mut self) -> Option<Output> {
        if !self.send.is_empty() {
            return Some(Output::Send(std::mem::take(&mut self.send)));
        }
        if std::mem::take(&mut self.close) {
            return Some(Output::Close);
        }
        if std::mem::take(&mut self.connect) {
            return Some(Output::Connect);
        }
        self.events.pop_front().map(Output::Event)
    }
}
