//! Received bytes to text, in place.

use std::ops::Range;

use aws_lc_rs::aead::{Aad, LessSafeKey};

use super::keys::Expanded;
use super::posthandshake::Wish;
use super::{
    HEADER_BYTES, RECORD_BYTES_MAX, RecordError, Records, State, TEXT_BYTES_MAX, Temper, content,
};

/// What stands at the front of received bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Not a whole record yet. `needed` bytes make one, or at least its header.
    Partial {
        /// Bytes from the front, always more than there are.
        needed: usize,
    },
    /// A record of so many bytes.
    Record {
        /// Bytes that the record took.
        len: usize,
        /// What was in it.
        opened: Opened,
    },
}

/// What was in a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opened {
    /// Text, decrypted in place: where it stands in the bytes. May be empty.
    Text(Range<usize>),
    /// Nothing that concerns the text.
    Nothing,
    /// The peer has said goodbye.
    Closed,
}

/// What an authenticated record came to.
enum Taken {
    Text,
    Nothing,
    Closed,
}

/// Bytes of the nonce that a TLS 1.2 record carries (RFC 5288 §3).
const EXPLICIT_NONCE_BYTES: usize = 8;

/// Opens records while it lives, with the key expanded once.
pub struct Opener<'r> {
    records: &'r mut Records,
    expanded: Expanded,
}

impl Records {
    /// Begins to open records. `out` of [`Opener::next`] takes what TLS itself has to say.
    pub fn opener(&mut self) -> Opener<'_> {
        let expanded = self.read.expand(self.suite);
        Opener { records: self, expanded }
    }
}

