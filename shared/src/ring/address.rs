//! Socket addresses as the kernel lays them out (`sockaddr_in`, `sockaddr_in6`), without pointers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Size of `sockaddr_in6`, the larger of the two.
const BYTES_MAX: usize = 28;
const V4_BYTES: u32 = 16;
const V6_BYTES: u32 = 28;

/// A `sockaddr_in` or `sockaddr_in6` and its length.
///
/// Ports and IPv4 addresses are big-endian, family and scope in the order of the machine; the flow
/// is passed through as the standard library does.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RawAddress {
    pub(super) bytes: [u8; BYTES_MAX],
    /// How many of the bytes count; the kernel reads it as `socklen_t`.
    pub(super) length: u32,
}

impl RawAddress {
    /// Room for whatever address the kernel writes.
    pub(super) const ROOM: Self = Self { bytes: [0; BYTES_MAX], length: BYTES_MAX as u32 };

    /// The address, if it is an IPv4 or IPv6 one.
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes([self.bytes[0], self.bytes[1]]);
        let port = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        let word = |at: usize| <[u8; 4]>::try_from(&self.bytes[at..at + 4]).ok();
        match i32::from(family) {
            libc::AF_INET if self.length >= V4_BYTES => {
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(word(4)?)), port))
            }
            libc::AF_INET6 if self.length >= V6_BYTES => {
                let flow = u32::from_ne_bytes(word(4)?);
                let ip = <[u8; 16]>::try_from(&self.bytes[8..24]).ok()?;
                let scope = u32::from_ne_bytes(word(24)?);
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddrV4> for RawAddress {
    fn from(address: SocketAddrV4) -> Self {
        let mut raw = Self { bytes: [0; BYTES_MAX], length: V4_BYTES };
        raw.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        raw.bytes[4..8].copy_from_slice(&address.ip().octets());
        raw
    }
}

impl From<SocketAddrV6> for RawAddress {
    fn from(address: SocketAddrV6) -> Self {
        let mut raw = Self { bytes: [0; BYTES_MAX], length: V6_BYTES };
        raw.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        raw.bytes[4..8].copy_from_slice(&address.flowinfo().to_ne_bytes());
        raw.bytes[8..24].copy_from_slice(&address.ip().octets());
        raw.bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
        raw
    }
}

impl From<SocketAddr> for RawAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => v4.into(),
            SocketAddr::V6(v6) => v6.into(),
        }
    }
}

/// Where a socket of ours connects to, and from where.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// Bound to first, if there is one.
    pub(super) local: Option<RawAddress>,
    pub(super) peer: RawAddress,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_reads_back_as_it_was_written(ip: IpAddr, port: u16) {
            let address = SocketAddr::new(ip, port);
            prop_assert_eq!(RawAddress::from(address).decode(), Some(address));
        }

        #[test]
        fn any_bytes_are_an_address_or_none(bytes: [u8; BYTES_MAX], length in 0u32..64) {
            if let Some(address) = (RawAddress { bytes, length }).decode() {
                prop_assert_eq!(RawAddress::from(address).decode(), Some(address));
            }
        }
    }

    #[test]
    fn room_that_nobody_wrote_to_is_no_address() {
        assert_eq!(RawAddress::ROOM.decode(), None);
    }
}
