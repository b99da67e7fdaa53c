//! Tells whoever has started the process that it is ready, as sd_notify(3) describes it: systemd, or
//! another supervisor that understands `NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says on the socket of that name that devices and api processes are let in.
///
/// # Errors
/// If nobody hears it there.
pub fn ready(socket: &OsStr) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = [0; 64];
        let count = socket.recv(&mut bytes).unwrap();
        bytes[..count].to_vec()
    }

    #[test]
    fn it_is_said_on_a_socket_in_the_file_system_or_outside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        ready(path.as_os_str()).unwrap();
        assert_eq!(heard(&socket), b"READY=1");

        let name = format!("ocf-gateway-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        ready(format!("@{name}").as_ref()).unwrap();
        assert_eq!(heard(&socket), b"READY=1");

        assert!(ready(directory.path().join("nobody").as_os_str()).is_err());
    }
}
