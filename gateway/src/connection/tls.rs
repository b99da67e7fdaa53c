//! TLS of the device side: rustls, which does no I/O.
//!
//! Mutual, TLS 1.2 and 1.3 with the suites of device reference 3.1. The peer's chain is judged by
//! [`TrustAnchors`]: OCF certificates carry no host names, and their own rules (device reference 3.3).
//!
//! When the handshake is over, the connection is taken from rustls by the record layer
//! ([`shared::record`]) and is plain data from then on.
//!
//! rustls' traits ask for `Send + Sync`. That is why the clock, the judged chains and the secrets
//! stand in cells with a lock or an atomic here; every shard has its own, so nobody ever waits for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime as PkiTime};
use rustls::server::UnbufferedServerConnection;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{DigitallySignedStruct, DistinguishedName, KeyLog, ServerConfig, SignatureScheme};
#[cfg(feature = "whole-tls")]
use rustls::{
    server::ServerConnectionData,
    unbuffered::{EncryptError, WriteTraffic},
};
#[cfg(not(feature = "whole-tls"))]
use shared::record::Side;
use shared::record::{NotExtractable, RecordError, Records, TrafficSecrets};
use shared::time::UnixTime;

use super::hello::OfferedSuites;
use super::tickets::TicketKeys;
use crate::identity::{IdentityError, KnownIssuers, Recent, TrustAnchors, Verified, chain_digest};
use crate::limits::HANDSHAKE_BYTES_MAX;

/// Chains whose judgement is remembered, per shard.
const JUDGED_CHAINS_MAX: usize = 4096;

/// Certificate chain and key of the cloud.
pub struct CloudCertificate {
    /// The leaf with `CN=uuid:<sid>` first, then its intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for CloudCertificate {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Makes the TLS side of new connections; one per shard.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    clock: Arc<Clock>,
    judge: Arc<Judge>,
    secrets: Arc<Secrets>,
}

/// A TLS handshake or record that failed. The alert for the peer, if any, has been queued.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A record after the handshake.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was negotiated cannot be taken over by the record layer.
    #[error(transparent)]
    NotExtractable(#[from] NotExtractable),
    /// The peer broke TLS, or has no certificate that we trust.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// Nothing that the peer offers is anything that we do.
    #[error("{error}; the peer offers the suites {offered}")]
    NothingInCommon {
        /// What is missing.
        error: rustls::Error,
        /// What there was to choose from.
        offered: OfferedSuites,
    },
    /// The peer sent more handshake than any chain of certificates needs.
    #[error("more than {HANDSHAKE_BYTES_MAX} bytes of handshake")]
    HandshakeTooLong,
}

impl TlsError {
    /// A step has failed over these bytes.
    fn of_step(error: rustls::Error, incoming: &[u8]) -> Self {
        match error {
            rustls::Error::PeerIncompatible(_) => {
                Self::NothingInCommon { error, offered: OfferedSuites::of_first_record(incoming) }
            }
            error => Self::Rustls(error),
        }
    }
}

impl Acceptor {
    /// With the cloud's certificate and the anchors of the devices' certificates.
    pub fn new(
        certificate: CloudCertificate,
        anchors: TrustAnchors,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(provider());
        let clock = Arc::new(Clock(AtomicU64::new(0)));
        let judge = Arc::new(Judge {
            anchors,
            algorithms: provider.signature_verification_algorithms,
            judged: Mutex::default(),
        });
        let mut config = ServerConfig::builder_with_details(provider, Arc::<Clock>::clone(&clock))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(Arc::<Judge>::clone(&judge))
            .with_single_cert(certificate.chain, certificate.key)?;
        let secrets = Arc::new(Secrets::default());
        config.alpn_protocols = vec![b"coap".to_vec()];
        // Ours, which begins with the suites whose secrets are smaller.
        config.ignore_client_order = true;
        // None before there are keys that outlive the process.
        config.send_tls13_tickets = 0;
        config.enable_secret_extraction = true;
        config.key_log = Arc::<Secrets>::clone(&secrets);
        Ok(Self { config: Arc::new(config), clock, judge, secrets })
    }

    /// The beginning of a handshake.
    pub fn accept(&self) -> Result<Handshake, rustls::Error> {
        let tls = UnbufferedServerConnection::new(Arc::clone(&self.config))?;
        let whole = WholeTls::new(tls);
        let traffic = TrafficSecrets::default();
        Ok(Handshake { whole, traffic, early: Vec::new(), queued: false, begun: false })
    }

