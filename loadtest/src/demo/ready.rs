//! When a part of the demo is ready (I/O): asked again and again, but never longer than the process
//! lives that is asked.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::{Method, StatusCode};

use super::processes::Processes;
use crate::http::Https;

/// Between two questions.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long one question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// The demo was interrupted while it waited.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What ends a wait before its time.
#[derive(Clone, Copy)]
pub struct Patience<'r> {
    /// Somebody wants it to end.
    pub interrupts: &'r Receiver<()>,
    /// It has been long enough.
    pub until: Option<Instant>,
}

impl Patience<'_> {
    /// Whether there is some left.
    ///
    /// # Errors
    /// [`Interrupted`], or that the time is over.
    fn check(self) -> Result<()> {
        if self.interrupts.try_recv().is_ok() {
            return Err(Interrupted.into());
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            bail!("the time was over before everything was ready");
        }
        Ok(())
    }
}

/// Asks until the answer is yes.
///
/// # Errors
/// That patience has ended, or the death of a process: a part that has died will not get ready.
pub(super) fn wait_until(
    processes: &mut Processes,
    patience: Patience<'_>,
    mut is_ready: impl FnMut() -> bool,
) -> Result<()> {
    while !is_ready() {
        patience.check()?;
        if let Some(death) = processes.wait(AGAIN_AFTER)? {
            bail!("{death}");
        }
    }
    Ok(())
}

/// Where a process says that it is ready, as services tell systemd (sd_notify(3)).
pub(super) struct Notice {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notice {
    /// At this path, in the place of what is there.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let socket = UnixDatagram::bind(&path)
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// Whether it was said.
    pub(super) fn is_given(&self) -> bool {
        let mut said = [0; 256];
        // What cannot be read yet is read next time.
        let count = self.socket.recv(&mut said).unwrap_or(0);
        said[..count].split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `GET /readyz` is answered 200.
pub(super) fn answers_ready(runtime: &tokio::runtime::Runtime, api: &Https) -> bool {
    let ask = async {
        let mut connection = api.connect().await?;
        connection.send(Method::GET, "/readyz", None, None).await
    };
    let answer = runtime.block_on(async { tokio::time::timeout(ANSWER_LIMIT, ask).await });
    matches!(answer, Ok(Ok((StatusCode::OK, _))))
}
