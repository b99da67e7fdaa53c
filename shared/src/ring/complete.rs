//! What each completion means for its socket, and what the ring's owner hears of it.

use std::io;

use super::accept::AcceptFailure;
use super::event::{DescriptorNotSent, Event, SocketId};
use super::ops::{Completion, Kernel, Kind, Operation};
use super::sockets::{Sockets, arm};
use super::table::{Flight, Phase};

/// What a completion leads to.
pub(super) enum Step {
    /// To be told.
    Event(Event<'static>),
    /// To be told, with the bytes in this buffer; it has to be given back.
    Received { socket: SocketId, buffer: u16, len: u32 },
}

impl Sockets {
    /// Takes note of a completion and does what follows from it.
    pub(super) fn complete(
        &mut self,
        completion: Completion,
        kernel: &mut impl Kernel,
    ) -> Option<Step> {
        let socket = completion.tag.socket;
        let step = match completion.tag.kind {
            Kind::Receive => return self.received(completion, kernel),
            Kind::Send => self.sent(socket, completion.result, kernel),
            Kind::Accept => self.accepted(socket, completion.result, kernel),
            Kind::Option => self.option_set(socket),
            Kind::ShutdownWrite => self.finished(socket, Flight::SHUTDOWN_WRITE),
            Kind::End => self.connection_ended(socket, completion.result, kernel),
            Kind::Close => {
                self.renew_receives(completion.ring, kernel);
                self.finished(socket, Flight::CLOSE)
            }
            Kind::Connect => self.connected(socket, completion.result, kernel),
            Kind::SendDescriptor => self.descriptor_sent(socket, completion.result),
            Kind::Arrival => self.descriptor_arrived(socket),
            Kind::AcceptDelay => {
                self.accepts.delayed = false;
                None
            }
            Kind::Cancel | Kind::Signal => None,
        };
        step.map(Step::Event)
    }

    fn received(&mut self, completion: Completion, kernel: &mut impl Kernel) -> Option<Step> {
        let Completion { ring, tag, result, more, buffer } = completion;
        let socket = tag.socket;
        let Some(entry) = self.table.entry(socket) else {
            debug_assert!(false, "a completion outlived its socket");
            give_back(ring, buffer, kernel);
            return None;
        };
        if !more {
            entry.flight.clear(Flight::RECEIVE);
        }
        if entry.phase != Phase::Open {
            give_back(ring, buffer, kernel);
            self.settle(socket);
            return None;
        }
        if let (1.., Some(buffer)) = (result, buffer) {
            if !more && entry.flight.has(Flight::MANY) {
                arm(socket, entry, kernel);
            }
            return Some(Step::Received { socket, buffer, len: result as u32 });
        }
        give_back(ring, buffer, kernel);
        let result = match -result {
            0 => Ok(()),
            libc::ENOBUFS => {
                entry.flight.set(Flight::STARVED);
                self.starved[ring as usize].push_back(socket);
                return None;
            }
            // Receives are cancelled only to renew them.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                arm(socket, entry, kernel);
                return None;
            }
            errno => Err(io::Error::from_raw_os_error(errno)),
        };
        debug_assert!(!more, "a receive that ended is over");
        Some(Step::Event(Event::Ended { socket, result }))
    }

