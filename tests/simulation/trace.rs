//! What has happened, step by step: a digest always, text when somebody reads it.

use std::fmt::{self, Write as _};

use shared::time::Instant;

pub(super) struct Trace {
    digest: u64,
    line: String,
    printed: bool,
}

impl Trace {
    pub(super) fn new(printed: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, line: String::new(), printed }
    }

    /// FNV-1a over all lines.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Bytes that are in the digest and not in the text.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn tell(&mut self, step: u64, at: Instant, what: fmt::Arguments<'_>) {
        self.line.clear();
        let micros = at.as_nanos() / 1000;
        let _ = write!(self.line, "{step:>7} {:>5}.{:06} ", micros / 1_000_000, micros % 1_000_000);
        let _ = self.line.write_fmt(what);
        self.line.push('\n');
        let line = std::mem::take(&mut self.line);
        self.bytes(line.as_bytes());
        self.line = line;
        if self.printed {
            print!("{}", self.line);
        }
    }
}

/// A message in a few words: code, token, Observe, and how its payload begins.
pub(super) fn brief(message: &crate::message::Msg) -> String {
    const SHOWN: usize = 60;
    let token = message.token.and_then(|token| token.as_u64()).unwrap_or_default();
    let begins = &message.payload[..message.payload.len().min(SHOWN)];
    let mut words = format!("{} {token:x}", message.code);
    if let Some(observe) = message.observed() {
        let _ = write!(words, " observe {observe}");
    }
    if message.code.class() == 0 {
        let _ = write!(words, " {}", message.path());
    }
    let _ = write!(words, " {} bytes {}", message.payload.len(), begins.escape_ascii());
    words
}
