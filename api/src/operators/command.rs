//! The operators' command line. It does through the running gateway what it is asked for, like any
//! process of `api`, and never touches the store's files.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::Serialize;
use shared::ids::UserId;
use shared::secret::Secret;

use super::clients::{self, NewClient};
use super::users::Deletion;
use super::{Refusal, shards, subscriptions, users};
use crate::app::App;
use crate::config::Config;

/// How long the gateway may take to be reached.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest password line that is read.
const PASSWORD_LINE_BYTES_MAX: u64 = 4096;

/// What operators do from the command line.
#[derive(Subcommand)]
pub enum Operation {
    /// Partner clouds and apps that users may link
    #[command(subcommand)]
    Clients(ClientOperation),
    /// Subscriptions of partner clouds to events
    #[command(subcommand)]
    Subscriptions(SubscriptionOperation),
    /// People who may log in
    #[command(subcommand)]
    Users(UserOperation),
    /// Print as JSON what the gateway's shards occupy, by table, and how long they take
    Shards,
}

/// What is done with clients.
#[derive(Subcommand)]
pub enum ClientOperation {
    /// Register one; prints its id and, this once, its secret
    Add(AddClient),
    /// List them
    List,
    /// Make another secret; the one before stays good until the next time
    Secret {
        /// Which client
        id: String,
    },
    /// Replace the authorities of its own servers
    Authorities {
        /// Which client
        id: String,
        /// PEM file with the authorities; without it the public ones count
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Let one do what it is registered for
    Enable {
        /// Which client
        id: String,
    },
    /// Let one do nothing; its tokens are good for nothing meanwhile
    Disable {
        /// Which client
        id: String,
    },
    /// Forget one
    Remove {
        /// Which client
        id: String,
    },
}

/// A client to be registered.
#[derive(Args)]
pub struct AddClient {
    /// What users see
    #[arg(long)]
    name: String,
    /// Where browsers may be sent back to: an https URI, compared character by character
    #[arg(long = "redirect-uri", required = true)]
    redirect_uris: Vec<String>,
    /// What it may ask for
    #[arg(long, default_value = "r:* w:* offline_access")]
    scope: String,
    /// Its client_id; made up when left out
    #[arg(long)]
    id: Option<String>,
    /// Whom to talk to
    #[arg(long, default_value = "")]
    contact: String,
    /// PEM file with the authorities of its own servers, if they are not public ones
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// Events go to this host, and to those below it, only; may be given several times
    #[arg(long = "events-host", value_name = "HOST")]
    events_hosts: Vec<String>,
    /// It is a resource server: it may introspect all tokens
    #[arg(long)]
    introspects: bool,
}

/// What is done with subscriptions.
#[derive(Subcommand)]
pub enum SubscriptionOperation {
    /// List them with how their deliveries go, one JSON object a line
    List {
        /// Of this client only
        #[arg(long)]
        client: Option<String>,
    },
}

/// What is done with users.
#[derive(Subcommand)]
pub enum UserOperation {
    /// Add one; the password is read from the terminal or from standard input
    Add {
        /// Under which name they log in
        name: String,
        /// Who they are to devices that know them already; made up when left out
        #[arg(long)]
        uid: Option<UserId>,
    },
    /// Give one another password, read likewise
    Password {
        /// Which user
        name: String,
    },
    /// Let one log in
    Enable {
        /// Which user
        name: String,
    },
    /// Let one not log in, and end all links
    Disable {
        /// Which user
        name: String,
    },
    /// Delete one with everything that is theirs: devices, tokens, links of partner clouds
    Delete {
        /// Which user: the name, or the uid
        name: String,
    },
    /// List them
    List,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The gateway is not there.
    #[error("no gateway answers on {0}: start it, or name the right socket in `gateway.socket`")]
    NoGateway(PathBuf),
    /// A file or the terminal cannot be read.
    #[error("cannot read {what}: {cause}")]
    Unreadable {
        /// Which.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The two passwords differ.
    #[error("the two passwords differ")]
    NotTheSame,
}

/// Carries an operation out and prints what comes of it.
pub async fn run(config: Config, operation: Operation) -> Result<(), CommandError> {
    let app = App::new(&config, [0; 2]);
    let linked = async {
        while !app.shards.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let work = async {
        let socket = config.gateway.socket.clone();
        let reached = tokio::time::timeout(PATIENCE, linked).await;
        reached.map_err(|_| CommandError::NoGateway(socket))?;
        match operation {
            Operation::Clients(operation) => on_clients(&app, operation).await,
            Operation::Users(operation) => on_users(&app, operation).await,
            Operation::Shards => {
                print_lines(&[shards::read(&app).await?]);
                Ok(())
            }
            Operation::Subscriptions(SubscriptionOperation::List { client }) => {
                list_subscriptions(&app, client.as_deref()).await
            }
        }
    };
    tokio::select! {
        done = work => done,
        never = app.shards.keep_linked(None) => match never {},
    }
}

async fn on_clients(app: &App, operation: ClientOperation) -> Result<(), CommandError> {
    match operation {
        ClientOperation::Add(add) => {
            let (client, secret) = clients::add(app, add.into_client()?).await?;
            println!("client_id      {}", client.id);
            println!("client_secret  {}", secret.reveal());
        }
        ClientOperation::List => print_lines(&clients::list(app).await?),
        ClientOperation::Secret { id } => {
            let secret = clients::add_secret(app, &id).await?;
            println!("client_secret  {}", secret.reveal());
        }
        ClientOperation::Authorities { id, file } => {
            clients::set_authorities(app, &id, read_authorities(file)?).await?;
        }
        ClientOperation::Enable { id } => clients::set_enabled(app, &id, true).await?,
        ClientOperation::Disable { id } => clients::set_enabled(app, &id, false).await?,
        ClientOperation::Remove { id } => clients::remove(app, &id).await?,
    }
    Ok(())
}

impl AddClient {
    fn into_client(self) -> Result<NewClient, CommandError> {
        let authorities = read_authorities(self.authorities)?;
        Ok(NewClient {
            id: self.id,
            name: self.name,
            contact: self.contact,
            redirect_uris: self.redirect_uris,
            scope: self.scope,
            introspects: self.introspects,
            authorities,
            events_hosts: self.events_hosts,
        })
    }
}

/// The authorities in a file; none without a file.
fn read_authorities(file: Option<PathBuf>) -> Result<String, CommandError> {
    let Some(path) = file else { return Ok(String::new()) };
    let unreadable = |cause| CommandError::Unreadable { what: path.display().to_string(), cause };
    std::fs::read_to_string(&path).map_err(unreadable)
}

async fn on_users(app: &App, operation: UserOperation) -> Result<(), CommandError> {
    match operation {
        UserOperation::Add { name, uid } => {
            let user = users::add(app, &name, uid, read_password()?).await?;
            println!("uid  {}", user.uid);
        }
        UserOperation::Password { name } => {
            users::set_password(app, &name, read_password()?).await?;
        }
        UserOperation::Enable { name } => users::set_enabled(app, &name, true).await?,
        UserOperation::Disable { name } => users::set_enabled(app, &name, false).await?,
        UserOperation::Delete { name } => {
            // It goes on by itself; whoever has asked wants to know when it is done.
            while users::delete(app, &name).await? == Deletion::UnderWay {
                eprintln!("still under way");
            }
        }
        UserOperation::List => print_lines(&users::list(app).await?),
    }
    Ok(())
}

async fn list_subscriptions(app: &App, client: Option<&str>) -> Result<(), CommandError> {
    let mut after = None;
    loop {
        let page = subscriptions::page(app, after, client).await?;
        print_lines(&page.subscriptions);
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// One JSON object a line.
fn print_lines(all: &[impl Serialize]) {
    for one in all {
        println!("{}", serde_json::to_string(one).expect("texts and numbers have JSON"));
    }
}

/// A password: twice and unseen from a terminal, otherwise the first line of standard input.
fn read_password() -> Result<Secret, CommandError> {
    let input = io::stdin();
    if !input.is_terminal() {
        return read_line();
    }
    let hidden = Hidden::begin().map_err(unreadable)?;
    eprint!("Password: ");
    let first = read_line()?;
    eprint!("\nThe same again: ");
    let second = read_line()?;
    eprintln!();
    drop(hidden);
    if first == second { Ok(first) } else { Err(CommandError::NotTheSame) }
}

fn read_line() -> Result<Secret, CommandError> {
    let mut line = String::new();
    let mut limited = io::stdin().lock().take(PASSWORD_LINE_BYTES_MAX);
    limited.read_line(&mut line).map_err(unreadable)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

fn unreadable(cause: io::Error) -> CommandError {
    CommandError::Unreadable { what: "the password".into(), cause }
}

/// The terminal shows nothing of what is typed, until this goes.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
