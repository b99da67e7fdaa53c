//! Who is at the other end of a Unix socket, as the kernel says, and whether it may be.
#![expect(unsafe_code, reason = "asks for socket options that rustix can't read")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Most groups that a process can have (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// The process that connected, at the time when it did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its process; none when it lives in a namespace that we can't see into.
    pub pid: Option<u32>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group, then its supplementary groups.
    pub gids: Vec<u32>,
}

impl Peer {
    /// Asks the kernel.
    pub fn of(socket: &UnixStream) -> io::Result<Self> {
        let nobody = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        let mut credentials = [nobody];
        socket_option(socket, libc::SO_PEERCRED, &mut credentials)?;
        let [libc::ucred { pid, uid, gid }] = credentials;
        let mut gids = supplementary_groups(socket)?;
        gids.insert(0, gid);
        Ok(Self { pid: u32::try_from(pid).ok().filter(|&pid| pid != 0), uid, gids })
    }
}

/// Who may connect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// These users.
    pub uids: Vec<u32>,
    /// Members of these groups.
    pub gids: Vec<u32>,
}

impl Allowed {
    /// Our own user, and nobody else.
    pub fn own_user() -> Self {
        Self { uids: vec![rustix::process::geteuid().as_raw()], gids: Vec::new() }
    }

    /// Whether this process may connect.
    pub fn admits(&self, peer: &Peer) -> bool {
        self.uids.contains(&peer.uid) || peer.gids.iter().any(|gid| self.gids.contains(gid))
    }
}

fn supplementary_groups(socket: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0; 32];
    match socket_option(socket, libc::SO_PEERGROUPS, &mut groups) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {
            groups.resize(GROUPS_MAX, 0);
            let count = socket_option(socket, libc::SO_PEERGROUPS, &mut groups)?;
            groups.truncate(count);
        }
        count => groups.truncate(count?),
    }
    Ok(groups)
}

/// Plain data for which any bytes are a value.
///
/// # Safety
///
/// Any bytes must be a value of it.
unsafe trait AnyBytes {}

// SAFETY: an integer.
unsafe impl AnyBytes for u32 {}
// SAFETY: three integers without padding.
unsafe impl AnyBytes for libc::ucred {}

/// Reads an option of the socket level, and says how many elements it has.
fn socket_option<T: AnyBytes>(
    socket: &UnixStream,
    option: libc::c_int,
    into: &mut [T],
) -> io::Result<usize> {
    let mut length = size_of_val(into) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a slice that is borrowed for the call; the
    // kernel writes at most that many bytes, and any bytes are a value of its elements.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            into.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(length as usize / size_of::<T>()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_our_own_user_is_known_and_admitted() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gids[0], rustix::process::getegid().as_raw());
        assert!(Allowed::own_user().admits(&peer));
    }

    #[test]
    fn a_user_or_any_of_its_groups_must_be_allowed() {
        let peer = Peer { pid: None, uid: 1000, gids: vec![1000, 27] };
        assert!(!Allowed::default().admits(&peer));
        assert!(!Allowed { uids: vec![27], gids: vec![1001] }.admits(&peer));
        assert!(Allowed { uids: vec![1000], gids: vec![] }.admits(&peer));
        assert!(Allowed { uids: vec![], gids: vec![27] }.admits(&peer));
    }
}
