//! A partner cloud (I/O): reads resources of devices over the API, each request due at some time whether or
//! not the API keeps up. Connections stay open; a request waits for one that is free, and is measured from
//! when it was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use hyper::Method;
use shared::ids::DeviceId;
use shared::time::Instant;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::device::Failure;
use crate::http::Connection;
use crate::io::Clock;
use crate::mediator::{Access, Receipt, Receipts};

/// Connections to `api`, and so requests under way.
const CONNECTIONS: usize = 32;

/// Requests that wait for a connection; more fail at once.
const WAITING_MAX: usize = 10_000;

/// A resource that is to be read.
pub(crate) struct Read {
    /// Whose device it is, by the order of the tokens.
    pub(crate) user: usize,
    pub(crate) device: DeviceId,
    pub(crate) href: &'static str,
    pub(crate) due: Instant,
    pub(crate) receipts: Receipts,
}

/// Where reads go.
#[derive(Clone)]
pub(crate) struct Reads {
    queue: mpsc::UnboundedSender<Read>,
    waiting: Arc<AtomicUsize>,
}

impl Reads {
    /// Asks; the receipt follows. False when too many wait already.
    pub(crate) fn ask(&self, read: Read) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.queue.send(read).is_ok()
    }
}

/// A running partner.
pub(crate) struct Partner {
    reads: Reads,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Partner {
    /// Starts; nothing is connected before something is to be read.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(crate) fn start(access: Access, clock: Clock) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (queue, inbox) = mpsc::unbounded_channel();
        let reads = Reads { queue, waiting: Arc::default() };
        let waiting = reads.waiting.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("partner".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(access, clock, inbox, waiting) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { reads, stop, thread })
    }

    pub(crate) fn reads(&self) -> Reads {
        self.reads.clone()
    }

    /// Ends it; what is not done is dropped.
    pub(crate) fn stop(self) -> Result<()> {
        // It may have ended by itself.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(()) => Ok(()),
            Err(_) => bail!("the partner has panicked"),
        }
    }
}

async fn serve(
    access: Access,
    clock: Clock,
    inbox: mpsc::UnboundedReceiver<Read>,
    waiting: Arc<AtomicUsize>,
) {
    let access = Arc::new(access);
    let inbox = Arc::new(Mutex::new(inbox));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (access, inbox, waiting) = (access.clone(), inbox.clone(), waiting.clone());
        workers.spawn(async move {
            let mut connection = None;
            loop {
                // The queue is let go of before the work begins.
                let Some(read) = inbox.lock().await.recv().await else { return };
                waiting.fetch_sub(1, Ordering::Relaxed);
                let result = get(&access, &mut connection, &read).await;
                let took = clock.now().since(read.due);
                let result = result.unwrap_or_else(|error| {
                    connection = None;
                    Err(Failure::Http(format!("{error:#}")))
                });
                read.receipts.hand_in(Receipt::Read { took, result });
            }
        });
    }
    workers.join_all().await;
}

/// `GET /api/v1/devices/{device}/{href}`, once.
async fn get(
    access: &Access,
    connection: &mut Option<Connection>,
    read: &Read,
) -> Result<Result<(), Failure>> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(access.api.connect().await?),
    };
    let token = access.tokens.get(read.user).context("a user without a token")?;
    let path = format!("/api/v1/devices/{}{}", read.device, read.href);
    let (status, _) = connection.send(Method::GET, &path, Some(token), None).await?;
    Ok(if status.is_success() { Ok(()) } else { Err(Failure::Http(status.to_string())) })
}
