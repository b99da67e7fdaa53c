//! `ocf-gateway certs`: the files of a development or small installation.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use shared::ids::{CloudId, DeviceId};
use shared::time::UnixTime;

use super::{Authority, CertsError, Issued};

/// Makes certificates for development and small installations.
#[derive(Args, Debug)]
pub struct Certs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make all authorities and the cloud's certificate.
    Init(Init),
    /// Make the cloud's certificate again, before it expires or for other hosts.
    Cloud(Cloud),
    /// Make a certificate for one device.
    Device(Device),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ocf-gateway certs init --dir certs --cloud-id 11111111-2222-4333-8444-555555555555 \\
      --host cloud.example.com --host 192.0.2.1

Makes in the directory:
  server-ca.pem         trust anchor of the cloud: give it to every device
  cloud.pem             the cloud's certificate: tls.certificate
  identity-ca.pem       tls.identity_anchors: proves which device somebody is
  manufacturer-ca.pem   tls.manufacturer_anchors: proves a genuine product
and to each the private key (*.key), readable by the owner only. Keep the three keys of the
authorities off the servers.")]
struct Init {
    #[command(flatten)]
    cloud: Cloud,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  ocf-gateway certs cloud --dir certs --cloud-id 11111111-2222-4333-8444-555555555555 \\
      --host cloud.example.com --force

Signs with server-ca.key in the directory. The gateway takes the new certificate on SIGHUP.")]
struct Cloud {
    /// Where the files are made.
    #[arg(long)]
    dir: PathBuf,
    /// The cloud's UUID, cloud.id in the configuration. It can never change.
    #[arg(long, value_name = "UUID")]
    cloud_id: CloudId,
    /// DNS name or address of the cloud; give it once for each.
    #[arg(long = "host", value_name = "HOST", required = true)]
    hosts: Vec<String>,
    /// Replace files that exist. A replaced authority is lost: devices that trust it must be
    /// onboarded again.
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ocf-gateway certs device --dir certs --identity 66666666-7777-4888-8999-000000000000 --out lamp
  ocf-gateway certs device --dir certs --manufacturer 'Example lamp 1234' --out lamp

Makes lamp.pem and lamp.key. Signs with identity-ca.key or manufacturer-ca.key in the directory.")]
struct Device {
    /// Where `certs init` made the authorities.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    kind: DeviceKind,
    /// Path of the new files, without .pem and .key.
    #[arg(long, value_name = "PREFIX")]
    out: PathBuf,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct DeviceKind {
    /// A certificate that proves this device id.
    #[arg(long, value_name = "DI")]
    identity: Option<DeviceId>,
    /// A certificate of this name that proves a genuine product.
    #[arg(long, value_name = "NAME")]
    manufacturer: Option<String>,
}

const SERVER_CA: &str = "server-ca";
const IDENTITY_CA: &str = "identity-ca";
const MANUFACTURER_CA: &str = "manufacturer-ca";
const CLOUD: &str = "cloud";

/// A pair of files to be written: prefix, certificates, key.
struct Files {
    prefix: PathBuf,
    certificates: String,
    key: String,
}

impl Certs {
    /// Carries the command out and tells what was made.
    pub fn run(&self, now: UnixTime, out: &mut dyn Write) -> Result<(), CertsError> {
        match &self.command {
            Command::Init(Init { cloud }) => init(cloud, now, out),
            Command::Cloud(cloud) => {
                let server = read_authority(&cloud.dir.join(SERVER_CA), now)?;
                let issued = server.issue_cloud(cloud.cloud_id, &cloud.hosts)?;
                write(&[issued_files(cloud.dir.join(CLOUD), &issued)], cloud.force, out)
            }
            Command::Device(device) => make_device(device, now, out),
        }
    }
}

fn init(cloud: &Cloud, now: UnixTime, out: &mut dyn Write) -> Result<(), CertsError> {
    let server = Authority::generate("OCF Cloud server authority", now)?;
    let identity = Authority::generate("OCF Cloud identity authority", now)?;
    let manufacturer = Authority::generate("OCF Cloud manufacturer authority", now)?;
    let issued = server.issue_cloud(cloud.cloud_id, &cloud.hosts)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&cloud.dir)
        .map_err(failed(&cloud.dir, "create the directory"))?;
    let files = [
        authority_files(cloud.dir.join(SERVER_CA), &server),
        issued_files(cloud.dir.join(CLOUD), &issued),
        authority_files(cloud.dir.join(IDENTITY_CA), &identity),
        authority_files(cloud.dir.join(MANUFACTURER_CA), &manufacturer),
    ];
    write(&files, cloud.force, out)?;
    tell_configuration(cloud, out).map_err(failed(Path::new("output"), "write"))
}

/// What to put into the configuration.
fn tell_configuration(cloud: &Cloud, out: &mut dyn Write) -> io::Result<()> {
    let dir = fs::canonicalize(&cloud.dir).unwrap_or_else(|_| cloud.dir.clone());
    let file = |name: &str| toml_string(&dir.join(name));
    let host = cloud.hosts.first().map_or("localhost", String::as_str);
    // An IPv6 address stands in brackets.
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    writeln!(out, "\nFor the configuration of ocf-gateway:\n")?;
    writeln!(out, "[cloud]\nid = \"{}\"", cloud.cloud_id)?;
    writeln!(out, "endpoint = \"coaps+tcp://{host}:5684\"\n")?;
    writeln!(out, "[tls]\ncertificate = {}\nkey = {}", file("cloud.pem"), file("cloud.key"))?;
    writeln!(out, "identity_anchors = [{}]", file("identity-ca.pem"))?;
    writeln!(out, "manufacturer_anchors = [{}]", file("manufacturer-ca.pem"))
}

/// A path as a basic string of TOML.
fn toml_string(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn make_device(device: &Device, now: UnixTime, out: &mut dyn Write) -> Result<(), CertsError> {
    let issued = match (&device.kind.identity, &device.kind.manufacturer) {
        (Some(id), _) => read_authority(&device.dir.join(IDENTITY_CA), now)?.issue_identity(*id)?,
        (None, name) => read_authority(&device.dir.join(MANUFACTURER_CA), now)?
            .issue_manufacturer(name.as_deref().unwrap_or_default())?,
    };
    write(&[issued_files(device.out.clone(), &issued)], device.force, out)
}

fn authority_files(prefix: PathBuf, authority: &Authority) -> Files {
    Files { prefix, certificates: authority.certificate_pem(), key: authority.key_pem() }
}

fn issued_files(prefix: PathBuf, issued: &Issued) -> Files {
    Files { prefix, certificates: issued.chain_pem(), key: issued.key_pem() }
}

fn read_authority(prefix: &Path, now: UnixTime) -> Result<Authority, CertsError> {
    let read = |extension| {
        let path = with_extension(prefix, extension);
        fs::read_to_string(&path).map_err(failed(&path, "read (was `certs init` run there?)"))
    };
    Authority::load(&read("pem")?, &read("key")?, now).map_err(|error| match error {
        CertsError::Authority { problem, .. } => {
            CertsError::Authority { path: with_extension(prefix, "pem"), problem }
        }
        other => other,
    })
}

/// Writes all files, or none if one of them exists and may not be replaced.
fn write(files: &[Files], force: bool, out: &mut dyn Write) -> Result<(), CertsError> {
    let all: Vec<(PathBuf, &str, u32)> = files
        .iter()
        .flat_map(|files| {
            [
                (with_extension(&files.prefix, "key"), files.key.as_str(), 0o600),
                (with_extension(&files.prefix, "pem"), files.certificates.as_str(), 0o644),
            ]
        })
        .collect();
    if !force && let Some((path, ..)) = all.iter().find(|(path, ..)| path.exists()) {
        return Err(CertsError::Exists { path: path.clone() });
    }
    for (path, text, mode) in &all {
        match write_file(path, text, *mode, force) {
            Ok(()) => writeln!(out, "made {}", path.display())
                .map_err(failed(Path::new("output"), "write"))?,
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                return Err(CertsError::Exists { path: path.clone() });
            }
            Err(cause) => return Err(failed(path, "write")(cause)),
        }
    }
    Ok(())
}

/// Never replaces a file by halves, and without `force` not at all.
fn write_file(path: &Path, text: &str, mode: u32, force: bool) -> io::Result<()> {
    let create = |path: &Path| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    if !force {
        return create(path);
    }
    let unfinished = with_extension(path, "new");
    match fs::remove_file(&unfinished) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        Ok(()) | Err(_) => create(&unfinished)?,
    }
    fs::rename(&unfinished, path)
}

/// Appends, where `Path::with_extension` would replace the end of a prefix that contains a dot.
fn with_extension(prefix: &Path, extension: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

fn failed<'a>(path: &'a Path, doing: &'static str) -> impl Fn(io::Error) -> CertsError + 'a {
    move |cause| CertsError::Io { path: path.into(), doing, cause }
}
