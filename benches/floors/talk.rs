//! What a floor does with the bytes of a connection: TLS as the gateway has it, and after the
//! handshake only what cannot be left out. Records are opened where they were received.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use benches::messages;
use gateway::connection::tls::{Acceptor, CloudCertificate, Handshake, Progress, Transport};
use gateway::identity::{Source, TrustAnchors};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shared::record::{Opened, Records, Step};
use shared::time::UnixTime;

/// All connections have this in common.
pub(crate) struct Tls {
    acceptor: Acceptor,
    /// Said first on every connection.
    csm: Vec<u8>,
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

impl Talk {
    /// Appends a record with what `write` appends, if the handshake is over.
    pub(crate) fn seal(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let Self::Established { records, .. } = self else { return };
        // A key is used up after more requests than a benchmark sends on one connection.
        let _ = records.seal(out, |out| {
            write(out);
            true
        });
    }
}

impl Tls {
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
        let mut csm = Vec::new();
        messages::server_csm(&mut csm);
        Ok(Self { acceptor, csm })
    }

    /// A connection that was accepted.
    pub(crate) fn open(&self) -> Talk {
        self.acceptor.accept().map_or(Talk::Over, |handshake| Talk::Handshake(Box::new(handshake)))
    }

    /// Takes bytes in, appends what goes out. Every text is given to `take`, which may append to what
    /// goes out too. False when the connection has to end.
    pub(crate) fn receive(
        &self,
        talk: &mut Talk,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        take: impl FnMut(&mut Records, &[u8], &mut Vec<u8>),
    ) -> bool {
        match talk {
            Talk::Handshake(_) => self.shake_hands(talk, bytes, out, take).is_ok(),
            Talk::Established { records, partial } => open(records, partial, bytes, out, take),
            Talk::Over => false,
        }
    }

    fn shake_hands(
        &self,
        talk: &mut Talk,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut take: impl FnMut(&mut Records, &[u8], &mut Vec<u8>),
    ) -> Result<()> {
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
        take(&mut records, &established.early, out);
        let mut partial = Vec::new();
        open(&mut records, &mut partial, &mut established.rest, out, take);
        *talk = Talk::Established { records, partial };
        Ok(())
    }
}

fn open(
    records: &mut Records,
    partial: &mut Vec<u8>,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
    take: impl FnMut(&mut Records, &[u8], &mut Vec<u8>),
) -> bool {
    if partial.is_empty() {
        let used = open_all(records, bytes, out, take);
        used.inspect(|&used| partial.extend_from_slice(&bytes[used..])).is_some()
    } else {
        partial.extend_from_slice(bytes);
        let used = open_all(records, partial, out, take);
        used.inspect(|&used| drop(partial.drain(..used))).is_some()
    }
}

/// Opens the whole records at the front. Returns how many bytes they are; none when the connection has
/// to end.
fn open_all(
    records: &mut Records,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
    mut take: impl FnMut(&mut Records, &[u8], &mut Vec<u8>),
) -> Option<usize> {
    let mut used = 0;
    loop {
        let step = records.opener().next(&mut bytes[used..], out).ok()?;
        let Step::Record { len, opened } = step else { return Some(used) };
        match opened {
            Opened::Text(text) => {
                take(records, &bytes[used + text.start..used + text.end], out);
            }
            Opened::Nothing => {}
            Opened::Closed => return None,
        }
        used += len;
    }
}
