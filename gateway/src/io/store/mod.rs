//! The store on this host: state directory, database, and the thread between it and the shards.
//!
//! ```text
//! State::open ─► state_dir: lock, store key
//!             ─► embedded: log ─► base        the database, behind crate::store::Store
//! StoreThread::start(store) ─► a ShardPort for each shard
//! ```
//!
//! Reading order: [`thread`], [`embedded`], `log` with `frame`, `applier`, `base`, `format`, [`state_dir`].

pub mod embedded;
pub mod state_dir;
pub mod thread;

mod applier;
mod base;
mod format;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod log;

pub use embedded::{EmbeddedStore, Loader, OpenError, Place};
pub use format::FormatError;
pub use state_dir::{StateDir, StateDirError};
pub use thread::{Answer, Figures, ShardPort, StoreThread, SubmitError, Wake};

use crate::config::Config;
use crate::store::{STORE_KEY_BYTES, StoreKey};

/// Everything that survives, open.
pub struct State {
    /// Keeps other gateways out for as long as it lives.
    pub dir: StateDir,
    /// The key that tokens and secrets depend on.
    pub key: StoreKey,
    /// The database.
    pub store: EmbeddedStore,
}

/// Why the state of the cloud cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory or the store key.
    #[error(transparent)]
    Dir(#[from] StateDirError),
    /// The database.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The system has no random numbers.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl State {
    /// Opens the state of the configured cloud, or creates it.
    pub fn open(config: &Config) -> Result<Self, StateError> {
        let dir = StateDir::open(&config.cloud.state_dir)?;
        let place = Place {
            dir: config.store_dir(),
            cloud: config.cloud.id,
            free_bytes_min: config.store.free_bytes_min,
        };
        let key = match &config.store.key_file {
            Some(path) => state_dir::configured_store_key(path)?,
            None => {
                let mut fresh = [0; STORE_KEY_BYTES];
                getrandom::fill(&mut fresh)?;
                dir.store_key(EmbeddedStore::exists(&place.dir), fresh)?
            }
        };
        Ok(Self { dir, key, store: EmbeddedStore::open(place)? })
    }
}

#[cfg(test)]
mod tests;