    /// From now on handshakes make and take tickets with these keys. Handshakes under way go on with
    /// those that they began with.
    pub fn use_ticket_keys(&mut self, keys: &TicketKeys, lifetime: Duration) {
        let mut config = ServerConfig::clone(&self.config);
        config.ticketer = keys.ticketer(lifetime);
        config.send_tls13_tickets = 1;
        self.config = Arc::new(config);
    }

    /// From now on handshakes are done with another certificate and other anchors. Those under way
    /// go on as they began; who the peer is, is judged by the new anchors at their end.
    pub fn renew(&mut self, new: Self) {
        let mut config = ServerConfig::clone(&new.config);
        // What outlives the change: the keys of tickets, the clock, and the place where the
        // handshakes under way leave their secrets.
        config.ticketer = Arc::clone(&self.config.ticketer);
        config.send_tls13_tickets = self.config.send_tls13_tickets;
        config.time_provider = Arc::<Clock>::clone(&self.clock);
        config.key_log = Arc::<Secrets>::clone(&self.secrets);
        self.config = Arc::new(config);
        self.judge = new.judge;
    }

    /// Whether the chain of an established connection is still trusted.
    pub fn is_trusted(&self, verified: &Verified, now: UnixTime) -> bool {
        self.judge.anchors.recheck(&verified.session, now).is_ok()
    }

    /// Tells rustls the time; before every step of a handshake.
    pub fn set_time(&self, now: UnixTime) {
        self.clock.0.store(now.0, Ordering::Relaxed);
    }

    /// Who the peer of a finished handshake is. rustls asks no verifier when a session is resumed: the
    /// chain from the ticket is judged here by today's anchors, time and revocation lists.
    fn identity(&self, tls: &UnbufferedServerConnection) -> Result<Verified, rustls::Error> {
        let chain = tls.peer_certificates().unwrap_or_default();
        self.judge.judge(chain, UnixTime(self.clock.0.load(Ordering::Relaxed)))
    }
}

/// The versions, suites and groups of device reference 3.1. AES-128 comes first: smaller secrets.
fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite as suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        kx_groups: vec![kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519],
        ..aws_lc_rs::default_provider()
    }
}

/// The wall clock as rustls asks for it.
#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<PkiTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        Some(PkiTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// Where rustls leaves the traffic secrets of the handshake step that is under way. The trait it goes
/// through is for logs; nothing is written anywhere.
#[derive(Default)]
struct Secrets(Mutex<TrafficSecrets>);

impl Secrets {
    /// Takes what the last step has left.
    fn collect(&self, into: &mut TrafficSecrets) {
        let left = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        into.add(left);
    }
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(label, secret);
    }

    fn will_log(&self, label: &str) -> bool {
        TrafficSecrets::wants(label)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// Judges chains, and remembers who they prove so that it need not be worked out a second time.
struct Judge {
    anchors: TrustAnchors,
    algorithms: WebPkiSupportedAlgorithms,
    judged: Mutex<Judged>,
}

#[derive(Default)]
struct Judged {
    issuers: KnownIssuers,
    chains: Recent<Verified, JUDGED_CHAINS_MAX>,
}

impl Judge {
    /// Who sent this chain. The signatures in a chain that is known are not verified again; whether
    /// its anchor, its times and the revocation lists still speak for it is looked up every time.
    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, rustls::Error> {
        let refused = |error: IdentityError| rustls::Error::InvalidCertificate((&error).into());
        let digest = chain_digest(chain);
        let mut judged = self.judged();
        if let Some(known) = judged.chains.get(&digest) {
            self.anchors.recheck(&known.session, now).map_err(refused)?;
            return Ok(known.clone());
        }
        let verified =
            self.anchors.verify_chain(&mut judged.issuers, chain, now).map_err(refused)?;
        judged.chains.add(digest, verified.clone());
        Ok(verified)
    }

    fn judged(&self) -> std::sync::MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Judge")
    }
}

