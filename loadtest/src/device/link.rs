//! A connection that is up: TLS, records and frames in one, with the quirks of real receivers.

use std::sync::Arc;

use rustls::ClientConfig;
use shared::record::{Opened, Records as RecordLayer, Step};
use shared::time::Instant;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::breach::Breach;
use super::frames::{Frames, Taken};
use super::records::Records;
use super::stack::Stack;
use super::tls::{Handshake, TlsState};

/// A TLS connection from its first byte on. While nothing is under way it is keys and counters.
pub(super) struct Link {
    tls: Tls,
    /// What has arrived and is not understood yet; none at most times.
    arrived: Option<Box<Arrived>>,
    /// The receiver waits for bytes that never come; nothing is read any more.
    hung: bool,
    /// Whether any response has arrived on this connection.
    pub(super) answered: bool,
    /// Whether the last answer on this connection was 5.03 or 5.04.
    pub(super) put_off: bool,
}

const _: () = assert!(size_of::<Link>() <= 128, "swarms have very many of them");

enum Tls {
    Handshake(Box<Handshake>),
    Open(RecordLayer),
    /// Nothing can be said or understood any more.
    Broken,
}

#[derive(Default)]
struct Arrived {
    records: Records,
    frames: Frames,
}

/// What working on received bytes has led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing more before the next bytes.
    Idle,
    /// The handshake is done; [`Link::settle`] comes next.
    Established,
    /// A frame, in the caller's buffer; and the rule that its record broke, if it did.
    Frame(Option<Breach>),
    /// The receiver hangs from now on.
    Hung(Breach),
    /// This end drops the connection.
    Dropped(Breach),
    /// TLS has failed; the alert, if any, was appended to what is sent.
    Failed(String),
    /// The other end has ended TLS.
    ClosedByPeer,
}

impl Link {
    pub(super) fn start(
        config: Arc<ClientConfig>,
        since: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Self, rustls::Error> {
        let handshake = Handshake::start(config, since, out)?;
        Ok(Self {
            tls: Tls::Handshake(Box::new(handshake)),
            arrived: None,
            hung: false,
            answered: false,
            put_off: false,
        })
    }

    pub(super) fn is_established(&self) -> bool {
        matches!(self.tls, Tls::Open(_))
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.is_established() && self.arrived.is_none()
    }

    /// When the handshake under way began.
    pub(super) fn handshake_since(&self) -> Option<Instant> {
        match &self.tls {
            Tls::Handshake(handshake) => Some(handshake.since),
            Tls::Open(_) | Tls::Broken => None,
        }
    }

    /// Takes the bytes of one read.
    pub(super) fn absorb(&mut self, bytes: &[u8], cut: bool, stack: Stack) -> Result<(), Breach> {
        if self.hung {
            return Ok(());
        }
        self.arrived.get_or_insert_default().records.absorb(bytes, cut, stack)
    }

    /// Works on what was received until something has to be done about it. A frame replaces what
    /// is in `frame`; what TLS wants to send is appended to `out`.
    pub(super) fn advance(
        &mut self,
        frame: &mut Vec<u8>,
        out: &mut Vec<u8>,
        stack: Stack,
    ) -> Progress {
        let Some(mut arrived) = self.arrived.take() else { return Progress::Idle };
        let progress = self.work_on(&mut arrived, frame, out, stack);
        if !arrived.is_empty() {
            self.arrived = Some(arrived);
        }
        progress
    }

    fn work_on(
        &mut self,
        Arrived { records, frames }: &mut Arrived,
        frame: &mut Vec<u8>,
        out: &mut Vec<u8>,
        stack: Stack,
    ) -> Progress {
        while !self.hung {
            match frames.take(frame, stack) {
                Taken::Frame(breach) => return Progress::Frame(breach),
                Taken::Dropped(breach) => return Progress::Dropped(breach),
                Taken::Hung(breach) => {
                    self.hung = true;
                    return Progress::Hung(breach);
                }
                Taken::Nothing => {}
            }
            let reached = match &mut self.tls {
                Tls::Handshake(handshake) => {
                    if !records.take(handshake.incoming()) {
                        return Progress::Idle;
                    }
                    handshake
                        .advance(out, &mut |plain| frames.absorb(plain))
                        .map_err(|error| error.to_string())
                }
                Tls::Open(layer) => {
                    let mut record = Vec::new();
                    if !records.take(&mut record) {
                        return Progress::Idle;
                    }
                    open(layer, &mut record, frames, out)
                }
                Tls::Broken => return Progress::Idle,
            };
            match reached {
                Ok(TlsState::Handshaking) => {}
                Ok(TlsState::Established) if self.is_established() => {}
                Ok(TlsState::Established) => return Progress::Established,
                Ok(TlsState::ClosedByPeer) => return Progress::ClosedByPeer,
                Err(error) => return Progress::Failed(error),
            }
        }
        Progress::Idle
    }

    /// Lets go of everything that only the handshake needed.
    pub(super) fn settle(&mut self) -> Result<(), rustls::Error> {
        match std::mem::replace(&mut self.tls, Tls::Broken) {
            Tls::Handshake(handshake) => self.tls = Tls::Open(handshake.finish()?),
            other => self.tls = other,
        }
        Ok(())
    }

    /// Seals the message that `write` writes into a record of its own. False when nothing can be
    /// sealed any more.
    pub(super) fn send(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Tls::Open(layer) = &mut self.tls else { return false };
        let sealed = layer.seal(out, |out| {
            write(out);
            true
        });
        sealed.is_ok()
    }

    /// Announces the end.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if let Tls::Open(layer) = &mut self.tls {
            layer.close_notify(out);
        }
    }

    /// The CN in the subject of the cloud's certificate; known before [`settle`](Self::settle).
    pub(super) fn cloud_name(&self) -> Option<String> {
        let Tls::Handshake(handshake) = &self.tls else { return None };
        let (_, certificate) = X509Certificate::from_der(handshake.peer_certificate()?).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        Some(name.as_str().ok()?.to_owned())
    }
}

impl Arrived {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.frames.is_empty()
    }
}

/// Opens one whole record.
fn open(
    layer: &mut RecordLayer,
    record: &mut [u8],
    frames: &mut Frames,
    out: &mut Vec<u8>,
) -> Result<TlsState, String> {
    match layer.opener().next(record, out) {
        Ok(Step::Record { opened: Opened::Text(text), .. }) => frames.absorb(&record[text]),
        Ok(Step::Record { opened: Opened::Closed, .. }) => return Ok(TlsState::ClosedByPeer),
        Ok(Step::Record { opened: Opened::Nothing, .. } | Step::Partial { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    Ok(TlsState::Established)
}
