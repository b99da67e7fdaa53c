//! A whole cloud for one test: certificate, credentials, gateway and the server under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use api::Server;
use api::config::{Config, Credentials, Tls};
use api::server::Reloader;
use axum::http::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::{Asking, Client};
use super::gateway::Gateway;
use super::world::{ALICE, BOB, World};

/// Credentials; the token is also their name.
#[derive(Clone, Copy)]
pub(crate) struct Credential {
    pub(crate) token: &'static str,
    user: &'static str,
    scopes: &'static [&'static str],
    mediator: bool,
    expires: Option<u64>,
}

const fn of(
    token: &'static str,
    user: &'static str,
    scopes: &'static [&'static str],
) -> Credential {
    Credential { token, user, scopes, mediator: false, expires: None }
}

/// All that are known; `alice` and `bob` may read and update.
pub(crate) const CREDENTIALS: [Credential; 8] = [
    of("alice", ALICE, &["r:*", "w:*"]),
    of("alice-reads", ALICE, &["r:*"]),
    of("alice-writes", ALICE, &["w:*"]),
    of("alice-mails", ALICE, &["user:email"]),
    of("alice-of-old", ALICE, &["r:deviceinformation:*", "r:resources:*"]),
    Credential { expires: Some(1_000_000), ..of("alice-expired", ALICE, &["r:*"]) },
    Credential { mediator: true, expires: Some(4_102_444_800), ..of("alice-mediates", ALICE, &[]) },
    of("bob", BOB, &["r:*", "w:*"]),
];

/// How long a test waits for what is going to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running cloud. The server drains, and everything is gone, when it is [`stop`](Self::stop)ped.
pub(crate) struct Cloud {
    pub(crate) world: World,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) reloader: Reloader,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With changes to the configuration.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let cloud = Self::start_without_gateway(change).await;
        cloud.with_gateway().await
    }

    /// Before its gateway has come.
    pub(crate) async fn start_without_gateway(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = write_certificates(directory.path());
        write_credentials(directory.path(), CREDENTIALS.iter());
        let mut config = configuration(directory.path());
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        let (address, reloader) = (server.address(), server.reloader());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(async {
            let _stopped_or_dropped = stopped.await;
        }));
        Self {
            world: World::new(),
            client: Client::new(address, root),
            address,
            reloader,
            directory,
            gateway: None,
            stop: Some(stop),
            serving,
        }
    }

    /// Starts the gateway, and waits until the server has found it.
    pub(crate) async fn with_gateway(mut self) -> Self {
        self.start_gateway().await;
        self
    }

    pub(crate) async fn start_gateway(&mut self) {
        let socket = self.directory.path().join("gateway.sock");
        self.gateway = Some(Gateway::start(&socket, 3, self.world.clone()));
        self.wait_until_ready(200).await;
    }

    /// Asks until the process answers so.
    pub(crate) async fn wait_until_ready(&self, status: u16) {
        let asking = async {
            let ask = || self.client.ask(Method::GET, "/readyz").try_send();
            while ask().await.map_or(0, |answer| answer.status) != status {}
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("the process gets there");
    }

    /// GET as Alice.
    pub(crate) fn get(&self, path: impl Into<String>) -> Asking {
        self.client.ask(Method::GET, path).token("alice")
    }

    /// POST of JSON as Alice.
    pub(crate) fn post(&self, path: impl Into<String>, json: &str) -> Asking {
        let asking = self.client.ask(Method::POST, path).token("alice");
        asking.body("application/json", json.to_owned())
    }

    /// Drains the server.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.unwrap();
    }
}

pub(crate) fn configuration(directory: &Path) -> Config {
    Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tls: Tls {
            certificate: directory.join("server.pem"),
            private_key: directory.join("server.key"),
        },
        credentials: Credentials { file: directory.join("credentials.json") },
        gateway: api::config::Gateway { socket: directory.join("gateway.sock") },
        ..Config::default()
    }
}

/// Writes a certificate for `localhost` with its key, and returns its root.
pub(crate) fn write_certificates(directory: &Path) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &root).unwrap();
    std::fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    root.as_ref().der().clone()
}

pub(crate) fn write_credentials<'a>(
    directory: &Path,
    credentials: impl Iterator<Item = &'a Credential>,
) {
    let entries: Vec<_> = credentials
        .map(|Credential { token, user, scopes, mediator, expires }| {
            serde_json::json!({
                "token_sha256": hex(&Sha256::digest(token)), "user": user, "client": "partner",
                "scopes": scopes, "mediator": mediator, "expires": expires,
            })
        })
        .collect();
    let text = serde_json::to_string(&entries).unwrap();
    std::fs::write(directory.join("credentials.json"), text).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
