//! What a ClientHello offers, for the log when nothing of it fits (device reference 3.1).

use std::fmt;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Suites that are told. A hello may have thousands.
const TOLD_MAX: usize = 32;

/// The suites that a peer offers, in its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OfferedSuites(Vec<u16>);

impl OfferedSuites {
    /// From the first record of a connection. Nothing when that is no whole ClientHello.
    pub fn of_first_record(bytes: &[u8]) -> Self {
        Self::read(bytes).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut record = Bytes(bytes);
        let [HANDSHAKE, ..] = *record.take(3)? else { return None };
        let length = record.number()?;
        let mut message = Bytes(record.take(length)?);
        // Type and three bytes of length, version, random, session id.
        let [CLIENT_HELLO, ..] = *message.take(4)? else { return None };
        message.take(2 + 32)?;
        let session = usize::from(message.take(1)?[0]);
        message.take(session)?;
        let length = message.number()?;
        let suites = message.take(length)?.chunks_exact(2).take(TOLD_MAX);
        Some(Self(suites.map(|suite| u16::from_be_bytes([suite[0], suite[1]])).collect()))
    }
}

/// As the registry writes them: `c02b c023`.
impl fmt::Display for OfferedSuites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, suite) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{suite:04x}")?;
        }
        Ok(())
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(2)?;
        Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What iotivity-lite offers (device reference 3.1).
    fn hello() -> Vec<u8> {
        let suites = [0xc02b_u16, 0xc023, 0xc02c, 0xc024, 0xc02f, 0xc030];
        let mut message = vec![CLIENT_HELLO, 0, 0, 0, 3, 3];
        message.extend([7; 32]);
        message.extend([2, 1, 1, 0, 12]);
        message.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
        message.extend([1, 0]);
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    #[test]
    fn the_suites_of_a_hello_are_told_in_their_order() {
        let told = OfferedSuites::of_first_record(&hello()).to_string();
        assert_eq!(told, "c02b c023 c02c c024 c02f c030");
    }

    #[test]
    fn what_is_cut_short_or_something_else_tells_nothing() {
        let hello = hello();
        for length in 0..hello.len() {
            assert_eq!(OfferedSuites::of_first_record(&hello[..length]), OfferedSuites::default());
        }
        let mut other = hello;
        other[0] = 23;
        assert_eq!(OfferedSuites::of_first_record(&other), OfferedSuites::default());
    }

    proptest! {
        #[test]
        fn any_bytes_tell_something_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(OfferedSuites::of_first_record(&bytes).0.len() <= TOLD_MAX);
        }
    }
}