    fn sent(
        &mut self,
        socket: SocketId,
        result: i32,
        kernel: &mut impl Kernel,
    ) -> Option<Event<'static>> {
        let entry = self.table.entry(socket)?;
        let (place, open) = (entry.place, entry.phase == Phase::Open);
        let sending = self.sends.at(place)?;
        sending.sent += usize::try_from(result).unwrap_or(0);
        let complete = sending.sent == sending.end;
        let interrupted = matches!(-result, libc::EINTR | libc::EAGAIN);
        if open && !complete && (result > 0 || interrupted) {
            kernel.push(socket, sending.operation());
            return None;
        }
        entry.flight.clear(Flight::SEND);
        let bytes = self.sends.remove(place)?.bytes;
        let result = match result {
            _ if complete => Ok(()),
            ..0 => Err(io::Error::from_raw_os_error(-result)),
            0.. => Err(io::ErrorKind::WriteZero.into()),
        };
        self.settle(socket);
        Some(Event::Sent { socket, bytes, result })
    }

    fn accepted(
        &mut self,
        socket: SocketId,
        result: i32,
        kernel: &mut impl Kernel,
    ) -> Option<Event<'static>> {
        let entry = self.table.entry(socket)?;
        debug_assert_eq!(entry.phase, Phase::Accepting);
        entry.flight.clear(Flight::OPENING);
        let (listener, peer) = self.accepts.end(entry.place);
        if result >= 0 {
            entry.phase = Phase::Open;
            return Some(Event::Accepted { listener, socket, peer });
        }
        self.table.free(socket);
        match AcceptFailure::of(-result) {
            AcceptFailure::Interrupted => return None,
            AcceptFailure::Peer => {}
            AcceptFailure::Shortage => {
                if !self.accepts.accepting() {
                    // The listener was shut down on purpose.
                    return None;
                }
                if !std::mem::replace(&mut self.accepts.delayed, true) {
                    kernel.push(SocketId::NONE, Operation::AcceptDelay);
                }
            }
        }
        Some(Event::AcceptFailed { listener, error: io::Error::from_raw_os_error(-result) })
    }

    fn connected(
        &mut self,
        socket: SocketId,
        result: i32,
        kernel: &mut impl Kernel,
    ) -> Option<Event<'static>> {
        let entry = self.table.entry(socket)?;
        self.routes.remove(entry.place);
        entry.flight.clear(Flight::OPENING);
        if entry.phase == Phase::Closing {
            self.settle(socket);
            return None;
        }
        if result >= 0 {
            entry.phase = Phase::Open;
            return Some(Event::Connected { socket });
        }
        entry.phase = Phase::Closing;
        entry.flight.set(Flight::CLOSE);
        kernel.push(socket, Operation::Close);
        Some(Event::ConnectFailed { socket, error: io::Error::from_raw_os_error(-result) })
    }

    fn option_set(&mut self, socket: SocketId) -> Option<Event<'static>> {
        let entry = self.table.entry(socket)?;
        entry.options = entry.options.saturating_sub(1);
        self.settle(socket);
        None
    }

    fn descriptor_sent(&mut self, socket: SocketId, result: i32) -> Option<Event<'static>> {
        let entry = self.table.entry(socket)?;
        entry.flight.clear(Flight::SEND_DESCRIPTOR);
        let address = self.moves.remove(entry.place)?;
        let result = if result >= 0 {
            entry.phase = Phase::Moved;
            Ok(())
        } else {
            Err(DescriptorNotSent { address, error: io::Error::from_raw_os_error(-result) })
        };
        Some(Event::DescriptorSent { socket, result })
    }

    fn descriptor_arrived(&mut self, socket: SocketId) -> Option<Event<'static>> {
        let entry = self.table.entry(socket)?;
        debug_assert_eq!(entry.phase, Phase::Reserved, "an address is used once");
        entry.phase = Phase::Open;
        Some(Event::DescriptorArrived { socket })
    }

    /// Shutdown or reset is done: the slot can be closed.
    fn connection_ended(
        &mut self,
        socket: SocketId,
        result: i32,
        kernel: &mut impl Kernel,
    ) -> Option<Event<'static>> {
        let entry = self.table.entry(socket)?;
        // What a reset did not end, a shutdown does: even when it answers ENOTCONN, whatever is in
        // flight has ended.
        let operation = if result < 0 && entry.flight.has(Flight::RESETTING) {
            entry.flight.clear(Flight::RESETTING);
            Operation::Shutdown
        } else {
            entry.flight.clear(Flight::END);
            entry.flight.set(Flight::CLOSE);
            Operation::Close
        };
        kernel.push(socket, operation);
        None
    }

    fn finished(&mut self, socket: SocketId, what: Flight) -> Option<Event<'static>> {
        self.table.entry(socket)?.flight.clear(what);
        self.settle(socket);
        None
    }

    /// A closing socket of which nothing is in flight any more is gone.
    fn settle(&mut self, socket: SocketId) {
        let Some(entry) = self.table.entry(socket) else { return };
        if entry.phase != Phase::Closing || entry.in_flight() {
            return;
        }
        if entry.flight.has(Flight::UNKNOWN) {
            self.table.free(socket);
        } else {
            self.closed.push_back(socket);
        }
    }
}

fn give_back(ring: u32, buffer: Option<u16>, kernel: &mut impl Kernel) {
    if let Some(buffer) = buffer {
        kernel.give_back(ring, buffer);
    }
}
