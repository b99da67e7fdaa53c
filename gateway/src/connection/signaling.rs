//! Signals: what each means for a connection (RFC 8323 §5, device reference 2.5).

use shared::coap::signal::{self, BadSignalOption};
use shared::coap::{Message, Signal, Token};

use super::{CloseReason, Connection};
use crate::shard::wire::Wire;

use super::ConnectionId;

/// What a signal leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signalled {
    /// The connection goes on.
    Next,
    /// The peer says goodbye: its open answers go out, then the connection ends.
    Release,
    /// The connection ends for this reason; an Abort was sent where one is due.
    End(CloseReason),
}

/// Token of the signals that nobody answers: CSM, Release, Abort. Eight bytes, as everything that we
/// originate (device reference 1.3, rule 2).
pub const SIGNAL_TOKEN: Token = Token::from_u64(0x6f63_6673_6967_6e6c);

/// Token of our Pings. One is unanswered at a time, so one token serves.
pub const PING_TOKEN: Token = Token::from_u64(0x6f63_662d_7069_6e67);

/// Handles a message of class 7.
pub fn receive(wire: &mut Wire, id: ConnectionId, message: &Message<'_>) -> Signalled {
    match Signal::parse(message) {
        Err(BadSignalOption { number, in_csm }) => {
            let (option, text) = match in_csm {
                true => (Some(number), "unknown CSM option"),
                false => (None, "unknown critical signal option"),
            };
            wire.write(id, |out| signal::write_abort(out, SIGNAL_TOKEN, option, text));
            Signalled::End(CloseReason::BadSignal)
        }
        Ok(Signal::Csm { max_message_size, block_wise_transfer }) => {
            if let Some(connection) = wire.connections.get_mut(id) {
                take_csm(connection, max_message_size, block_wise_transfer);
            }
            Signalled::Next
        }
        Ok(Signal::Ping { custody }) => {
            // Everything before it has been processed by now, so custody asks for nothing more.
            wire.write(id, |out| signal::write_pong(out, message.token, custody));
            Signalled::Next
        }
        Ok(Signal::Pong) => {
            if let Some(connection) = wire.connections.get_mut(id)
                && message.token == PING_TOKEN
            {
                connection.pinged = None;
            }
            Signalled::Next
        }
        Ok(Signal::Release) => Signalled::Release,
        Ok(Signal::Abort) => Signalled::End(CloseReason::PeerAborted),
        Ok(Signal::Unknown) => Signalled::Next,
    }
}

/// Options are cumulative: what a CSM does not name stays as it was (RFC 8323 §5.3).
fn take_csm(connection: &mut Connection, max_message_size: Option<u32>, block_wise_transfer: bool) {
    let capabilities = &mut connection.capabilities;
    capabilities.max_message_size = max_message_size.or(capabilities.max_message_size);
    capabilities.block_wise_transfer |= block_wise_transfer;
    capabilities.has_said_csm = true;
}
