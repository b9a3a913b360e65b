//! The system calls that no crate of ours wraps: batches of packets and a few socket options.
//! They carry what RFC 3542 leaves out (header included sending) and what the packet socket needs.
//! Called by the rest of `platform::linux`; each `unsafe` block says why it is sound.

use crate::wire::PacketBuffer;
use std::{
    fs, io,
    io::IoSliceMut,
    mem,
    net::Ipv6Addr,
    os::{
        fd::{AsRawFd, BorrowedFd},
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    ptr,
};

/// Most packets in one system call.
pub const BATCH: usize = 64;

/// Turns the C convention for failure into a result.
fn checked(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The length of a C type, as the socket calls want it.
fn length_of<T>() -> libc::socklen_t {
    // No type used here is longer than a few hundred octets.
    mem::size_of::<T>() as libc::socklen_t
}

/// Sets an integer socket option.
pub fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe one integer that lives during the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            length_of::<libc::c_int>(),
        )
    };
    checked(result).map(drop)
}

/// Reads a socket option that is a plain integer type.
fn option<T: Copy + Default>(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut length = length_of::<T>();
    // SAFETY: the pointer and the length describe one integer that lives during the call.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, option, ptr::from_mut(&mut value).cast(), &mut length)
    };
    checked(result).map(|_| value)
}

/// The path MTU in octets the kernel knows for a connected IPv6 socket.
pub fn path_mtu(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mtu: libc::c_int = option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU)?;
    Ok(mtu.unsigned_abs())
}

/// A number that no other network namespace of this boot has, or ever had.
pub fn namespace_cookie() -> io::Result<String> {
    use std::os::fd::AsFd;
    let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    match option::<u64>(socket.as_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE) {
        Ok(cookie) => Ok(format!("cookie {cookie}")),
        // Kernels before 5.14 have no cookie; the inode number is unique among living namespaces only.
        Err(_) => Ok(format!("inode {}", fs::metadata("/proc/thread-self/ns/net")?.ino())),
    }
}

/// Takes the abstract socket name `name`, which one process in this network namespace can hold; it is free
/// again when the socket is closed, however that comes about.
pub fn claim(name: &str) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Has a tunnel device outlive the process that holds it, or not any more.
pub fn set_persistent(device: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    // SAFETY: this request reads no memory of ours, only the number.
    let result =
        unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(persistent)) };
    checked(result).map(drop)
}

/// Binds a packet socket to a protocol (`ETH_P_*`) on one interface: from now on it receives. Sockets of all protocols
/// see a frame before traffic control does, those of one protocol after it.
pub fn bind_to_interface(fd: BorrowedFd<'_>, index: u32, protocol: libc::c_int) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    // SAFETY: the pointer and the length describe one sockaddr_ll that lives during the call.
    let result = unsafe {
        libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), length_of::<libc::sockaddr_ll>())
    };
    checked(result).map(drop)
}

/// Receives up to [`BATCH`] datagrams without blocking; datagram `i` is scattered over `parts[i]` and
/// its length lands in `lengths[i]`. Returns how many came.
pub fn receive_batch<const PARTS: usize>(
    fd: BorrowedFd<'_>,
    parts: &mut [[IoSliceMut<'_>; PARTS]],
    lengths: &mut [usize; BATCH],
) -> io::Result<usize> {
    // SAFETY: all-zero is a valid mmsghdr (no name, no parts, no control).
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    for (message, parts) in messages.iter_mut().zip(parts.iter_mut()) {
        // IoSliceMut is guaranteed to have the layout of iovec.
        message.msg_hdr.msg_iov = parts.as_mut_ptr().cast();
        message.msg_hdr.msg_iovlen = PARTS;
    }
    let count = parts.len().min(BATCH);
    // SAFETY: the first `count` headers point at parts that are mutably borrowed during the call.
    let received = checked(unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    })?;
    for (length, message) in lengths.iter_mut().zip(&messages) {
        *length = usize::try_from(message.msg_len).unwrap_or(0);
    }
    Ok(received)
}

/// Sends up to [`BATCH`] whole IPv6 packets, each to the address beside it, and returns how many the
/// kernel took; the error is that of the first packet.
pub fn send_batch(
    fd: BorrowedFd<'_>,
    packets: &[PacketBuffer],
    destination: impl Fn(&PacketBuffer) -> (Ipv6Addr, u32),
) -> io::Result<usize> {
    // SAFETY: all-zero is a valid mmsghdr, iovec and sockaddr_in6.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut names: [libc::sockaddr_in6; BATCH] = unsafe { mem::zeroed() };
    for (((message, part), name), packet) in messages.iter_mut().zip(&mut parts).zip(&mut names).zip(packets)
    {
        let (address, scope) = destination(packet);
        name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        name.sin6_addr.s6_addr = address.octets();
        name.sin6_scope_id = scope;
        part.iov_base = packet.as_slice().as_ptr().cast_mut().cast();
        part.iov_len = packet.len();
        message.msg_hdr.msg_name = ptr::from_mut(name).cast();
        message.msg_hdr.msg_namelen = length_of::<libc::sockaddr_in6>();
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
    }
    let count = packets.len().min(BATCH);
    // SAFETY: the first `count` headers point at names and parts above and at packets borrowed during
    // the call; the kernel only reads through them.
    checked(unsafe {
        libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT)
    })
}