impl Opener<'_> {
    /// Opens the record at the front of `bytes`. After an error nothing more can be opened; the
    /// alert for the peer, if one is due, has been appended to `out`.
    pub fn next(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> Result<Step, RecordError> {
        self.open(bytes, out).inspect_err(|error| {
            if let Some(alert) = error.alert() {
                self.records.fatal_alert(out, alert);
            }
        })
    }

    fn open(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> Result<Step, RecordError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(Step::Partial { needed: HEADER_BYTES });
        };
        let header = *header;
        let body_len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let len = HEADER_BYTES + body_len;
        if len > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        if self.records.state == State::PeerClosed {
            return Err(RecordError::Unexpected);
        }
        self.check_header(&header)?;
        let Some(body) = bytes.get_mut(HEADER_BYTES..len) else {
            return Ok(Step::Partial { needed: len });
        };
        let (kind, text) = match self.records.suite.is_tls13() {
            true => self.open_tls13(header, body)?,
            false => self.open_tls12(header, body)?,
        };
        self.records.read.count();
        let opened = match self.take(kind, &body[text.clone()], out)? {
            Taken::Text => Opened::Text(HEADER_BYTES + text.start..HEADER_BYTES + text.end),
            Taken::Nothing => Opened::Nothing,
            Taken::Closed => Opened::Closed,
        };
        Ok(Step::Record { len, opened })
    }

    fn check_header(&self, header: &[u8; HEADER_BYTES]) -> Result<(), RecordError> {
        // RFC 8446 §5.1 has the version ignored in TLS 1.3; it is authenticated there anyway.
        if !self.records.suite.is_tls13() && header[1..3] != [3, 3] {
            return Err(RecordError::Version);
        }
        let fits = match self.records.suite.is_tls13() {
            true => header[0] == content::APPLICATION_DATA,
            false => header[0] != content::CHANGE_CIPHER_SPEC,
        };
        if fits { Ok(()) } else { Err(RecordError::Unexpected) }
    }

    /// RFC 5246 §6.2.3.3, RFC 5288 §3.
    fn open_tls12(
        &self,
        header: [u8; HEADER_BYTES],
        body: &mut [u8],
    ) -> Result<(u8, Range<usize>), RecordError> {
        let (explicit, sealed) =
            body.split_first_chunk_mut::<EXPLICIT_NONCE_BYTES>().ok_or(RecordError::BadRecord)?;
        let tag_len = self.key().algorithm().tag_len();
        let text_len = sealed.len().checked_sub(tag_len).ok_or(RecordError::BadRecord)?;
        if text_len > TEXT_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        let nonce = Expanded::unique(self.expanded.nonce_with(explicit));
        let mut additional = [0; 13];
        additional[..8].copy_from_slice(&self.records.read.sequence().to_be_bytes());
        additional[8..11].copy_from_slice(&header[..3]);
        additional[11..].copy_from_slice(&(text_len as u16).to_be_bytes());
        self.key()
            .open_in_place(nonce, Aad::from(additional), sealed)
            .map_err(|_| RecordError::BadRecord)?;
        Ok((header[0], EXPLICIT_NONCE_BYTES..EXPLICIT_NONCE_BYTES + text_len))
    }

    /// RFC 8446 §5.2, §5.4.
    fn open_tls13(
        &self,
        header: [u8; HEADER_BYTES],
        body: &mut [u8],
    ) -> Result<(u8, Range<usize>), RecordError> {
        if body.len() > TEXT_BYTES_MAX + 256 {
            return Err(RecordError::TooLong);
        }
        let nonce = Expanded::unique(self.expanded.nonce(self.records.read.sequence()));
        let inner = self
            .key()
            .open_in_place(nonce, Aad::from(header), body)
            .map_err(|_| RecordError::BadRecord)?;
        if inner.len() > TEXT_BYTES_MAX + 1 {
            return Err(RecordError::TooLong);
        }
        // The content type is the last byte that is not padding.
        let end = inner.iter().rposition(|&byte| byte != 0).ok_or(RecordError::Unexpected)?;
        Ok((inner[end], 0..end))
    }

    fn key(&self) -> &LessSafeKey {
        self.expanded.key()
    }

    /// Does what an authenticated record asks for.
    fn take(&mut self, kind: u8, text: &[u8], out: &mut Vec<u8>) -> Result<Taken, RecordError> {
        // A handshake message in several records stands alone (RFC 8446 §5.1).
        if kind != content::HANDSHAKE && self.records.reassembly.is_under_way() {
            return Err(RecordError::Unexpected);
        }
        match kind {
            content::APPLICATION_DATA => {
                if text.is_empty() {
                    Temper::spend(&mut self.records.temper.empty_records)?;
                } else {
                    self.records.temper.refill();
                }
                Ok(Taken::Text)
            }
            content::ALERT => self.take_alert(text),
            content::HANDSHAKE => {
                self.take_handshake(text, out)?;
                Ok(Taken::Nothing)
            }
            _ => Err(RecordError::Unexpected),
        }
    }

    fn take_alert(&mut self, text: &[u8]) -> Result<Taken, RecordError> {
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        let &[level, description] = text else { return Err(RecordError::Malformed) };
        if !matches!(level, WARNING | FATAL) {
            return Err(RecordError::Malformed);
        }
        match description {
            CLOSE_NOTIFY => {
                self.records.state = State::PeerClosed;
                Ok(Taken::Closed)
            }
            // TLS 1.3 takes every alert as final whatever its level, but for these two.
            USER_CANCELED => {
                Temper::spend(&mut self.records.temper.warnings)?;
                Ok(Taken::Nothing)
            }
            _ if level == WARNING && !self.records.suite.is_tls13() => {
                Temper::spend(&mut self.records.temper.warnings)?;
                Ok(Taken::Nothing)
            }
            description => Err(RecordError::PeerAlert(description)),
        }
    }

    fn take_handshake(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let mut rest = text;
        if rest.is_empty() {
            return Err(RecordError::Unexpected);
        }
        while !rest.is_empty() {
            let (suite, side) = (self.records.suite, self.records.side);
            let (wish, used) = self.records.reassembly.feed(rest, suite, side)?;
            rest = &rest[used..];
            match wish {
                None => {}
                Some(Wish::NewReadKey { answer }) => {
                    // Nothing may follow under the old key in the same record.
                    if !rest.is_empty() {
                        return Err(RecordError::Unexpected);
                    }
                    Temper::spend(&mut self.records.temper.key_updates)?;
                    self.records.read.update(suite)?;
                    self.expanded = self.records.read.expand(suite);
                    self.records.key_update_due |= answer;
                }
                Some(Wish::Renegotiation) => {
                    Temper::spend(&mut self.records.temper.renegotiations)?;
                    self.records.warn_no_renegotiation(out);
                }
            }
        }
        Ok(())
    }
}
