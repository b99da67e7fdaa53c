//! The credentials file: access tokens that are known in advance, by their digests.
//!
//! ```json
//! [{"token_sha256": "<64 hexadecimal digits>", "user": "<uid>", "client": "name",
//!   "scopes": ["r:*", "w:*"], "mediator": false, "operator": false, "expires": 1893456000}]
//! ```
//!
//! `mediator` (devices may be brought in and removed) and `operator` (clients and users may be
//! registered) are false and `expires` (seconds since 1970) never when absent. A token itself never
//! stands in the file: `printf %s "$TOKEN" | sha256sum` gives its digest.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::ids::UserId;
use shared::scope::Scopes;
use shared::time::UnixTime;

use crate::auth::{Caller, TokenDigest};

/// Most entries in a file.
pub const CREDENTIALS_MAX: usize = 2_000_000;

/// Longest name of a client, in bytes.
const CLIENT_BYTES_MAX: usize = 128;

/// Why a credentials file is refused.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read the credentials {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is not a list of credentials.
    #[error("{path}: {cause}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        cause: serde_json::Error,
    },
    /// An entry cannot be right.
    #[error("{path}: entry {entry}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which, counted from 1.
        entry: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    token_sha256: String,
    user: UserId,
    client: String,
    scopes: Vec<String>,
    #[serde(default)]
    mediator: bool,
    #[serde(default)]
    operator: bool,
    #[serde(default)]
    expires: Option<u64>,
}

/// Reads and checks a file.
pub(crate) fn load(path: &Path) -> Result<Vec<(TokenDigest, Caller)>, CredentialsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| CredentialsError::Unreadable { path: path.into(), cause })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<(TokenDigest, Caller)>, CredentialsError> {
    let entries: Vec<Entry> = serde_json::from_str(text)
        .map_err(|cause| CredentialsError::Malformed { path: path.into(), cause })?;
    let invalid = |entry, problem| CredentialsError::Invalid { path: path.into(), entry, problem };
    if entries.len() > CREDENTIALS_MAX {
        return Err(invalid(CREDENTIALS_MAX + 1, "more than 2000000 entries"));
    }
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    let callers = entries.into_iter().zip(1..).map(|(entry, nth)| {
        let (digest, caller) = entry.check().map_err(|problem| invalid(nth, problem))?;
        if !seen.insert(digest) {
            return Err(invalid(nth, "another entry has the same token_sha256"));
        }
        Ok((digest, caller))
    });
    callers.collect()
}

impl Entry {
    fn check(self) -> Result<(TokenDigest, Caller), &'static str> {
        let digest = TokenDigest::from_hex(&self.token_sha256)
            .ok_or("token_sha256 must be the 64 hexadecimal digits of a SHA-256 digest")?;
        if self.client.is_empty() || self.client.len() > CLIENT_BYTES_MAX {
            return Err("client must have 1 to 128 bytes");
        }
        if self.client.chars().any(char::is_control) {
            return Err("client must not contain control characters");
        }
        let mediator = self.mediator.then_some("mediator");
        // The right has a switch of its own in the file.
        let scopes = self.scopes.iter().map(String::as_str).filter(|name| *name != "mediator");
        let scopes = Scopes::of_known(scopes.chain(mediator));
        let caller = Caller::new(self.user, self.client, scopes, self.expires.map(UnixTime));
        Ok((digest, caller.operating(self.operator)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn check(text: &str) -> Result<Vec<(TokenDigest, Caller)>, String> {
        parse(text, Path::new("credentials.json")).map_err(|error| error.to_string())
    }

    fn entry(changes: &str) -> String {
        format!(
            r#"{{"token_sha256":"{DIGEST}","user":"77777777-7777-4777-8777-777777777777",
                "client":"partner","scopes":["r:*"]{changes}}}"#
        )
    }

    #[test]
    fn an_entry_names_who_holds_a_token() {
        let all = check(&format!("[{}]", entry(r#","mediator":true,"expires":5"#))).unwrap();
        let [(digest, caller)] = &all[..] else { panic!("one entry") };
        assert_eq!(*digest, TokenDigest::of(b"test"));
        assert_eq!(caller.client(), "partner");
        assert!(check("[]").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_entry() {
        for (text, problem) in [
            (format!("[{},{}]", entry(""), entry("")), "entry 2: another entry has the same"),
            ("[{}]".into(), "missing field `token_sha256`"),
            (format!("[{}]", entry(r#","token":"x""#)), "unknown field `token`"),
            (format!("[{}]", entry("").replace("9f86", "zz")), "entry 1: token_sha256 must be"),
            (format!("[{}]", entry("").replace("partner", "")), "entry 1: client must have"),
            (format!("[{}]", entry("").replace("partner", "a\\u0007")), "control characters"),
            ("{}".into(), "expected a sequence"),
        ] {
            let error = check(&text).unwrap_err();
            assert!(error.contains(problem) && error.starts_with("credentials.json"), "{error}");
        }
    }
}
