//! What a floor does with the bytes of a connection: TLS as the gateway has it, and after the
//! handshake only what cannot be left out. A record is opened, the token of the request in it copied
//! into an answer that is the same for all, the answer sealed. No users, no routes, no limits.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use benches::messages::{self, FIRST_TOKEN};
use gateway::connection::tls::{Acceptor, CloudCertificate, Handshake, Progress, Transport};
use gateway::identity::{Source, TrustAnchors};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shared::coap::code::Kind;
use shared::coap::{Frame, Framed, ResponseType};
use shared::record::{Opened, Records, Step};
use shared::time::UnixTime;

/// All connections have this in common.
pub(crate) struct Answers {
    acceptor: Acceptor,
    /// Said first on every connection.
    csm: Vec<u8>,
    /// The answer, with [`FIRST_TOKEN`].
    answer: Vec<u8>,
    /// Where the token stands in it.
    token_at: usize,
}

/// One connection.
pub(crate) enum Talk {
    Handshake(Box<Handshake>),
    Established {
        records: Records,
        /// The beginning of a record.
        partial: Vec<u8>,
    },
    /// TLS has failed.
    Over,
}

impl Answers {
    /// The directory has `cloud.pem`, `cloud.key`, `manufacturer-ca.pem` and `identity-ca.pem`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let chain: Vec<_> = CertificateDer::pem_file_iter(directory.join("cloud.pem"))?
            .collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(directory.join("cloud.key"))?;
        let identity = std::fs::read(directory.join("identity-ca.pem"))?;
        let manufacturer = std::fs::read(directory.join("manufacturer-ca.pem"))?;
        let anchors = TrustAnchors::parse(
            &[Source { name: "identity-ca.pem", bytes: &identity }],
            &[Source { name: "manufacturer-ca.pem", bytes: &manufacturer }],
            &[],
        )?;
        let acceptor = Acceptor::new(CloudCertificate { chain, key }, anchors)?;
        acceptor.set_time(UnixTime(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()));
        let (mut csm, mut answer) = (Vec::new(), Vec::new());
        messages::server_csm(&mut csm);
        let body = messages::directory_selection();
        messages::answer(&mut answer, ResponseType::Content, FIRST_TOKEN, &body);
        let token = FIRST_TOKEN.as_bytes();
        let token_at = answer.windows(token.len()).position(|bytes| bytes == token);
        let token_at = token_at.context("the answer has its token")?;
        Ok(Self { acceptor, csm, answer, token_at })
    }

    /// A connection that was accepted.
    pub(crate) fn open(&self) -> Talk {
        self.acceptor.accept().map_or(Talk::Over, |handshake| Talk::Handshake(Box::new(handshake)))
    }

    /// Takes bytes in, appends what goes out. False when the connection has to end.
    pub(crate) fn receive(&self, talk: &mut Talk, bytes: &mut [u8], out: &mut Vec<u8>) -> bool {
        match talk {
            Talk::Handshake(_) => self.shake_hands(talk, bytes, out).is_ok(),
            Talk::Established { records, partial } => self.take(records, partial, bytes, out),
            Talk::Over => false,
        }
    }

    fn shake_hands(&self, talk: &mut Talk, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let Talk::Handshake(mut handshake) = std::mem::replace(talk, Talk::Over) else {
            return Ok(());
        };
        handshake.receive(bytes)?;
        if handshake.step(&self.acceptor, out)? == Progress::Waiting {
            *talk = Talk::Handshake(handshake);
            return Ok(());
        }
        let mut established = handshake.finish(&self.acceptor)?;
        let Transport::Records(mut records) = established.transport else {
            anyhow::bail!("the gateway has been built to keep rustls");
        };
        records.seal(out, |out| {
            out.extend_from_slice(&self.csm);
            true
        })?;
        self.answer_all(&mut records, &established.early, out);
        let mut partial = Vec::new();
        self.take(&mut records, &mut partial, &mut established.rest, out);
        *talk = Talk::Established { records, partial };
        Ok(())
    }

    fn take(
        &self,
        records: &mut Records,
        partial: &mut Vec<u8>,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> bool {
        if partial.is_empty() {
            let used = self.open_all(records, bytes, out);
            used.inspect(|&used| partial.extend_from_slice(&bytes[used..])).is_some()
        } else {
            partial.extend_from_slice(bytes);
            let used = self.open_all(records, partial, out);
            used.inspect(|&used| drop(partial.drain(..used))).is_some()
        }
    }

    /// Opens the whole records at the front and answers what is in them. Returns how many bytes they
    /// are; none when the connection has to end.
    fn open_all(
        &self,
        records: &mut Records,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let mut used = 0;
        loop {
            let step = records.opener().next(&mut bytes[used..], out).ok()?;
            let Step::Record { len, opened } = step else { return Some(used) };
            match opened {
                Opened::Text(text) => {
                    let text = used + text.start..used + text.end;
                    self.answer_all(records, &bytes[text], out);
                }
                Opened::Nothing => {}
                Opened::Closed => return None,
            }
            used += len;
        }
    }

    /// Answers the requests in a record. Devices begin none in one and end it in another.
    fn answer_all(&self, records: &mut Records, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Ok(Framed::Whole(frame, len)) = Frame::parse(rest, text.len()) {
            rest = &rest[len..];
            let token = frame.token.as_bytes();
            if !matches!(frame.code.kind(), Kind::Request(_)) || token.len() != 8 {
                continue;
            }
            // A key is used up after more requests than a benchmark sends on one connection.
            let _ = records.seal(out, |out| {
                let token_at = out.len() + self.token_at;
                out.extend_from_slice(&self.answer);
                out[token_at..token_at + token.len()].copy_from_slice(token);
                true
            });
        }
    }
}
