//! Text to a typed configuration, naming the file and key that are wrong; defaults back to text.
//!
//! One convention for all our files: integers carry their unit in the key (`handshake_secs`,
//! `frame_bytes_max`); the code reads durations as [`Duration`](std::time::Duration) through
//! [`secs`] and [`millis`]. A binary keeps its commented default as text and proves in a test that
//! the text parses to its `Default` and, with [`key_differences`], that it names every key.

use std::path::{Path, PathBuf};

use serde::Serialize;
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
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {problem}")]
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

    /// Refuses the key with this problem unless the condition holds.
    pub fn unless(
        holds: bool,
        key: &'static str,
        problem: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(key, problem())) }
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

/// Keys that a commented default and a configuration do not have in common, each with its tables:
/// `only in the text: tls.foo`. For the test that keeps the text complete.
///
/// In the text a key without a default stands as a comment without a space (`#shards = 2`), unlike
/// prose; give a configuration in which every such key has a value.
pub fn key_differences(text: &str, every_key_set: &impl Serialize) -> Vec<String> {
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let in_text = match toml::from_str::<toml::Table>(&uncommented) {
        Ok(table) => keys(&table, ""),
        Err(cause) => return vec![format!("the text with all keys uncommented: {cause}")],
    };
    let in_config = match toml::Table::try_from(every_key_set) {
        Ok(table) => keys(&table, ""),
        Err(cause) => return vec![format!("the configuration: {cause}")],
    };
    let missing = in_config.iter().filter(|key| !in_text.contains(key));
    let unknown = in_text.iter().filter(|key| !in_config.contains(key));
    missing
        .map(|key| format!("only in the configuration: {key}"))
        .chain(unknown.map(|key| format!("only in the text: {key}")))
        .collect()
}

fn keys(table: &toml::Table, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        if let toml::Value::Table(inner) = value {
            found.extend(keys(inner, &format!("{path}.")));
        }
        found.push(path);
    }
    found
}

/// A `Duration` in whole seconds: `#[serde(rename = "handshake_secs", with = "secs")]`.
pub mod secs {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads whole seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }

    /// Writes whole seconds.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.as_secs())
    }
}

/// A `Duration` in whole milliseconds: `#[serde(rename = "back_off_millis", with = "millis")]`.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads whole milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    /// Writes whole milliseconds.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "patience_secs", with = "secs")]
        patience: Duration,
        inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        count: Option<u32>,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { patience: Duration::from_secs(5), inner: Inner::default() }
        }
    }

    impl Validate for Sample {
        fn validate(&self) -> Result<(), Invalid> {
            Invalid::unless(!self.patience.is_zero(), "patience_secs", || "at least 1".into())
        }
    }

    fn parse_sample(text: &str) -> Result<Sample, String> {
        parse(text, Path::new("sample.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_has_its_default_and_durations_are_seconds() {
        assert_eq!(parse_sample(""), Ok(Sample::default()));
        assert_eq!(parse_sample("patience_secs = 7").unwrap().patience, Duration::from_secs(7));
    }

    #[test]
    fn an_error_names_the_file_and_the_key() {
        for (text, expected) in [
            ("patience = 1", "patience"),
            ("patience_secs = -1", "patience_secs"),
            ("patience_secs = 0", "patience_secs: at least 1"),
            ("[inner]\ncount = \"two\"", "count"),
        ] {
            let error = parse_sample(text).unwrap_err();
            assert!(
                error.starts_with("\"sample.toml\"") || error.starts_with("sample.toml"),
                "{error}"
            );
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_key_that_the_commented_default_lacks_or_invents_is_found() {
        let full = Sample { inner: Inner { count: Some(1) }, ..Sample::default() };
        let complete = "# Prose.\npatience_secs = 5\n[inner]\n#count = 2\n";
        assert_eq!(key_differences(complete, &full), Vec::<String>::new());
        assert_eq!(
            key_differences("[inner]\n#counts = 2\n", &full),
            [
                "only in the configuration: inner.count",
                "only in the configuration: patience_secs",
                "only in the text: inner.counts"
            ]
        );
    }
}
