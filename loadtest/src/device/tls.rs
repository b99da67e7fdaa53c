//! The TLS client inside a device, without I/O: records in, records out.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, Error};

/// Most that sealing adds to a record: header, explicit nonce or content type, tag.
const SEALED_EXTRA_BYTES: usize = 64;
/// Most plaintext in one record.
const RECORD_PLAIN_BYTES_MAX: usize = 16_384;

/// One TLS connection.
pub(super) struct Tls {
    connection: UnbufferedClientConnection,
    /// Handshake records that wait for the rest of their message.
    incoming: Vec<u8>,
    /// Nothing can be sealed any more, not even the end.
    failed: bool,
}

/// Where the connection stands after a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TlsState {
    Handshaking,
    Established,
    ClosedByPeer,
}

impl Tls {
    /// Begins the handshake: the first flight is appended to `out`.
    pub(super) fn start(config: Arc<ClientConfig>, out: &mut Vec<u8>) -> Result<Self, Error> {
        // Devices neither send nor check a host name (device reference 3.2); rustls wants one.
        let no_name = ServerName::from(Ipv4Addr::UNSPECIFIED);
        let connection = UnbufferedClientConnection::new(config, no_name)?;
        let mut tls = Self { connection, incoming: Vec::new(), failed: false };
        tls.advance(out, &mut |_| {})?;
        Ok(tls)
    }

    /// The buffer to which the caller appends whole records before [`advance`](Self::advance).
    pub(super) fn incoming(&mut self) -> &mut Vec<u8> {
        &mut self.incoming
    }

    /// Works on the records received. What has to be sent is appended to `out`, the plaintext of
    /// each record given to `plain`. With an error, `out` has the alert.
    pub(super) fn advance(
        &mut self,
        out: &mut Vec<u8>,
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<TlsState, Error> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.incoming);
            let reached = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        plain(record?.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, out);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(TlsState::Handshaking),
                Ok(ConnectionState::WriteTraffic(_)) => Some(TlsState::Established),
                Ok(_) => Some(TlsState::ClosedByPeer),
                Err(error) => {
                    self.failed = true;
                    self.flush_alert(out);
                    return Err(error);
                }
            };
            if discard == self.incoming.len() {
                self.incoming = Vec::new();
            } else {
                self.incoming.drain(..discard);
            }
            if let Some(state) = reached {
                return Ok(state);
            }
        }
    }

    fn flush_alert(&mut self, out: &mut Vec<u8>) {
        let mut nothing = [];
        while let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.connection.process_tls_records(&mut nothing).state
        {
            encode(&mut data, out);
        }
    }

    /// Seals `plain` into records at the end of `out`; one record for a message of ordinary size.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let records = plain.len() / RECORD_PLAIN_BYTES_MAX + 1;
        let room = plain.len() + records * SEALED_EXTRA_BYTES;
        self.write(out, room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Appends the alert that announces an orderly end.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.write(out, SEALED_EXTRA_BYTES, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write<E>(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        write: impl FnOnce(&mut WriteTraffic<'_, ClientConnectionData>, &mut [u8]) -> Result<usize, E>,
    ) -> Result<(), Error> {
        let refused = || Error::General("the connection takes no more plaintext".into());
        if self.failed {
            return Err(refused());
        }
        self.advance(out, &mut |_| {})?;
        let status = self.connection.process_tls_records(&mut self.incoming);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return Err(refused());
        };
        let end = out.len();
        out.resize(end + room, 0);
        let written = write(&mut traffic, &mut out[end..]).map_err(|_| refused())?;
        out.truncate(end + written);
        Ok(())
    }

    /// The certificate of the other end, once it was received.
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection.peer_certificates()?.first().map(AsRef::as_ref)
    }
}

fn encode(data: &mut EncodeTlsData<'_, ClientConnectionData>, out: &mut Vec<u8>) {
    let end = out.len();
    // The first attempt tells how much room is needed.
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        out.resize(end + needed.required_size, 0);
        let written = data.encode(&mut out[end..]).unwrap_or(0);
        debug_assert_eq!(written, needed.required_size);
    }
}
