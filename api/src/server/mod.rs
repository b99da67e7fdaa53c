//! The HTTPS server (I/O): accept, serve, reload, drain.
//!
//! One task accepts and owns the TLS configuration; every connection is a task of its own, see
//! [`connection`]. What a process may hold is bounded here: connections above the limit are closed at
//! once, before the cost of a handshake.

mod connection;
mod pulse;
mod run;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::config::{Config, millis};
use crate::credentials::{self, CredentialsError};
use crate::router::router;
use crate::webhooks;
use connection::Rules;
pub use run::run;
pub use tls::TlsError;

/// Pause after the system could not give us a connection, so that it can recover.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The other end of the connection on which a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}; change `listen`, or stop what uses the port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// Certificate or key are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials are of no use.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The system does not let us hear signals.
    #[error("cannot hear signals: {0}")]
    Signals(io::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Why nothing was reloaded: all stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Certificate or key are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials are of no use.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The server has stopped.
    #[error("the server has stopped")]
    Stopped,
}

/// A server that listens and is ready to [`serve`](Self::serve).
pub struct Server {
    app: Arc<App>,
    config: Arc<Config>,
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    reloads: mpsc::Receiver<Reload>,
    reloader: Reloader,
}

type Reload = oneshot::Sender<Result<(), ReloadError>>;

/// Asks a server to read its certificate and credentials again.
#[derive(Clone)]
pub struct Reloader(mpsc::Sender<Reload>);

impl Reloader {
    /// Reloads, all or nothing. Connections that are open keep their certificate; the next request on
    /// them is held against the new credentials.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (done, outcome) = oneshot::channel();
        self.0.send(done).await.map_err(|_| ReloadError::Stopped)?;
        outcome.await.unwrap_or(Err(ReloadError::Stopped))
    }
}

impl Server {
    /// Loads everything and listens. Connections wait until [`serve`](Self::serve).
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let acceptor = tls::acceptor(&config.tls)?;
        let credentials = credentials::load(&config.credentials.file)?;
        let seed = [random_u64()?, random_u64()?];
        let app = Arc::new(App::new(&config, seed));
        app.authenticator.replace(credentials);
        let cannot = |cause| StartError::Listen { address: config.listen, cause };
        let listener = TcpListener::bind(config.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (reloader, reloads) = mpsc::channel(1);
        let reloader = Reloader(reloader);
        Ok(Self { app, config: Arc::new(config), listener, address, acceptor, reloads, reloader })
    }

    /// Where it listens: with the port that the system chose, if it was asked to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What makes this server reload.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves until `stop` is over. Then no connection is accepted any more, and requests under way
    /// have `timeouts.drain_ms` to finish.
    pub async fn serve(mut self, stop: impl Future<Output = ()>) {
        let rules = Arc::new(Rules::of(&self.config));
        let router = router(self.app.clone());
        let (drain, draining) = watch::channel(false);
        let mut connections = JoinSet::new();
        let app = self.app.clone();
        if app.events.http_allowed {
            tracing::warn!("events.http_allowed: events go anywhere, also to private addresses");
        }
        let linked = tokio::spawn(async move {
            let courier = app.clone();
            let courier = move |deliveries| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                Box::pin(webhooks::deliver(courier.clone(), deliveries))
            };
            app.shards.keep_linked(Some(&courier)).await
        });
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(done) = self.reloads.recv() => {
                    // Whoever asked may not have waited.
                    let _gone = done.send(self.reload());
                }
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, peer)) if connections.len() < self.config.limits.connections => {
                        self.open(socket, PeerAddress(peer), &mut connections, &router, &rules, &draining);
                    }
                    Ok(_) => tracing::warn!("connection refused: limits.connections is reached"),
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        tracing::info!(connections = connections.len(), "draining");
        let _nobody_listens = drain.send(true);
        let finished = async { while connections.join_next().await.is_some() {} };
        let patience = millis(self.config.timeouts.drain_ms);
        if tokio::time::timeout(patience, finished).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut off after timeouts.drain_ms");
        }
        linked.abort();
    }

    fn open(
        &self,
        socket: TcpStream,
        peer: PeerAddress,
        connections: &mut JoinSet<()>,
        router: &Router,
        rules: &Arc<Rules>,
        draining: &watch::Receiver<bool>,
    ) {
        let (acceptor, router) = (self.acceptor.clone(), router.clone());
        let (rules, draining) = (rules.clone(), draining.clone());
        connections.spawn(async move {
            if let Err(reason) =
                connection::serve(socket, peer, acceptor, router, &rules, draining).await
            {
                tracing::debug!(%reason, "connection ended");
            }
        });
    }

    fn reload(&mut self) -> Result<(), ReloadError> {
        let acceptor = tls::acceptor(&self.config.tls)?;
        let credentials = credentials::load(&self.config.credentials.file)?;
        self.acceptor = acceptor;
        self.app.authenticator.replace(credentials);
        Ok(())
    }
}

fn random_u64() -> Result<u64, StartError> {
    getrandom::u64().map_err(StartError::Random)
}
