//! Passwords: argon2id, some at a time, because each takes a core and 19 MiB for a while.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use shared::secret::Secret;
use tokio::sync::Semaphore;

/// Shortest password, in characters (NIST SP 800-63B §5.1.1).
pub const PASSWORD_CHARACTERS_MIN: usize = 8;

/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Passwords that are hashed at the same time.
const AT_ONCE: usize = 2;

/// How long a password may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(4);

/// Hashes passwords.
pub struct Hasher(Arc<Semaphore>);

/// No password can be hashed now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

/// What is wrong with a new password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a password has at least 8 characters and at most 256 bytes, and no control characters")]
pub struct Unfit;

impl Default for Hasher {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Hasher {
    /// Whether the password belongs to the hash. Without a hash it takes as long, and does not: nobody
    /// learns from the time which names exist.
    pub async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool, Busy> {
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&NOBODY);
            let parsed = PasswordHash::new(hash);
            let verify = |hash: &PasswordHash| {
                Argon2::default().verify_password(password.reveal().as_bytes(), hash).is_ok()
            };
            parsed.is_ok_and(|hash| verify(&hash)) && known
        })
        .await
    }

    /// The hash of a new password, as a PHC string.
    pub async fn hash(&self, password: Secret) -> Result<String, Busy> {
        self.run(move || hash(&password)).await?.ok_or(Busy)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let turn = tokio::time::timeout(PATIENCE, self.0.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Busy)?.map_err(|_| Busy)?;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        worked.await.map_err(|_| Busy)
    }
}

/// The hash of a password that nobody has.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash(&Secret::new("nobody has this password")).unwrap_or_default());

fn hash(password: &Secret) -> Option<String> {
    let hashed = Argon2::default().hash_password(password.reveal().as_bytes());
    hashed.ok().map(|hash| hash.to_string())
}

/// Refuses a new password that is too short or too long.
pub fn check_new(password: &Secret) -> Result<(), Unfit> {
    let text = password.reveal();
    let fits = text.chars().count() >= PASSWORD_CHARACTERS_MIN
        && text.len() <= PASSWORD_BYTES_MAX
        && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Unfit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_belongs_to_its_hash_and_to_no_other() {
        let hasher = Hasher::default();
        let hash = hasher.hash(Secret::new("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = |password: &str, hash: Option<&str>| {
            hasher.verify(Secret::new(password), hash.map(str::to_owned))
        };
        assert_eq!(verify("correct horse", Some(&hash)).await, Ok(true));
        assert_eq!(verify("correct horsE", Some(&hash)).await, Ok(false));
        assert_eq!(verify("correct horse", Some("damaged")).await, Ok(false));
        assert_eq!(verify("nobody has this password", None).await, Ok(false));
        let again = hasher.hash(Secret::new("correct horse")).await.unwrap();
        assert_ne!(again, hash, "salted");
    }

    #[test]
    fn a_new_password_has_a_sensible_length() {
        let check = |text: &str| check_new(&Secret::new(text));
        assert_eq!(check("12345678"), Ok(()));
        assert_eq!(check("ääääääää"), Ok(()));
        for text in ["", "1234567", &"x".repeat(257), "with\ncontrol"] {
            assert_eq!(check(text), Err(Unfit), "{text}");
        }
    }
}
