//! What the configuration names: certificates, trust anchors, groups, addresses.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shared::config::Invalid;
use shared::ids::CloudId;

use super::start::StartError;
use crate::config::Tls;
use crate::connection::tls::{Acceptor, CloudCertificate};
use crate::identity::{Source, TrustAnchors, names_cloud};

/// How long an earlier run may go on to listen after its end.
const EARLIER_RUN: Duration = Duration::from_secs(5);
/// Between two looks whether it still does.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The number of a group: as it is, or by its name in the system's list.
pub(super) fn group_id(name: &str) -> Result<u32, StartError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let list = fs::read_to_string("/etc/group").unwrap_or_default();
    let found = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| {
        StartError::Config(Invalid::new("control.group", format!("no group is called {name}")))
    })
}

fn file(
    key: &'static str,
    path: &Path,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> StartError {
    let path = path.to_path_buf();
    move |cause| StartError::File { key, path: path.clone(), cause }
}

/// The cloud's chain and key; the chain has to name the cloud.
pub(super) fn load_certificate(tls: &Tls, cloud: CloudId) -> Result<CloudCertificate, StartError> {
    let failed = file("tls.certificate", &tls.certificate);
    let chain: Vec<_> = CertificateDer::pem_file_iter(&tls.certificate)
        .map_err(|error| failed(error.into()))?
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.into()))?;
    let leaf = chain.first().ok_or_else(|| failed("it has no certificate in PEM form".into()))?;
    names_cloud(leaf, cloud).map_err(|error| failed(error.into()))?;
    let failed = file("tls.key", &tls.key);
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| failed(error.into()))?;
    Ok(CloudCertificate { chain, key })
}

/// The TLS side of a shard.
pub(super) fn acceptor(tls: &Tls, certificate: CloudCertificate) -> Result<Acceptor, StartError> {
    Acceptor::new(certificate, load_anchors(tls)?).map_err(StartError::Certificate)
}

fn load_anchors(tls: &Tls) -> Result<TrustAnchors, StartError> {
    let read = |key: &'static str, paths: &[PathBuf]| {
        paths
            .iter()
            .map(|path| {
                let bytes = fs::read(path).map_err(|error| file(key, path)(error.into()))?;
                Ok((path.display().to_string(), bytes))
            })
            .collect::<Result<Vec<_>, StartError>>()
    };
    let identity = read("tls.identity_anchors", &tls.identity_anchors)?;
    let manufacturer = read("tls.manufacturer_anchors", &tls.manufacturer_anchors)?;
    let crls = read("tls.crls", &tls.crls)?;
    Ok(TrustAnchors::parse(&sources(&identity), &sources(&manufacturer), &sources(&crls))?)
}

fn sources(files: &[(String, Vec<u8>)]) -> Vec<Source<'_>> {
    files.iter().map(|(name, bytes)| Source { name, bytes }).collect()
}

/// Finds out that somebody else listens at one of these addresses. The listeners of the shards share
/// theirs (`SO_REUSEPORT`), and would share it with another gateway of the same user without a word:
/// each of the two would get some of the devices.
///
/// The kernel takes some time to close the rings of a process that was killed: an earlier run may
/// listen for some moments more.
pub(super) fn refuse_taken_addresses(addresses: &[SocketAddr]) -> Result<(), StartError> {
    let late = Instant::now() + EARLIER_RUN;
    for &address in addresses {
        while let Err(cause) = bind_alone(address) {
            if cause.kind() != io::ErrorKind::AddrInUse || Instant::now() >= late {
                return Err(StartError::Listen { address, cause });
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }
    Ok(())
}

fn bind_alone(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of an earlier run that the kernel still remembers are in nobody's way.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(bind(&socket, &address)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ring::listen;

    #[test]
    fn an_address_where_somebody_listens_is_refused_even_if_it_could_be_shared() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 16).unwrap();
        let address = first.local_addr().unwrap();
        assert!(listen(address, 16).is_ok(), "it can be shared");
        let refused = refuse_taken_addresses(&[address]).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("cannot listen on {address}")), "{refused}");
        assert!(refused.contains("Another program has the port"), "{refused}");
        drop(first);
        refuse_taken_addresses(&[address]).unwrap();
    }

    #[test]
    fn a_group_is_known_by_number_or_name() {
        assert_eq!(group_id("7").unwrap(), 7);
        assert_eq!(group_id("root").unwrap(), 0);
        let unknown = group_id("nobody-is-called-so").unwrap_err().to_string();
        assert!(unknown.starts_with("control.group: "), "{unknown}");
    }
}
