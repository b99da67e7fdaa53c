//! Operators: who register partner clouds and users, and look after the gateway, from the command line or over HTTPS.
//!
//! [`clients`] and [`users`] do it, through the shard of partition 0; [`shards`] asks all of them how they
//! are, and [`subscriptions`] how events get on; [`http`] and [`command`] are the two ways in. The HTTPS
//! paths take a token of the credentials file with the operator's right, never
//! one of the authorization server (cloud reference 9.5).

pub mod clients;
pub mod command;
pub mod http;
pub mod shards;
pub mod subscriptions;
pub mod users;

pub use http::routes;

use shared::channel::message::{Failure, Reply};

use crate::app::Unfulfilled;

/// Why an operator's wish was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It is not there.
    #[error("there is none of this name")]
    NotFound,
    /// It is there already, or somebody else has changed it at the same time.
    #[error("there is one of this name already, or it has just been changed by somebody else")]
    Conflict,
    /// There are too many, or it is too large.
    #[error("there are too many, or it is too large")]
    TooMuch,
    /// The gateway does not answer, or cannot now; nothing may have happened.
    #[error("the gateway cannot say now; is it running?")]
    Unavailable,
}

impl From<Unfulfilled> for Refusal {
    fn from(unfulfilled: Unfulfilled) -> Self {
        match unfulfilled {
            Unfulfilled::Failed(Failure::NoSuchRecord) => Self::NotFound,
            Unfulfilled::Failed(Failure::RecordChanged) => Self::Conflict,
            Unfulfilled::Failed(Failure::RecordTooLarge | Failure::Overloaded) => Self::TooMuch,
            Unfulfilled::Failed(_) | Unfulfilled::Unanswered(_) | Unfulfilled::Nonsense => {
                Self::Unavailable
            }
        }
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why.into()))
}

fn done(reply: Reply) -> Result<(), Refusal> {
    if reply == Reply::Done { Ok(()) } else { Err(Unfulfilled::Nonsense.into()) }
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::Unavailable)?;
    Ok(bytes)
}

/// A text that people read: not empty, not long, on one line.
fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max || text.chars().any(char::is_control) || text.trim() != text {
        return invalid(format!(
            "{what} has at most {bytes_max} bytes, no control characters, no space at its ends"
        ));
    }
    Ok(())
}
