//! TLS records of an established connection: AES-128-GCM of TLS 1.2 (RFC 5288) and 1.3 (RFC 8446),
//! which is all that devices here offer.
//!
//! It is not the gateway's record layer: what is measured must not be checked by itself. It does what
//! a client of a benchmark needs, and takes anything else as the end of the connection.

use anyhow::{Result, bail};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

/// Bytes before what a record holds.
pub(crate) const HEADER_BYTES: usize = 5;
/// The part of a nonce that TLS 1.2 sends along.
const EXPLICIT_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Both directions of a connection.
pub(crate) struct Records {
    tls13: bool,
    sealing: Half,
    opening: Half,
}

struct Half {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

/// What a record held.
pub(crate) enum Opened<'a> {
    /// Text.
    Text(&'a [u8]),
    /// Something that a client may ignore: a ticket.
    Nothing,
    /// The end.
    Closed,
}

impl Records {
    /// From what rustls has agreed on.
    pub(crate) fn new(secrets: ExtractedSecrets, tls13: bool) -> Result<Self> {
        let (tx, rx) = (secrets.tx, secrets.rx);
        Ok(Self { tls13, sealing: Half::new(tx)?, opening: Half::new(rx)? })
    }

    /// Appends a record with this text.
    pub(crate) fn seal(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.seal_as(APPLICATION_DATA, text, out)
    }

    /// Appends the alert that says goodbye.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.seal_as(ALERT, &[1, 0], out)
    }

    fn seal_as(&mut self, kind: u8, text: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let sequence = self.sealing.next();
        let tag = if self.tls13 {
            let len = (text.len() + 1 + TAG_BYTES) as u16;
            let header = header(APPLICATION_DATA, len);
            out.extend_from_slice(&header);
            out.extend_from_slice(text);
            out.push(kind);
            let nonce = self.sealing.nonce13(sequence);
            let sealed = &mut out[start + HEADER_BYTES..];
            self.sealing.key.seal_in_place_separate_tag(nonce, Aad::from(header), sealed)
        } else {
            let len = (EXPLICIT_BYTES + text.len() + TAG_BYTES) as u16;
            out.extend_from_slice(&header(kind, len));
            out.extend_from_slice(&sequence.to_be_bytes());
            out.extend_from_slice(text);
            let nonce = self.sealing.nonce12(sequence.to_be_bytes());
            let aad = Aad::from(additional_data12(sequence, kind, text.len()));
            let sealed = &mut out[start + HEADER_BYTES + EXPLICIT_BYTES..];
            self.sealing.key.seal_in_place_separate_tag(nonce, aad, sealed)
        };
        match tag {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            Err(_) => bail!("a record cannot be sealed"),
        }
        Ok(())
    }

    /// Opens a whole record, in place.
    pub(crate) fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<Opened<'a>> {
        let Some((&mut header, sealed)) = record.split_first_chunk_mut::<HEADER_BYTES>() else {
            bail!("half a record");
        };
        let sequence = self.opening.next();
        let (kind, text) = if self.tls13 {
            let nonce = self.opening.nonce13(sequence);
            let opened = self.opening.key.open_in_place(nonce, Aad::from(header), sealed);
            let Ok(inner) = opened else { bail!("a record that is not the server's") };
            let Some(last) = inner.iter().rposition(|&byte| byte != 0) else {
                bail!("a record without a type");
            };
            (inner[last], &inner[..last])
        } else {
            let Some((&mut explicit, sealed)) = sealed.split_first_chunk_mut() else {
                bail!("half a record");
            };
            let nonce = self.opening.nonce12(explicit);
            let text_len = sealed.len().saturating_sub(TAG_BYTES);
            let aad = Aad::from(additional_data12(sequence, header[0], text_len));
            let opened = self.opening.key.open_in_place(nonce, aad, sealed);
            let Ok(text) = opened else { bail!("a record that is not the server's") };
            (header[0], &*text)
        };
        match kind {
            APPLICATION_DATA => Ok(Opened::Text(text)),
            HANDSHAKE => Ok(Opened::Nothing),
            ALERT => Ok(Opened::Closed),
            other => bail!("a record of type {other}"),
        }
    }
}

impl Half {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            bail!("another suite than AES-128-GCM");
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref());
        let (Ok(key), Ok(iv)) = (key, iv.as_ref().try_into()) else { bail!("keys of other sizes") };
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    /// RFC 8446 §5.3.
    fn nonce13(&self, sequence: u64) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, with)| *byte ^= with);
        Nonce::assume_unique_for_key(nonce)
    }

    /// RFC 5288 §3.
    fn nonce12(&self, explicit: [u8; EXPLICIT_BYTES]) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..].copy_from_slice(&explicit);
        Nonce::assume_unique_for_key(nonce)
    }
}

fn header(kind: u8, len: u16) -> [u8; HEADER_BYTES] {
    let [high, low] = len.to_be_bytes();
    [kind, 3, 3, high, low]
}

/// RFC 5246 §6.2.3.3.
fn additional_data12(sequence: u64, kind: u8, text_len: usize) -> [u8; 13] {
    let mut data = [0; 13];
    data[..8].copy_from_slice(&sequence.to_be_bytes());
    data[8..11].copy_from_slice(&[kind, 3, 3]);
    data[11..].copy_from_slice(&(text_len as u16).to_be_bytes());
    data
}

/// Bytes of the record at the front, once its header is there.
pub(crate) fn record_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}
