//! The handshake of a client, by rustls without I/O.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Result, bail};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, HandshakeKind};

use crate::records::Records;

/// Most that sealing adds to a short message.
const SEALED_EXTRA_BYTES: usize = 64;

/// A TLS connection that rustls keeps.
pub(crate) struct Client {
    connection: UnbufferedClientConnection,
    /// Records that wait for their rest.
    incoming: Vec<u8>,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// The server has to say more.
    Handshaking,
    /// Text can be sent.
    Established,
    /// The server has said goodbye.
    Closed,
}

impl Client {
    /// Begins; the first flight is appended to `out`.
    pub(crate) fn start(config: Arc<ClientConfig>, out: &mut Vec<u8>) -> Result<Self> {
        // Devices neither send nor check a name; rustls wants one.
        let no_name = ServerName::from(Ipv4Addr::UNSPECIFIED);
        let connection = UnbufferedClientConnection::new(config, no_name)?;
        let mut client = Self { connection, incoming: Vec::new() };
        client.receive(&[], out, &mut Vec::new())?;
        Ok(client)
    }

    /// Takes bytes of the server in; what has to be sent is appended to `out`, text to `text`.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        text: &mut Vec<u8>,
    ) -> Result<Progress> {
        self.incoming.extend_from_slice(bytes);
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut self.incoming);
            let reached = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        text.extend_from_slice(record.payload);
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, out);
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::BlockedHandshake => Some(Progress::Handshaking),
                ConnectionState::WriteTraffic(_) => Some(Progress::Established),
                _ => Some(Progress::Closed),
            };
            self.incoming.drain(..discard);
            if let Some(reached) = reached {
                return Ok(reached);
            }
        }
    }

    /// Whether the server has accepted a session of before.
    pub(crate) fn has_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Appends a record with this text.
    pub(crate) fn seal(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.write(out, text.len(), |traffic, room| traffic.encrypt(text, room).ok())
    }

    /// Appends the alert that says goodbye.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.write(out, 0, |traffic, room| traffic.queue_close_notify(room).ok())
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        text_len: usize,
        write: impl FnOnce(&mut WriteTraffic<'_, ClientConnectionData>, &mut [u8]) -> Option<usize>,
    ) -> Result<()> {
        let UnbufferedStatus { discard, state } =
            self.connection.process_tls_records(&mut self.incoming);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else {
            bail!("TLS does not let us write");
        };
        let end = out.len();
        out.resize(end + text_len + SEALED_EXTRA_BYTES, 0);
        let Some(written) = write(&mut traffic, &mut out[end..]) else {
            bail!("a message does not fit a record");
        };
        out.truncate(end + written);
        self.incoming.drain(..discard);
        Ok(())
    }

    /// Gives rustls up for keys and counters, and the bytes that were not processed yet.
    pub(crate) fn into_records(self, tls13: bool) -> Result<(Records, Vec<u8>)> {
        let (secrets, _) = self.connection.dangerous_into_kernel_connection()?;
        Ok((Records::new(secrets, tls13)?, self.incoming))
    }
}

fn encode(data: &mut EncodeTlsData<'_, ClientConnectionData>, out: &mut Vec<u8>) {
    let end = out.len();
    // The first attempt tells how much room is needed.
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        out.resize(end + needed.required_size, 0);
        let written = data.encode(&mut out[end..]).unwrap_or(0);
        out.truncate(end + written);
    }
}
