//! SIGHUP: certificates and revocation lists are read again while the cloud runs.

use std::fs;
use std::path::{Path, PathBuf};

use gateway::certs::Authority;
use loadtest::demo::GATEWAY;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tests::certificates::wall_clock;
use tests::processes::{Setup, TestCloud};

const DEVICES: u32 = 20;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Writes the manufacturer's revocation list, beside the manufacturer's certificate.
fn write_list(authority: &Path, revoked: &[&CertificateDer<'_>], number: u64) -> PathBuf {
    let (certificate, key) = (read(authority), read(&authority.with_extension("key")));
    let authority_of = Authority::load(&certificate, &key, wall_clock()).unwrap();
    let path = authority.with_file_name("revoked.pem");
    fs::write(&path, authority_of.revocation_list(revoked, number).unwrap()).unwrap();
    path
}

fn with_an_empty_list(config: &mut toml::Table) {
    let tls = config["tls"].as_table_mut().unwrap();
    let authority = tls["manufacturer_anchors"][0].as_str().unwrap();
    let list = write_list(Path::new(authority), &[], 1);
    tls.insert("crls".into(), vec![list.to_str().unwrap()].into());
}

#[test]
fn a_reload_drops_nobody_but_those_who_are_revoked() {
    let mut cloud = TestCloud::start(Setup { gateway: with_an_empty_list, ..Setup::default() });
    cloud.start_swarm(DEVICES);
    let accepted = cloud.total("accepted");
    let device = cloud.cloud.facts().device_cert.to_owned();
    let authority = device.with_file_name("manufacturer-ca.pem");
    let list = authority.with_file_name("revoked.pem");

    // Something is wrong with a file: it is said, and everything stays as it was.
    fs::write(&list, "-----BEGIN X509 CRL-----\nbm90aGluZw==\n-----END X509 CRL-----\n").unwrap();
    cloud.reload_gateway();
    cloud.wait_until("the mistake is told", |cloud| cloud.log(GATEWAY).contains("not reloaded"));
    assert!(cloud.log(GATEWAY).contains("revoked.pem"), "the file is named");

    write_list(&authority, &[], 2);
    cloud.reload_gateway();
    let told = |cloud: &TestCloud| cloud.log(GATEWAY).matches("were read again").count();
    cloud.wait_until("the reload is told", |cloud| told(cloud) == 1);
    assert_eq!(cloud.total("sessions"), u64::from(DEVICES));
    assert_eq!(cloud.total("accepted"), accepted, "nobody had to connect again");

    let certificate = CertificateDer::from_pem_slice(read(&device).as_bytes()).unwrap();
    write_list(&authority, &[&certificate], 3);
    cloud.reload_gateway();
    cloud.wait_until("all are cut off", |cloud| {
        cloud.total("closed_distrusted") == u64::from(DEVICES) && cloud.total("sessions") == 0
    });
    // They try again, and are refused.
    cloud.wait_until("they are refused", |cloud| cloud.total("closed_handshake_failed") > 0);
    assert_eq!(cloud.total("sessions"), 0);
}
