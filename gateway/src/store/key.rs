//! Keys: which record of which table of which partition.

use std::fmt;

use shared::placement::PartitionId;

use super::StoreError;

/// Bytes of a key before the table's own part: the partition and the table.
const KEY_PREFIX_BYTES: usize = 3;

/// Longest own part of a key, in bytes: a digest, or three identifiers, and a little.
pub const KEY_REST_BYTES_MAX: usize = 60;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = KEY_PREFIX_BYTES + KEY_REST_BYTES_MAX;

/// The kinds of records. The numbers are on every disk: they are never changed and never used again.
///
/// They leave gaps, so that what belongs together can stay together in the order of keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Table {
    /// About the store itself: format, cloud. The embedded store owns it.
    Meta = 0x00,
    /// A user: what exists beside the devices. Key: user id.
    User = 0x10,
    /// A registered device with the state of its tokens. Key: user id, device id.
    Device = 0x11,
    /// To which user a device id belongs, in the partition of the *device id*. Key: device id.
    Claim = 0x12,
    /// An outstanding single-use token. Key: user id, digest.
    DeviceToken = 0x13,
    /// A user who is being deleted: what is theirs goes first. Key: user id.
    Departure = 0x14,
    /// The links of a device. Key: user id, device id.
    Directory = 0x20,
    /// The last representations seen of a device's observed resources. Key: user id, device id, link.
    Representation = 0x21,
    /// A subscription of a partner cloud. Key: user id, subscription id.
    Subscription = 0x30,
    /// A notification waiting for delivery. Key: user id, subscription id, place in the queue.
    Outbox = 0x31,
    /// How far the deliveries of a subscription have come. Key: user id, subscription id.
    Progress = 0x32,
    /// Subscribers were told last that the device is online. Key: user id, device id.
    ToldOnline = 0x33,
    /// What a user granted to an OAuth client. Key: user id, grant id.
    Grant = 0x40,
    /// An authorization code, also for a while after it was exchanged. Key: user id, digest.
    AuthorizationCode = 0x42,
    /// An OAuth client, in partition 0. Key: digest of the client id.
    Client = 0x50,
    /// How a user logs in, in partition 0. Key: digest of the login name.
    Login = 0x51,
    /// A key that signs access tokens, encrypted, in partition 0. Key: key id.
    SigningKey = 0x52,
    /// A key that protects TLS session tickets, encrypted, in partition 0. Key: key id.
    TicketKey = 0x53,
}

impl Table {
    /// All tables in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Meta,
        Self::User,
        Self::Device,
        Self::Claim,
        Self::DeviceToken,
        Self::Departure,
        Self::Directory,
        Self::Representation,
        Self::Subscription,
        Self::Outbox,
        Self::Progress,
        Self::ToldOnline,
        Self::Grant,
        Self::AuthorizationCode,
        Self::Client,
        Self::Login,
        Self::SigningKey,
        Self::TicketKey,
    ];

    /// The table with this number, if this version knows it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.number() == number)
    }

    /// Its number in keys.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// The key of a record: partition (two bytes, big endian), table (one byte), the table's own part.
///
/// Held in place, so building one costs a copy of a few bytes. Keys order as their bytes do: by
/// partition, then table, then own part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    // Unused bytes are zero and the length comes last, so that the derived order is the order of
    // the byte strings: a proper prefix differs in a zero byte or, failing that, in its length.
    bytes: [u8; KEY_BYTES_MAX],
    len: u8,
}

impl Key {
    /// The key of a record.
    ///
    /// # Panics
    ///
    /// When `rest` is longer than [`KEY_REST_BYTES_MAX`]. Keys are made of identifiers and digests,
    /// whose lengths are fixed; text from outside never becomes a key, its digest does.
    pub fn new(partition: PartitionId, table: Table, rest: &[u8]) -> Self {
        assert!(rest.len() <= KEY_REST_BYTES_MAX, "a key is made of identifiers and digests only");
        let mut bytes = [0; KEY_BYTES_MAX];
        let len = KEY_PREFIX_BYTES + rest.len();
        bytes[..2].copy_from_slice(&partition.number().to_be_bytes());
        bytes[2] = table.number();
        bytes[KEY_PREFIX_BYTES..len].copy_from_slice(rest);
        Self { bytes, len: len as u8 }
    }

