//! The TLS handshake of a device, without I/O: records in, records out. Once it is over the connection is
//! taken from rustls, and keys and counters are all that is kept ([`shared::record`]).

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, Error, KeyLog};
use shared::record::{NotExtractable, Records, Side, TrafficSecrets};
use shared::time::Instant;

/// A handshake under way.
pub(super) struct Handshake {
    connection: UnbufferedClientConnection,
    /// Records that wait for the rest of their message.
    incoming: Vec<u8>,
    secrets: TrafficSecrets,
    /// When it began.
    pub(super) since: Instant,
}

/// Where the connection stands after a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TlsState {
    Handshaking,
    Established,
    ClosedByPeer,
}

/// Lets devices take connections of this configuration over from rustls. Every configuration that is
/// handed to a device needs it.
pub fn allow_take_over(config: &mut ClientConfig) {
    config.enable_secret_extraction = true;
    config.key_log = Arc::new(SecretsOfThread);
}

thread_local! {
    /// What the handshake step that this thread does has told of its secrets.
    static TOLD: RefCell<TrafficSecrets> = RefCell::default();
}

/// Leaves the traffic secrets of TLS 1.3 with the thread that does the step. The trait is for logs;
/// nothing is written anywhere.
#[derive(Debug)]
struct SecretsOfThread;

impl KeyLog for SecretsOfThread {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        TOLD.with_borrow_mut(|told| told.take(label, secret));
    }

    fn will_log(&self, label: &str) -> bool {
        TrafficSecrets::wants(label)
    }
}

impl Handshake {
    /// Begins: the first flight is appended to `out`.
    pub(super) fn start(
        config: Arc<ClientConfig>,
        since: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Self, Error> {
        // Devices neither send nor check a host name (device reference 3.2); rustls wants one.
        let no_name = ServerName::from(Ipv4Addr::UNSPECIFIED);
        let connection = UnbufferedClientConnection::new(config, no_name)?;
        let secrets = TrafficSecrets::default();
        let mut handshake = Self { connection, incoming: Vec::new(), secrets, since };
        handshake.advance(out, &mut |_| {})?;
        Ok(handshake)
    }

    /// The buffer to which the caller appends whole records before [`advance`](Self::advance).
    pub(super) fn incoming(&mut self) -> &mut Vec<u8> {
        &mut self.incoming
    }

    /// Works on the records received. What has to be sent is appended to `out`, text that came
    /// already given to `plain`. With an error, `out` has the alert.
    pub(super) fn advance(
        &mut self,
        out: &mut Vec<u8>,
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<TlsState, Error> {
        let reached = self.run(out, plain);
        self.secrets.add(TOLD.take());
        reached
    }

    fn run(&mut self, out: &mut Vec<u8>, plain: &mut impl FnMut(&[u8])) -> Result<TlsState, Error> {
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
                    self.flush_alert(out);
                    return Err(error);
                }
            };
            self.incoming.drain(..discard);
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

    /// Ends a handshake that is [`TlsState::Established`]: rustls is taken apart.
    pub(super) fn finish(self) -> Result<Records, Error> {
        debug_assert!(self.incoming.is_empty(), "records are handed over one by one");
        let other = |_: NotExtractable| Error::General(NotExtractable.to_string());
        let suite = self.connection.negotiated_cipher_suite();
        let suite = suite.ok_or(NotExtractable).map_err(other)?.suite();
        let (extracted, _) = self.connection.dangerous_into_kernel_connection()?;
        Records::take_over(Side::Client, suite, extracted, &self.secrets).map_err(other)
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