impl ClientCertVerifier for Judge {
    /// None: device stacks ignore the hint, and constrained ones have little room for it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: PkiTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let mut chain = Vec::with_capacity(1 + intermediates.len());
        chain.push(end_entity.clone());
        chain.extend(intermediates.iter().cloned());
        self.judge(&chain, UnixTime(now.as_secs()))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The TLS side of a connection.
pub enum Transport {
    /// Not established yet.
    Handshake(Box<Handshake>),
    /// Established: keys and counters.
    Records(Records),
    /// Established; rustls keeps everything.
    #[cfg(feature = "whole-tls")]
    Whole(Box<WholeTls>),
    /// Taken away by a move.
    Gone,
}

impl Transport {
    /// Seals what `write` appends, a record for every message, at the end of `out`. Nothing is sealed
    /// when `write` says no.
    pub fn seal(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<(), TlsError> {
        match self {
            Self::Records(records) => Ok(records.seal(out, write)?),
            #[cfg(feature = "whole-tls")]
            Self::Whole(whole) => whole.seal_message(out, write),
            Self::Handshake(_) | Self::Gone => {
                debug_assert!(false, "messages are written to established connections only");
                Ok(())
            }
        }
    }

    /// Appends the TLS goodbye.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Records(records) => records.close_notify(out),
            #[cfg(feature = "whole-tls")]
            Self::Whole(whole) => whole.close_notify(out),
            Self::Handshake(_) | Self::Gone => {}
        }
    }

    /// Bytes on the heap: of a handshake without what rustls keeps for it, and of keys.
    pub fn heap_bytes(&self) -> (usize, usize) {
        match self {
            Self::Handshake(handshake) => {
                let waiting = handshake.whole.incoming.capacity() + handshake.early.capacity();
                (size_of::<Handshake>() + waiting, 0)
            }
            Self::Records(records) => (0, records.heap_bytes()),
            #[cfg(feature = "whole-tls")]
            Self::Whole(whole) => (size_of::<WholeTls>() + whole.incoming.capacity(), 0),
            Self::Gone => (0, 0),
        }
    }

    /// Whether the peer has ended the connection in order; a stream that ends without was cut.
    pub fn peer_closed(&self) -> bool {
        match self {
            Self::Records(records) => records.peer_closed(),
            #[cfg(feature = "whole-tls")]
            Self::Whole(whole) => whole.peer_closed,
            Self::Handshake(_) | Self::Gone => false,
        }
    }
}

/// A handshake under way.
pub struct Handshake {
    whole: WholeTls,
    traffic: TrafficSecrets,
    /// Text that came in the same flight as the end of the handshake.
    early: Vec<u8>,
    /// It stands in the queue of those that have something to do.
    pub queued: bool,
    /// A step of it has been taken.
    pub begun: bool,
}

/// A connection whose handshake is over.
pub struct Established {
    /// The TLS side from now on.
    pub transport: Transport,
    /// Who the peer has proved to be.
    pub identity: Box<Verified>,
    /// Text that came right behind the handshake.
    pub early: Vec<u8>,
    /// The beginning of a record that came right behind that.
    pub rest: Vec<u8>,
}

/// What a step of a handshake led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More bytes of the peer are needed.
    Waiting,
    /// The handshake is over.
    Done,
}

impl Handshake {
    /// Adds bytes of the peer.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if self.whole.incoming.len() + bytes.len() > HANDSHAKE_BYTES_MAX {
            return Err(TlsError::HandshakeTooLong);
        }
        self.whole.incoming.extend_from_slice(bytes);
        Ok(())
    }

    /// Does what can be done with the bytes so far; what goes to the peer is appended to `out`.
    pub fn step(&mut self, acceptor: &Acceptor, out: &mut Vec<u8>) -> Result<Progress, TlsError> {
        let Self { whole, traffic, early, .. } = self;
        let run = whole.run(out, early);
        acceptor.secrets.collect(traffic);
        run?;
        Ok(if whole.established { Progress::Done } else { Progress::Waiting })
    }

    /// Ends a handshake that is [`Progress::Done`]: rustls is taken apart, and what is kept of it is
    /// keys and counters. It has nothing left to send or to read then.
    #[cfg(not(feature = "whole-tls"))]
    pub fn finish(self, acceptor: &Acceptor) -> Result<Established, TlsError> {
        let identity = Box::new(acceptor.identity(&self.whole.tls)?);
        let suite = self.whole.tls.negotiated_cipher_suite().ok_or(NotExtractable)?.suite();
        let rest = self.whole.incoming;
        let (extracted, _) = self.whole.tls.dangerous_into_kernel_connection()?;
        let records = Records::take_over(Side::Server, suite, extracted, &self.traffic)?;
        let transport = Transport::Records(records);
        Ok(Established { transport, identity, early: self.early, rest })
    }

    /// Ends a handshake that is [`Progress::Done`].
    #[cfg(feature = "whole-tls")]
    pub fn finish(self, acceptor: &Acceptor) -> Result<Established, TlsError> {
        let identity = Box::new(acceptor.identity(&self.whole.tls)?);
        let transport = Transport::Whole(Box::new(self.whole));
        Ok(Established { transport, identity, early: self.early, rest: Vec::new() })
    }
}

