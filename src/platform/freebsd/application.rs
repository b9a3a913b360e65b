//! The applications behind a responder as FreeBSD sees them: connections of an anycast address, and programs that must
//! not outlive the node (the metric and the drain of the advanced model, thesis 3.1.4).
//! Called by `daemon`.

use super::{abi::PROC_PDEATHSIG_CTL, connections, sys};
use std::{io, net::Ipv6Addr, os::unix::process::CommandExt, process::Command, ptr};

/// The established TCP connections whose address on this host is `address`.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn established_connections(address: Ipv6Addr) -> io::Result<u64> {
    connections::established(&sys::parameter_octets("net.inet.tcp.pcblist")?, address)
}

/// Makes the program end when this process does, however that ends.
pub fn die_with_parent(command: &mut Command) {
    let ask = || {
        let mut signal: libc::c_int = libc::SIGKILL;
        // SAFETY: this request reads an int, which lives during the call.
        let result =
            unsafe { libc::procctl(libc::P_PID, 0, PROC_PDEATHSIG_CTL, ptr::from_mut(&mut signal).cast()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec one system call is made and no memory is allocated.
    unsafe { command.pre_exec(ask) };
}