    /// A key whose own part consists of several, one behind the other. Panics as [`Self::new`].
    pub fn of_parts(partition: PartitionId, table: Table, parts: &[&[u8]]) -> Self {
        let mut rest = [0; KEY_REST_BYTES_MAX];
        let mut len = 0;
        for part in parts {
            let end = len + part.len();
            assert!(end <= KEY_REST_BYTES_MAX, "a key is made of identifiers and digests only");
            rest[len..end].copy_from_slice(part);
            len = end;
        }
        Self::new(partition, table, &rest[..len])
    }

    /// Reads a key as a database keeps it.
    pub fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        let unreadable =
            || StoreError::UnreadableKey { begins: bytes[..bytes.len().min(8)].into() };
        let (prefix, rest) =
            bytes.split_first_chunk::<KEY_PREFIX_BYTES>().ok_or_else(unreadable)?;
        let partition =
            PartitionId::new(u16::from_be_bytes([prefix[0], prefix[1]])).ok_or_else(unreadable)?;
        if rest.len() > KEY_REST_BYTES_MAX {
            return Err(unreadable());
        }
        match Table::from_number(prefix[2]) {
            Some(table) => Ok(Self::new(partition, table, rest)),
            None => Err(StoreError::UnknownTable { number: prefix[2] }),
        }
    }

    /// The key as a database keeps it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The partition it belongs to.
    pub fn partition(&self) -> PartitionId {
        PartitionId::new(u16::from_be_bytes([self.bytes[0], self.bytes[1]]))
            .expect("keys are only made of partitions that exist")
    }

    /// The table it belongs to.
    pub fn table(&self) -> Table {
        Table::from_number(self.bytes[2]).expect("keys are only made of tables that exist")
    }

    /// The table's own part.
    pub fn rest(&self) -> &[u8] {
        &self.as_bytes()[KEY_PREFIX_BYTES..]
    }
}

impl fmt::Debug for Key {
    /// Without the own part: some tables have digests of tokens there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, partition {})", self.table(), self.partition().number())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition(number: u16) -> PartitionId {
        PartitionId::new(number).unwrap()
    }

    #[test]
    fn a_key_is_partition_then_table_then_rest() {
        let key = Key::of_parts(partition(0x0a0b), Table::Device, &[b"user", b"device"]);
        assert_eq!(key.as_bytes(), b"\x0a\x0b\x11userdevice");
        assert_eq!((key.partition(), key.table()), (partition(0x0a0b), Table::Device));
        assert_eq!(key.rest(), b"userdevice");
        assert_eq!(size_of::<Key>(), 64);
    }

    /// They are on every disk.
    #[test]
    fn table_numbers_are_fixed_for_ever() {
        let numbers: Vec<u8> = Table::ALL.iter().map(|table| table.number()).collect();
        assert_eq!(
            numbers,
            [
                0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x30, 0x31, 0x32, 0x33, 0x40, 0x42,
                0x50, 0x51, 0x52, 0x53
            ]
        );
        for table in Table::ALL {
            assert_eq!(Table::from_number(table.number()), Some(table));
        }
    }

    #[test]
    fn a_table_of_a_newer_version_is_named_as_the_reason() {
        let error = Key::parse(&[0, 1, 0xfe]).unwrap_err();
        assert!(matches!(error, StoreError::UnknownTable { number: 0xfe }));
        assert!(error.to_string().contains("newer version"), "{error}");
    }

    proptest! {
        #[test]
        fn keys_order_as_their_bytes_do(
            a in any_key(),
            b in any_key(),
        ) {
            prop_assert_eq!(a.cmp(&b), a.as_bytes().cmp(b.as_bytes()));
            prop_assert_eq!(a == b, a.as_bytes() == b.as_bytes());
        }

        #[test]
        fn a_key_reads_back(key in any_key()) {
            prop_assert_eq!(Key::parse(key.as_bytes()).unwrap(), key);
        }

        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(key) = Key::parse(&bytes) {
                prop_assert_eq!(key.as_bytes(), &bytes[..]);
            }
        }
    }

    fn any_key() -> impl Strategy<Value = Key> {
        let rest = proptest::collection::vec(0..3u8, 0..=KEY_REST_BYTES_MAX);
        (0..3u16, proptest::sample::select(&Table::ALL[..3]), rest)
            .prop_map(|(number, table, rest)| Key::new(partition(number), table, &rest))
    }
}
