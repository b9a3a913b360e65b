//! What the kernel's routing would do with a packet of ours, asked with a datagram socket that is connected and never sends:
//! the source address it would choose (RFC 6724), the path MTU that it knows (RFC 8201). What the socket is marked with is
//! each system's own. Called by the `Host` of each system below `platform`.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// Connects `socket` to `destination`, which is on the interface of this number when it is link-local; `None` when there
/// is no route.
pub fn towards(socket: UdpSocket, destination: Ipv6Addr, interface: u32) -> io::Result<Option<UdpSocket>> {
    let scope = if destination.is_unicast_link_local() { interface } else { 0 };
    // Any port will do.
    match socket.connect(SocketAddrV6::new(destination, 9, 0, scope)) {
        Ok(()) => Ok(Some(socket)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EADDRNOTAVAIL | libc::EACCES)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The address of its own that the kernel chose for a connected socket.
pub fn chosen_source(socket: &UdpSocket) -> io::Result<Option<Ipv6Addr>> {
    Ok(match socket.local_addr()? {
        SocketAddr::V6(local) => Some(*local.ip()),
        SocketAddr::V4(_) => None,
    })
}
