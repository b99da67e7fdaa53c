//! Making a listener that several rings, each with its own, can share an address with.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen as begin, socket_with, sockopt,
};

/// Listens at this address together with every other such listener of the process
/// (`SO_REUSEPORT`), so that each ring can accept on one of its own. Accepted sockets inherit
/// `TCP_NODELAY`.
///
/// # Errors
/// Those of `socket`, `bind` and `listen`.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    begin(&socket, backlog)?;
    Ok(socket.into())
}

/// The descriptor, if it is a listening TCP socket.
pub(super) fn checked(listener: OwnedFd) -> io::Result<OwnedFd> {
    let family = sockopt::socket_domain(&listener)?;
    let of_ip = family == AddressFamily::INET || family == AddressFamily::INET6;
    if of_ip && sockopt::socket_acceptconn(&listener)? {
        Ok(listener)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening TCP socket"))
    }
}
