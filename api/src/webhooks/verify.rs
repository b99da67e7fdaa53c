//! `ocf-api verify-event`: is this notification one of ours? For developers of consumers, who compare
//! what their own code says (cloud reference 5.7.2).

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;

use super::signature::Signed;
use crate::hex;
use crate::router::unix_now;

/// Longest body that is read.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// A notification, and the secret of its subscription.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyEvent {
    /// The signingSecret of the subscription, as it was sent: it is not decoded
    #[arg(long, required_unless_present = "secret_file")]
    secret: Option<String>,
    /// The same from a file, without the line end
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,
    /// A header of the notification, as `Name: value`; those that are not signed are ignored
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// The exact bytes of the body; `-` for standard input
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Also refuse what is so many seconds old, or that far in the future
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
}

const EXAMPLES: &str = "\
Prints `valid` and exits with 0, or says what is wrong and exits with 1.

Examples:
  ocf-api verify-event --secret 3BZ6oI9xbRJzOUvUoRb5RgaZjPqHrmql \\
      -H 'Content-Type: application/json' -H 'Event-Type: devices_online' \\
      -H 'Subscription-ID: 1eeb465c-5e8d-4305-a366-bbf035fff671' \\
      -H 'Sequence-Number: 2' -H 'Event-Timestamp: 1585758000' \\
      -H 'Event-Signature: b74a26279f8d89eae7c72ee7b3a768710ed25c5ef85619933638a8d8ae077f45' \\
      --body body.json
  printf '[]' | ocf-api verify-event --body - ...    the body from standard input
  ocf-api verify-event --secret-file secret ...      the secret from a file";

/// What is wrong with a notification.
#[derive(Debug, thiserror::Error)]
pub enum NotValid {
    /// The body cannot be read.
    #[error("cannot read the body: {0}")]
    Body(#[from] io::Error),
    /// The secret cannot be read.
    #[error("cannot read the secret: {0}")]
    Secret(io::Error),
    /// Not `Name: value`.
    #[error("{0:?} is not `Name: value`")]
    Header(String),
    /// A header that is needed is not there.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// A header is there twice.
    #[error("there is more than one {0}")]
    Repeated(&'static str),
    /// Not a number as it is sent.
    #[error("{0} is not a decimal number of at most 64 bits without sign and leading zero")]
    Number(&'static str),
    /// Not 64 hexadecimal digits.
    #[error("Event-Signature is not 64 hexadecimal digits")]
    Digits,
    /// It is another one's, or was changed.
    #[error("the signature is of another message, or made with another secret")]
    Signature,
    /// Too old, or not yet.
    #[error("it is {0} seconds off")]
    Age(u64),
}

/// Headers that are signed, and the signature.
#[derive(Default, Debug)]
struct Headers {
    content_type: Option<String>,
    event_type: Option<String>,
    subscription_id: Option<String>,
    sequence_number: Option<String>,
    timestamp: Option<String>,
    signature: Option<String>,
}

impl Headers {
    fn parse(lines: &[String]) -> Result<Self, NotValid> {
        let mut headers = Self::default();
        for line in lines {
            let (name, value) =
                line.split_once(':').ok_or_else(|| NotValid::Header(line.into()))?;
            headers.take(name.trim(), value.trim())?;
        }
        Ok(headers)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), NotValid> {
        for (known, place) in [
            ("Content-Type", &mut self.content_type),
            ("Event-Type", &mut self.event_type),
            ("Subscription-ID", &mut self.subscription_id),
            ("Sequence-Number", &mut self.sequence_number),
            ("Event-Timestamp", &mut self.timestamp),
            ("Event-Signature", &mut self.signature),
        ] {
            if known.eq_ignore_ascii_case(name) && place.replace(value.to_owned()).is_some() {
                return Err(NotValid::Repeated(known));
            }
        }
        Ok(())
    }
}

impl VerifyEvent {
    /// Checks the notification.
    pub fn run(&self) -> Result<(), NotValid> {
        let body = match &self.body {
            None => Vec::new(),
            Some(path) if path.as_os_str() == "-" => read(io::stdin())?,
            Some(path) => read(std::fs::File::open(path)?)?,
        };
        verify(&self.secret()?, &self.headers, &body, self.max_age, unix_now().0)
    }

    fn secret(&self) -> Result<String, NotValid> {
        match (&self.secret, &self.secret_file) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(NotValid::Secret)?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, None) => Ok(String::new()),
        }
    }
}

fn read(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(BODY_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl fmt::Debug for VerifyEvent {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyEvent").field("headers", &self.headers).finish_non_exhaustive()
    }
}

/// Checks a notification as receivers should: the headers as they came, then the signature, then the
/// age.
pub fn verify(
    secret: &str,
    headers: &[String],
    body: &[u8],
    max_age: Option<u64>,
    now: u64,
) -> Result<(), NotValid> {
    let headers = Headers::parse(headers)?;
    let needed = |value: &Option<String>, name| value.clone().ok_or(NotValid::Missing(name));
    let event_type = needed(&headers.event_type, "Event-Type")?;
    let subscription_id = needed(&headers.subscription_id, "Subscription-ID")?;
    let sequence_number = needed(&headers.sequence_number, "Sequence-Number")?;
    let timestamp = needed(&headers.timestamp, "Event-Timestamp")?;
    let signature = needed(&headers.signature, "Event-Signature")?;
    number(&sequence_number).ok_or(NotValid::Number("Sequence-Number"))?;
    let at = number(&timestamp).ok_or(NotValid::Number("Event-Timestamp"))?;
    hex::decode_32(&signature).ok_or(NotValid::Digits)?;
    let signed = Signed {
        content_type: headers.content_type.as_deref().unwrap_or_default(),
        event_type: &event_type,
        subscription_id: &subscription_id,
        sequence_number: &sequence_number,
        timestamp: &timestamp,
        body,
    };
    if !signed.is_signed(secret, &signature) {
        return Err(NotValid::Signature);
    }
    let off = at.abs_diff(now);
    if max_age.is_some_and(|most| off > most) {
        return Err(NotValid::Age(off));
    }
    Ok(())
}

/// A number as it is sent: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+', '-']);
    text.parse().ok().filter(|_| canonical)
}
