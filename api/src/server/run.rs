//! The server as a process: signals, and the limit of open files (I/O).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{Reloader, Server, StartError};
use crate::config::Config;

/// Descriptors besides those of consumers' connections: shards, files, the runtime.
const OTHER_DESCRIPTORS: u64 = 256;

/// Serves until SIGTERM or SIGINT, and reloads on SIGHUP.
pub async fn run(config: Config) -> Result<(), StartError> {
    allow_open_files(config.limits.connections as u64 + OTHER_DESCRIPTORS);
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
    let server = Server::start(config).await?;
    tracing::info!(address = %server.address(), "listening");
    let reloader = server.reloader();
    let reloading = tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            reload(&reloader).await;
        }
    });
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.serve(stop).await;
    reloading.abort();
    Ok(())
}

async fn reload(reloader: &Reloader) {
    match reloader.reload().await {
        Ok(()) => tracing::info!("certificate and credentials reloaded"),
        Err(error) => tracing::error!(%error, "nothing reloaded, all stays as it was"),
    }
}

/// Raises the limit of open files as far as it may be.
fn allow_open_files(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if enough(current) {
        return;
    }
    let raised = Rlimit { current: if enough(maximum) { Some(wanted) } else { maximum }, maximum };
    let failed = setrlimit(Resource::Nofile, raised).is_err();
    if failed || !enough(maximum) {
        let allowed = if failed { current } else { maximum };
        tracing::warn!(
            allowed,
            wanted,
            "limits.connections needs more open files than allowed: raise LimitNOFILE, or lower it"
        );
    }
}