/// A connection of which rustls keeps everything.
pub struct WholeTls {
    tls: UnbufferedServerConnection,
    /// Records that are not complete yet.
    incoming: Vec<u8>,
    established: bool,
    peer_closed: bool,
}

impl WholeTls {
    fn new(tls: UnbufferedServerConnection) -> Self {
        Self { tls, incoming: Vec::new(), established: false, peer_closed: false }
    }

    /// Opens the records in `bytes`: their text is appended to `text`, what TLS itself has to say to
    /// `out`.
    #[cfg(feature = "whole-tls")]
    pub fn open(
        &mut self,
        bytes: &[u8],
        text: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        self.incoming.extend_from_slice(bytes);
        self.run(out, text)?;
        Ok(())
    }

    fn run(&mut self, out: &mut Vec<u8>, text: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut failed: Option<TlsError> = None;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(&mut self.incoming);
            let go_on = match state {
                // The alert, if there is one, comes out of the next round.
                Err(error) if failed.is_none() => {
                    failed = Some(TlsError::of_step(error, &self.incoming));
                    true
                }
                Err(_) => false,
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        text.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(out, |room| match data.encode(room) {
                        Ok(written) => Ok(written),
                        Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
                        Err(EncodeError::AlreadyEncoded) => Err(None),
                    });
                    // After its alert rustls would judge the same bytes again.
                    failed.is_none()
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    true
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.established = true;
                    false
                }
                // Early data is never offered: our tickets do not allow it.
                Ok(_) => false,
            };
            self.incoming.drain(..discard);
            if !go_on {
                return failed.map_or(Ok(()), Err);
            }
        }
    }

    #[cfg(feature = "whole-tls")]
    fn seal_message(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<(), TlsError> {
        let mut message = Vec::new();
        if !write(&mut message) {
            return Ok(());
        }
        for text in message.chunks(shared::record::TEXT_BYTES_MAX) {
            self.with_traffic(out, |traffic, out| {
                append(out, |room| match traffic.encrypt(text, room) {
                    Ok(written) => Ok(written),
                    Err(EncryptError::InsufficientSize(size)) => Err(Some(size.required_size)),
                    Err(EncryptError::EncryptExhausted) => Err(None),
                });
            })?;
        }
        Ok(())
    }

    #[cfg(feature = "whole-tls")]
    fn close_notify(&mut self, out: &mut Vec<u8>) {
        // A connection that cannot say goodbye any more is closed without.
        let _ = self.with_traffic(out, |traffic, out| {
            append(out, |room| match traffic.queue_close_notify(room) {
                Ok(written) => Ok(written),
                Err(EncryptError::InsufficientSize(size)) => Err(Some(size.required_size)),
                Err(EncryptError::EncryptExhausted) => Err(None),
            });
        });
    }

    /// Brings rustls to the state in which it encrypts.
    #[cfg(feature = "whole-tls")]
    fn with_traffic(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>),
    ) -> Result<(), TlsError> {
        let mut none = Vec::new();
        self.run(out, &mut none)?;
        debug_assert!(none.is_empty(), "what could be read has been read");
        let UnbufferedStatus { state, .. } = self.tls.process_tls_records(&mut self.incoming);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            write(&mut traffic, out);
        }
        Ok(())
    }
}

/// Lets `encode` write into the room behind `out`, which is made as large as it asks for.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>) {
    let start = out.len();
    let end = loop {
        match encode(&mut out[start..]) {
            Ok(written) => break start + written,
            Err(Some(required)) => out.resize(start + required, 0),
            Err(None) => break start,
        }
    };
    out.truncate(end);
}
