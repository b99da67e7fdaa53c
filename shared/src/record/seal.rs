//! Text to records, in place at the end of a buffer.

use aws_lc_rs::aead::Aad;

use super::keys::Expanded;
use super::{Alert, HEADER_BYTES, RecordError, Records, TEXT_BYTES_MAX, content};

const WARNING: u8 = 1;
const FATAL: u8 = 2;

impl Records {
    /// Seals what `write` appends to `out`: in one record, or as many as it needs. When `write` says
    /// no, `out` is left as it was.
    ///
    /// # Errors
    /// [`RecordError::KeyUsedUp`] when the key may protect no more and there is no other: the
    /// connection has to end. Nothing has been appended then.
    pub fn seal(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<(), RecordError> {
        if self.key_update_due || self.write.is_nearly_used_up() {
            self.replace_write_key(out)?;
        }
        let start = out.len();
        out.resize(start + self.bytes_before_text(), 0);
        if !write(out) {
            out.truncate(start);
            return Ok(());
        }
        let expanded = self.write.expand(self.suite);
        self.seal_text(&expanded, out, start, content::APPLICATION_DATA);
        Ok(())
    }

    /// Says goodbye. Nothing may be sealed after it.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        self.alert(out, WARNING, Alert::CloseNotify);
    }

    pub(super) fn fatal_alert(&mut self, out: &mut Vec<u8>, alert: Alert) {
        let level = if alert == Alert::CloseNotify { WARNING } else { FATAL };
        self.alert(out, level, alert);
    }

    pub(super) fn warn_no_renegotiation(&mut self, out: &mut Vec<u8>) {
        self.alert(out, WARNING, Alert::NoRenegotiation);
    }

    fn alert(&mut self, out: &mut Vec<u8>, level: u8, alert: Alert) {
        let expanded = self.write.expand(self.suite);
        self.seal_copy(&expanded, out, &[level, alert as u8], content::ALERT);
    }

    /// Tells the peer that we go on to our next key, and does so: once, however often it has asked.
    fn update_write_key(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        const KEY_UPDATE_NOT_REQUESTED: [u8; 5] = [24, 0, 0, 1, 0];
        let expanded = self.write.expand(self.suite);
        self.seal_copy(&expanded, out, &KEY_UPDATE_NOT_REQUESTED, content::HANDSHAKE);
        self.key_update_due = false;
        self.write.update(self.suite)
    }

    /// The key is to be replaced before it is used up. TLS 1.2 has no other.
    fn replace_write_key(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if self.suite.is_tls13() {
            return self.update_write_key(out);
        }
        if self.write.is_used_up() {
            return Err(RecordError::KeyUsedUp);
        }
        Ok(())
    }

    fn seal_copy(&mut self, expanded: &Expanded, out: &mut Vec<u8>, text: &[u8], kind: u8) {
        let start = out.len();
        out.resize(start + self.bytes_before_text(), 0);
        out.extend_from_slice(text);
        self.seal_text(expanded, out, start, kind);
    }

    fn bytes_before_text(&self) -> usize {
        HEADER_BYTES + self.suite.explicit_nonce_bytes()
    }

    /// The tag, and in TLS 1.3 the content type.
    fn bytes_after_text(&self) -> usize {
        usize::from(self.suite.is_tls13()) + self.suite.aead().tag_len()
    }

    /// Seals the text that ends the buffer, in as many records as it needs. The first one begins at
    /// `start`, and has room before its text.
    fn seal_text(&mut self, expanded: &Expanded, out: &mut Vec<u8>, start: usize, kind: u8) {
        let (before, after) = (self.bytes_before_text(), self.bytes_after_text());
        let text_at = start + before;
        let text_len = out.len() - text_at;
        let records = text_len.div_ceil(TEXT_BYTES_MAX).max(1);
        out.resize(start + records * (before + after) + text_len, 0);
        let record_bytes_max = before + TEXT_BYTES_MAX + after;
        // Parts move towards the end, the last one first: none comes to lie on one that has not moved.
        for nth in (1..records).rev() {
            let part = nth * TEXT_BYTES_MAX..text_len.min((nth + 1) * TEXT_BYTES_MAX);
            let to = text_at + nth * record_bytes_max;
            out.copy_within(text_at + part.start..text_at + part.end, to);
        }
        for record in out[start..].chunks_mut(record_bytes_max) {
            self.seal_record(expanded, record, kind);
        }
    }

    /// Seals a record whose text is in its place.
    fn seal_record(&mut self, expanded: &Expanded, record: &mut [u8], kind: u8) {
        let (text_at, after) = (self.bytes_before_text(), self.bytes_after_text());
        let text_len = record.len() - text_at - after;
        debug_assert!(text_len <= TEXT_BYTES_MAX);
        let sequence = self.write.sequence();
        let nonce = expanded.nonce(sequence);
        let body_len = record.len() - HEADER_BYTES;
        let tls13 = self.suite.is_tls13();
        let outer = if tls13 { content::APPLICATION_DATA } else { kind };
        let [high, low] = (body_len as u16).to_be_bytes();
        let header = [outer, 3, 3, high, low];
        let tag_at = record.len() - self.suite.aead().tag_len();
        let (sealed, tag) = record.split_at_mut(tag_at);
        sealed[..HEADER_BYTES].copy_from_slice(&header);
        let mut additional = [0; 13];
        let additional = if tls13 {
            sealed[tag_at - 1] = kind;
            additional[..HEADER_BYTES].copy_from_slice(&header);
            &additional[..HEADER_BYTES]
        } else {
            sealed[HEADER_BYTES..text_at].copy_from_slice(&nonce[4..]);
            additional[..8].copy_from_slice(&sequence.to_be_bytes());
            additional[8..11].copy_from_slice(&header[..3]);
            additional[11..].copy_from_slice(&(text_len as u16).to_be_bytes());
            &additional[..]
        };
        let computed = expanded
            .key()
            .seal_in_place_separate_tag(
                Expanded::unique(nonce),
                Aad::from(additional),
                &mut sealed[text_at..],
            )
            .expect("no record is as long as what the cipher takes");
        tag.copy_from_slice(computed.as_ref());
        self.write.count();
    }
}

/// What a peer that breaks the rules would send, for tests and fuzzing.
#[cfg(any(test, feature = "fuzzing"))]
impl Records {
    /// Seals anything as a record of any content type; in TLS 1.3 type 0 stands for "as it is".
    pub fn seal_any(&mut self, out: &mut Vec<u8>, text: &[u8], kind: u8) {
        let expanded = self.write.expand(self.suite);
        self.seal_copy(&expanded, out, text, kind);
    }

    /// Goes on to the next key in TLS 1.3, and asks the peer to do so too or not.
    ///
    /// # Panics
    /// In TLS 1.2.
    pub fn send_key_update(&mut self, out: &mut Vec<u8>, request: bool) {
        self.seal_any(out, &[24, 0, 0, 1, u8::from(request)], content::HANDSHAKE);
        self.write.update(self.suite).expect("only TLS 1.3 has key updates");
    }
}
