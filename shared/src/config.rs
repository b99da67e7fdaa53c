//! Text to a typed configuration, naming the file and key that are wrong; defaults back to text.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a configuration could not be loaded. Its text names the file, the key and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}: {cause}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, key and what was expected.
        cause: Box<toml::de::Error>,
    },
    /// The values do not make sense.
    #[error("{path}: {key}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// A value that types alone cannot refuse.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The key, with its table: `tls.certificate`.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Invalid {
    /// This key has this problem.
    pub fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// A configuration that can say what is wrong with itself.
pub trait Validate {
    /// Checks what types cannot.
    fn validate(&self) -> Result<(), Invalid>;
}

/// Loads a file. Unknown keys are an error (the types say `deny_unknown_fields`).
pub fn load<T: DeserializeOwned + Validate>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigError::Unreadable { path: path.into(), cause })?;
    parse(&text, path)
}

/// Parses a text as if it had been read from `path`.
pub fn parse<T: DeserializeOwned + Validate>(text: &str, path: &Path) -> Result<T, ConfigError> {
    let config: T = toml::from_str(text)
        .map_err(|cause| ConfigError::Malformed { path: path.into(), cause: Box::new(cause) })?;
    match config.validate() {
        Ok(()) => Ok(config),
        Err(Invalid { key, problem }) => {
            Err(ConfigError::Invalid { path: path.into(), key, problem })
        }
    }
}
