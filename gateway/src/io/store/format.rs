//! The record that says what a store is: whose, in which format, with how many partitions.

use shared::ids::CloudId;
use shared::placement::{PARTITIONS, PartitionId};

use crate::store::{Key, Table};

/// The format of keys and of everything that is not versioned by itself. A newer one is refused.
const FORMAT: u16 = 1;

const MAGIC: [u8; 4] = *b"OCFS";
const RECORD_BYTES: usize = 4 + 2 + 2 + 16;

/// Why a store is not ours.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// The record is missing or is something else.
    #[error("this is not a store of ocf-gateway: check store.path")]
    NotAStore,
    /// Written by a newer version.
    #[error(
        "the store has format {found}, this version of ocf-gateway knows only {FORMAT}: run the newer version"
    )]
    Newer {
        /// Its format.
        found: u16,
    },
    /// Made with another number of partitions.
    #[error("the store has {found} partitions, this version of ocf-gateway has {PARTITIONS}")]
    Partitions {
        /// How many it has.
        found: u16,
    },
    /// Of another cloud.
    #[error(
        "the store belongs to cloud {theirs}, but cloud.id is {ours}: one of cloud.id and cloud.state_dir is wrong"
    )]
    OtherCloud {
        /// Whose it is.
        theirs: CloudId,
        /// Who we are.
        ours: CloudId,
    },
}

/// The key of the record; the first of all keys.
pub(super) fn key() -> Key {
    let first = PartitionId::new(0).expect("there is a first partition");
    Key::new(first, Table::Meta, b"format")
}

/// The record of a new store.
pub(super) fn record(cloud: CloudId) -> (Key, [u8; RECORD_BYTES]) {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&FORMAT.to_be_bytes());
    bytes[6..8].copy_from_slice(&PARTITIONS.to_be_bytes());
    bytes[8..].copy_from_slice(cloud.as_bytes());
    (key(), bytes)
}

/// Whether a store with this record is ours.
pub(super) fn check(record: Option<&[u8]>, ours: CloudId) -> Result<(), FormatError> {
    let (magic, rest) =
        record.and_then(|record| record.split_first_chunk::<4>()).ok_or(FormatError::NotAStore)?;
    let (format, rest) = rest.split_first_chunk::<2>().ok_or(FormatError::NotAStore)?;
    if *magic != MAGIC {
        return Err(FormatError::NotAStore);
    }
    // What follows is only known for our own format.
    match u16::from_be_bytes(*format) {
        FORMAT => {}
        0 => return Err(FormatError::NotAStore),
        found => return Err(FormatError::Newer { found }),
    }
    let (partitions, cloud) = rest.split_first_chunk::<2>().ok_or(FormatError::NotAStore)?;
    let cloud: [u8; 16] = cloud.try_into().map_err(|_| FormatError::NotAStore)?;
    let found = u16::from_be_bytes(*partitions);
    if found != PARTITIONS {
        return Err(FormatError::Partitions { found });
    }
    let theirs = CloudId::from_bytes(cloud);
    if theirs != ours {
        return Err(FormatError::OtherCloud { theirs, ours });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_not_ours_is_refused_with_the_reason() {
        let ours = CloudId::from_bytes([1; 16]);
        let theirs = CloudId::from_bytes([2; 16]);
        let (_, record) = record(ours);
        assert_eq!(check(Some(&record), ours), Ok(()));
        assert_eq!(
            check(Some(&record), theirs),
            Err(FormatError::OtherCloud { theirs: ours, ours: theirs })
        );
        assert_eq!(check(None, ours), Err(FormatError::NotAStore));
        assert_eq!(check(Some(b"something else"), ours), Err(FormatError::NotAStore));
        assert_eq!(check(Some(&record[..20]), ours), Err(FormatError::NotAStore));

        let mut newer = record;
        newer[5] = 2;
        assert_eq!(check(Some(&newer), ours), Err(FormatError::Newer { found: 2 }));
        let mut other = record;
        other[6] = 0;
        assert_eq!(check(Some(&other), ours), Err(FormatError::Partitions { found: 0 }));
    }
}
