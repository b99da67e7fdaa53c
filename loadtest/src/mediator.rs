//! The swarm's Mediator (I/O): fetches a single-use token for each device from `api`, as an app on its
//! owner's phone would (device reference 1.1). The configuration that results is written to the
//! device by whoever asked.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use shared::ids::{CloudId, DeviceId, UserId};
use shared::ring::Doorbell;
use tokio::sync::{Mutex, mpsc as queue, oneshot};

use crate::device::{CloudConf, Failure};
use crate::http::{Connection, Https};

/// Connections to `api`, and so requests under way.
const CONNECTIONS: usize = 32;
/// Tries for one token while `api` is overloaded or away.
const TRIES: u32 = 6;
/// The wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Where a Mediator asks, and for whom.
#[derive(Clone)]
pub struct Access {
    /// The server.
    pub api: Https,
    /// A bearer token with the mediator right per user.
    pub tokens: Vec<Box<str>>,
}

/// A device that needs its configuration.
pub(crate) struct Job {
    /// Whose device it becomes, by the order of the tokens.
    pub(crate) user: usize,
    pub(crate) di: DeviceId,
    /// Tells the asker which of its devices this is.
    pub(crate) owner: u32,
    pub(crate) receipts: Receipts,
}

/// Where what came of a request goes.
#[derive(Clone)]
pub(crate) struct Receipts {
    pub(crate) sender: mpsc::Sender<Receipt>,
    pub(crate) doorbell: Doorbell,
}

impl Receipts {
    pub(crate) fn hand_in(&self, receipt: Receipt) {
        // A core that has stopped wants it no more.
        if self.sender.send(receipt).is_ok() {
            self.doorbell.ring();
        }
    }
}

/// What came of a request to `api`.
pub(crate) enum Receipt {
    /// A device's configuration, or why there is none.
    Configured { owner: u32, result: Result<CloudConf, Failure> },
    /// A partner has read a resource; the time is since that was due.
    Read { took: Duration, result: Result<(), Failure> },
}

/// A running Mediator.
pub(crate) struct Mediator {
    jobs: queue::UnboundedSender<Job>,
    users: Vec<UserId>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Mediator {
    /// Starts, and registers for every user.
    ///
    /// # Errors
    /// If `api` cannot be reached, or refuses a token.
    pub(crate) fn start(access: Access) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let users = runtime.block_on(register(&access))?;
        let (jobs, inbox) = queue::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("mediator".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(access, inbox) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { jobs, users, stop, thread })
    }

    /// The users, in the order of their tokens.
    pub(crate) fn users(&self) -> &[UserId] {
        &self.users
    }

    /// Where jobs go. There is at most one per device, so the queue is bounded by them.
    pub(crate) fn jobs(&self) -> queue::UnboundedSender<Job> {
        self.jobs.clone()
    }

    /// Ends it; jobs that are not done are dropped.
    pub(crate) fn stop(self) -> Result<()> {
        // It may have ended by itself.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(()) => Ok(()),
            Err(_) => bail!("the Mediator has panicked"),
        }
    }
}

#[derive(Deserialize)]
struct Registration {
    uid: UserId,
}

#[derive(Deserialize)]
struct DeviceToken {
    accesstoken: Box<str>,
    cis: Box<str>,
    sid: CloudId,
    #[serde(default)]
    authprovider: Option<Box<str>>,
}

/// `POST /api/v1/mediator` for every user, in their order.
async fn register(access: &Access) -> Result<Vec<UserId>> {
    let share = access.tokens.len().div_ceil(CONNECTIONS).max(1);
    let mut workers: tokio::task::JoinSet<Result<(usize, Vec<UserId>)>> = Default::default();
    for (nth, tokens) in access.tokens.chunks(share).enumerate() {
        let (api, tokens) = (access.api.clone(), tokens.to_vec());
        workers.spawn(async move { Ok((nth, register_each(&api, &tokens, nth * share).await?)) });
    }
    let mut parts = Vec::with_capacity(workers.len());
    while let Some(part) = workers.join_next().await {
        parts.push(part.context("a registration has panicked")??);
    }
    parts.sort_unstable_by_key(|(nth, _)| *nth);
    Ok(parts.into_iter().flat_map(|(_, users)| users).collect())
}

