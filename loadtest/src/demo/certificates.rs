//! The certificates of a demo, made by `ocf-gateway certs` (I/O): authorities of the cloud, of devices'
//! identities and of a manufacturer, the cloud's certificate, and one that all devices share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use shared::ids::CloudId;

/// Where the certificates are. All in PEM; to each authority there is its key beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificates {
    /// The authority of the cloud's certificate: what devices and users of the API trust.
    pub cloud_ca: PathBuf,
    /// The cloud's certificate, of gateway and API alike.
    pub cloud: PathBuf,
    /// Its key.
    pub cloud_key: PathBuf,
    /// The authority of the devices' manufacturer.
    pub device_ca: PathBuf,
    /// Its key.
    pub device_ca_key: PathBuf,
    /// The authority of identity certificates.
    pub identity_ca: PathBuf,
    /// Its key.
    pub identity_ca_key: PathBuf,
    /// A device's certificate, of the manufacturer.
    pub device: PathBuf,
    /// Its key.
    pub device_key: PathBuf,
}

impl Certificates {
    /// Those in this directory; made for this cloud if it is not there.
    ///
    /// # Errors
    /// If the gateway's binary cannot make them; with what it said.
    pub(super) fn make(directory: &Path, cloud_id: CloudId, gateway: &Path) -> Result<Self> {
        if !directory.exists() {
            // Under another name until it is complete.
            let unfinished = directory.with_extension("new");
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            let (dir, id) = (unfinished.to_string_lossy(), cloud_id.to_string());
            let device = unfinished.join("device");
            let device = device.to_string_lossy();
            let init = ["init", "--dir", &dir, "--cloud-id", &id];
            let hosts = ["--host", "localhost", "--host", "127.0.0.1"];
            run(gateway, &[&init[..], &hosts[..]].concat())?;
            let name = "OCF Cloud demo device";
            run(gateway, &["device", "--dir", &dir, "--manufacturer", name, "--out", &device])?;
            fs::rename(&unfinished, directory)
                .with_context(|| format!("cannot write {}", directory.display()))?;
        }
        let file = |name: &str| directory.join(name);
        Ok(Self {
            cloud_ca: file("server-ca.pem"),
            cloud: file("cloud.pem"),
            cloud_key: file("cloud.key"),
            device_ca: file("manufacturer-ca.pem"),
            device_ca_key: file("manufacturer-ca.key"),
            identity_ca: file("identity-ca.pem"),
            identity_ca_key: file("identity-ca.key"),
            device: file("device.pem"),
            device_key: file("device.key"),
        })
    }
}

/// `ocf-gateway certs` with these arguments.
fn run(gateway: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(gateway)
        .arg("certs")
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", gateway.display()))?;
    if !output.status.success() {
        bail!(
            "{} certs {} has failed: {}",
            gateway.display(),
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
