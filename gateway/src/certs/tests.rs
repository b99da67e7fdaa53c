//! What is made has the form that devices and the gateway ask for, and never replaces anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Parser;

use super::*;
use crate::identity::{PeerKind, Source, TrustAnchors};

const NOW: UnixTime = UnixTime(1_800_000_000);
const CLOUD: &str = "11111111-2222-4333-8444-555555555555";
const DEVICE: &str = "66666666-7777-4888-8999-000000000000";

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    certs: Certs,
}

fn run(arguments: &[&str]) -> Result<String, CertsError> {
    let command_line = CommandLine::try_parse_from([&["certs"], arguments].concat()).unwrap();
    let mut out = Vec::new();
    command_line.certs.run(NOW, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn init(dir: &Path) -> Result<String, CertsError> {
    let dir = dir.to_str().unwrap();
    run(&[
        "init",
        "--dir",
        dir,
        "--cloud-id",
        CLOUD,
        "--host",
        "cloud.example.com",
        "--host",
        "::1",
    ])
}

#[test]
fn the_cloud_gets_the_certificate_that_devices_expect() {
    let root = Authority::generate("root", NOW).unwrap();
    let hosts = ["cloud.example.com".to_owned(), "192.0.2.1".to_owned()];
    let issued = root.issue_cloud(CLOUD.parse().unwrap(), &hosts).unwrap();
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(leaf.subject().to_string(), format!("CN=uuid:{CLOUD}"));
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.key_agreement());
    let usages = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usages.server_auth && usages.client_auth);
    assert_eq!(
        usages.other.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["1.3.6.1.4.1.44924.1.6"]
    );
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 2);
    assert!(leaf.validity().not_before.timestamp() < NOW.0 as i64);
    let unknown_host = root.issue_cloud(CLOUD.parse().unwrap(), &["ümlaut".to_owned()]);
    assert!(matches!(unknown_host, Err(CertsError::Host { .. })));
}

#[test]
fn devices_get_certificates_that_the_gateway_takes_for_what_they_are() {
    let identity = Authority::generate("identity", NOW).unwrap();
    let under_identity = identity.subordinate("identity 2").unwrap();
    let manufacturer = Authority::generate("manufacturer", NOW).unwrap();
    let pem = [identity.certificate_pem(), manufacturer.certificate_pem()];
    let source = |at: usize| [Source { name: "test", bytes: pem[at].as_bytes() }];
    let anchors = TrustAnchors::parse(&source(0), &source(1), &[]).unwrap();
    let device: DeviceId = DEVICE.parse().unwrap();

    for authority in [&identity, &under_identity] {
        let issued = authority.issue_identity(device).unwrap();
        assert_eq!(anchors.verify(&issued.chain, NOW).unwrap().kind, PeerKind::Identity(device));
    }
    let issued = manufacturer.issue_manufacturer(&format!("uuid:{DEVICE}")).unwrap();
    assert_eq!(anchors.verify(&issued.chain, NOW).unwrap().kind, PeerKind::Manufacturer);
}

#[test]
fn what_is_written_in_pem_reads_back() {
    let root = Authority::generate("root", NOW).unwrap();
    let issued = root.subordinate("sub").unwrap().issue_manufacturer("lamp").unwrap();
    let text = issued.chain_pem();
    let read: Vec<_> =
        CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
    assert_eq!(read, issued.chain);
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem().as_bytes()).unwrap();
    assert_eq!(key, issued.key);

    let again = Authority::load(&root.certificate_pem(), &root.key_pem(), NOW).unwrap();
    let pem = root.certificate_pem();
    let anchor = [Source { name: "test", bytes: pem.as_bytes() }];
    let anchors = TrustAnchors::parse(&[], &anchor, &[]).unwrap();
    let by_the_loaded = again.issue_manufacturer("lamp").unwrap();
    assert_eq!(anchors.verify(&by_the_loaded.chain, NOW).unwrap().kind, PeerKind::Manufacturer);
}

#[test]
fn an_authority_is_not_taken_up_with_a_key_of_another_or_from_a_device() {
    let [root, other] = ["root", "other"].map(|name| Authority::generate(name, NOW).unwrap());
    let leaf = root.issue_manufacturer("lamp").unwrap();
    for (certificate, key, expected) in [
        (root.certificate_pem(), other.key_pem(), "another certificate"),
        (leaf.chain_pem(), leaf.key_pem(), "not the certificate of an authority"),
        (root.key_pem(), root.key_pem(), "no certificate"),
        (root.certificate_pem(), root.certificate_pem(), "no key"),
    ] {
        let error = Authority::load(&certificate, &key, NOW).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn init_makes_everything_once_and_never_replaces_it_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("certs");
    let told = init(&dir).unwrap();
    let names = ["server-ca", "cloud", "identity-ca", "manufacturer-ca"];
    for name in names {
        let mode = fs::metadata(dir.join(format!("{name}.key"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        assert!(dir.join(format!("{name}.pem")).exists(), "{name}");
    }
    // What is told can be pasted into the configuration.
    let configuration = told.split_once("ocf-gateway:\n").unwrap().1;
    let config: crate::config::Config = toml::from_str(configuration).unwrap();
    assert_eq!(config.cloud.id.to_string(), CLOUD);
    assert!(config.tls.key.is_absolute() && config.tls.key.exists());

    let before = fs::read(dir.join("server-ca.key")).unwrap();
    assert!(matches!(init(&dir), Err(CertsError::Exists { .. })));
    assert_eq!(fs::read(dir.join("server-ca.key")).unwrap(), before);

    // The cloud's certificate alone can be made again.
    let dir = dir.to_str().unwrap();
    let cloud = ["cloud", "--dir", dir, "--cloud-id", CLOUD, "--host", "localhost"];
    assert!(matches!(run(&cloud), Err(CertsError::Exists { .. })));
    run(&[&cloud[..], &["--force"]].concat()).unwrap();
    assert_eq!(fs::read(Path::new(dir).join("server-ca.key")).unwrap(), before);
}

#[test]
fn device_makes_a_certificate_of_either_kind_and_needs_the_authority() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let (certs_arg, out) = (certs.to_str().unwrap(), dir.path().join("lamp.1"));
    let out_arg = out.to_str().unwrap();
    let identity = ["device", "--dir", certs_arg, "--identity", DEVICE, "--out", out_arg];
    let error = run(&identity).unwrap_err().to_string();
    assert!(error.contains("certs init"), "{error}");
    init(&certs).unwrap();
    run(&identity).unwrap();
    assert!(dir.path().join("lamp.1.pem").exists() && dir.path().join("lamp.1.key").exists());
    let manufacturer = ["device", "--dir", certs_arg, "--manufacturer", "lamp", "--out", out_arg];
    assert!(matches!(run(&manufacturer), Err(CertsError::Exists { .. })));
    run(&[&manufacturer[..], &["--force"]].concat()).unwrap();

    let neither = ["certs", "device", "--dir", certs_arg, "--out", out_arg];
    assert!(CommandLine::try_parse_from(neither).is_err());
}