/// Registers these users one after the other; `before` of all come before them.
async fn register_each(api: &Https, tokens: &[Box<str>], before: usize) -> Result<Vec<UserId>> {
    let mut connection = api.connect().await.context("cannot reach the API")?;
    let mut users = Vec::with_capacity(tokens.len());
    for (token, number) in tokens.iter().zip(before + 1..) {
        users.push(register_one(&mut connection, token, number).await?);
    }
    Ok(users)
}

async fn register_one(connection: &mut Connection, token: &str, number: usize) -> Result<UserId> {
    let mut wait = FIRST_WAIT;
    let mut tried = 0;
    let (status, body) = loop {
        tried += 1;
        let path = "/api/v1/mediator";
        let answer = connection.send(Method::POST, path, Some(token), None).await?;
        if tried == TRIES || !is_overload(answer.0) {
            break answer;
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    };
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bail!(
            "the API answered {status} to the Mediator of user {number}: its token is unknown or \
             lacks the mediator right"
        ),
        _ => bail!("the API answered {status} to the Mediator of user {number}"),
    }
    let registration: Registration = serde_json::from_slice(&body)
        .context("the API's answer to a Mediator has another shape")?;
    Ok(registration.uid)
}

/// Worth another try.
fn is_overload(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    )
}

/// Works on jobs, a few at a time.
async fn serve(access: Access, inbox: queue::UnboundedReceiver<Job>) {
    let access = Arc::new(access);
    let inbox = Arc::new(Mutex::new(inbox));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (access, inbox) = (access.clone(), inbox.clone());
        workers.spawn(async move {
            let mut connection = None;
            loop {
                // The queue is let go of before the work begins.
                let job = inbox.lock().await.recv().await;
                let Some(job) = job else { return };
                let result = fetch(&access, &mut connection, &job).await;
                job.receipts.hand_in(Receipt::Configured { owner: job.owner, result });
            }
        });
    }
    while workers.join_next().await.is_some() {}
}

/// A token and all that goes with it, in as many tries as it takes.
async fn fetch(
    access: &Access,
    connection: &mut Option<Connection>,
    job: &Job,
) -> Result<CloudConf, Failure> {
    let mut wait = FIRST_WAIT;
    let mut tried = 0;
    loop {
        tried += 1;
        let failure = match ask(access, connection, job).await {
            Ok(Answer::Token(token)) => {
                return Ok(CloudConf {
                    cis: token.cis,
                    sid: token.sid,
                    provider: token.authprovider,
                    token: Some(token.accesstoken),
                });
            }
            Ok(Answer::Refused(status)) => return Err(Failure::Http(status.to_string())),
            Ok(Answer::Later(status)) => Failure::Http(status.to_string()),
            Err(error) => {
                *connection = None;
                Failure::Http(format!("{error:#}"))
            }
        };
        if tried == TRIES {
            return Err(failure);
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

enum Answer {
    Token(DeviceToken),
    Refused(StatusCode),
    Later(StatusCode),
}

/// `POST /api/v1/mediator/devices`, once.
async fn ask(access: &Access, connection: &mut Option<Connection>, job: &Job) -> Result<Answer> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(access.api.connect().await?),
    };
    let token = &access.tokens[job.user];
    let body = format!("{{\"di\":\"{}\"}}", job.di).into_bytes();
    let path = "/api/v1/mediator/devices";
    let (status, body) = connection.send(Method::POST, path, Some(token), Some(body)).await?;
    Ok(match status {
        StatusCode::CREATED => Answer::Token(serde_json::from_slice(&body)?),
        _ if is_overload(status) => Answer::Later(status),
        _ => Answer::Refused(status),
    })
}
