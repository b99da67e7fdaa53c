//! A connection that is up: TLS, records and frames in one, with the quirks of real receivers.

use std::sync::Arc;

use rustls::ClientConfig;
use shared::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::breach::Breach;
use super::frames::{Frames, Taken};
use super::records::Records;
use super::stack::Stack;
use super::tls::{Tls, TlsState};

/// A TLS connection from its first byte on.
pub(super) struct Link {
    tls: Tls,
    records: Records,
    frames: Frames,
    established: bool,
    /// The receiver waits for bytes that never come; nothing is read any more.
    hung: bool,
    /// When the handshake began.
    pub(super) since: Instant,
    /// Whether any response has arrived on this connection.
    pub(super) answered: bool,
    /// Whether the last answer on this connection was 5.03 or 5.04.
    pub(super) put_off: bool,
}

/// What working on received bytes has led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing more before the next bytes.
    Idle,
    /// The handshake is done.
    Established,
    /// A frame, in the caller's buffer; and the rule that its record broke, if it did.
    Frame(Option<Breach>),
    /// The receiver hangs from now on.
    Hung(Breach),
    /// This end drops the connection.
    Dropped(Breach),
    /// TLS has failed; the alert, if any, was appended to what is sent.
    Failed(rustls::Error),
    /// The other end has ended TLS.
    ClosedByPeer,
}

impl Link {
    pub(super) fn start(
        config: Arc<ClientConfig>,
        since: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: Tls::start(config, out)?,
            records: Records::default(),
            frames: Frames::default(),
            established: false,
            hung: false,
            since,
            answered: false,
            put_off: false,
        })
    }

    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    /// Takes the bytes of one read.
    pub(super) fn absorb(&mut self, bytes: &[u8], cut: bool, stack: Stack) -> Result<(), Breach> {
        if self.hung { Ok(()) } else { self.records.absorb(bytes, cut, stack) }
    }

    /// Works on what was received until something has to be done about it. A frame replaces what
    /// is in `frame`; what TLS wants to send is appended to `out`.
    pub(super) fn advance(
        &mut self,
        frame: &mut Vec<u8>,
        out: &mut Vec<u8>,
        stack: Stack,
    ) -> Progress {
        while !self.hung {
            match self.frames.take(frame, stack) {
                Taken::Frame(breach) => return Progress::Frame(breach),
                Taken::Dropped(breach) => return Progress::Dropped(breach),
                Taken::Hung(breach) => {
                    self.hung = true;
                    return Progress::Hung(breach);
                }
                Taken::Nothing => {}
            }
            if !self.records.take(self.tls.incoming()) {
                return Progress::Idle;
            }
            let frames = &mut self.frames;
            match self.tls.advance(out, &mut |plain| frames.absorb(plain)) {
                Ok(TlsState::Handshaking) => {}
                Ok(TlsState::Established) if self.established => {}
                Ok(TlsState::Established) => {
                    self.established = true;
                    return Progress::Established;
                }
                Ok(TlsState::ClosedByPeer) => return Progress::ClosedByPeer,
                Err(error) => return Progress::Failed(error),
            }
        }
        Progress::Idle
    }

    /// Seals one message into a record of its own.
    pub(super) fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        debug_assert!(self.established);
        self.tls.seal(plain, out)
    }

    /// Announces the end; where TLS does not allow it any more, the end of TCP has to do.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if self.established && self.tls.close(out).is_err() {
            self.established = false;
        }
    }

    /// The CN in the subject of the cloud's certificate.
    pub(super) fn cloud_name(&self) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(self.tls.peer_certificate()?).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        Some(name.as_str().ok()?.to_owned())
    }
}
