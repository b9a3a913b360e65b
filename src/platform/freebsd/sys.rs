//! The system calls that no crate of ours wraps: requests about interfaces, kernel parameters, and packets with what the
//! kernel tells beside them (RFC 3542 6). FreeBSD on 64-bit machines only: the structures are theirs.
//! Called by the rest of `platform::freebsd`; each `unsafe` block says why it is sound.

use super::{
    abi::{
        BIOCSETF, BIOCSETIF, BIOCSHDRCMPLT, BPF_RET_K, BpfInsn, BpfProgram, ICMP6_FILTER, IPV6_HOPLIMIT,
        IPV6_PATHMTU, IPV6_PKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVPKTINFO, IPV6_RECVTCLASS, IPV6_TCLASS,
        Icmp6Filter, Ifreq, In6Aliasreq, In6Ifreq, In6Pktinfo, Ip6Mtuinfo, TUNSIFHEAD,
    },
    shape::Envelope,
};
use std::{
    ffi::CString,
    io, mem,
    net::Ipv6Addr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

const _: () = assert!(size_of::<usize>() == 8, "FreeBSD's structures are known for 64-bit machines only");

/// Room for what the kernel tells beside a packet; a multiple of the alignment it wants.
const CONTROL: usize = 256;

/// Turns the C convention for failure into a result.
fn checked(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Opens a raw socket of this family and protocol that does not block and that no program started by this one inherits.
pub fn raw_socket(family: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    checked(fd as libc::ssize_t)?;
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a request that the kernel answers into `argument`.
///
/// # Safety
/// `T` must be the structure that the header declares for `request`.
unsafe fn request<T>(fd: BorrowedFd<'_>, request: u64, argument: &mut T) -> io::Result<()> {
    // SAFETY: by the contract the kernel reads and writes exactly a T, which is borrowed mutably during the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), request, ptr::from_mut(argument)) } as libc::ssize_t)
        .map(drop)
}

/// A request about an interface: one of `SIOC*` that take a `struct ifreq`.
pub fn interface_request(fd: BorrowedFd<'_>, number: u64, argument: &mut Ifreq) -> io::Result<()> {
    debug_assert_eq!(number >> 16 & 0x1fff, size_of::<Ifreq>() as u64, "the request takes another structure");
    // SAFETY: every request number carries the size of its structure, and only a struct ifreq has this one.
    unsafe { request(fd, number, argument) }
}

/// A request about an IPv6 address of an interface: one of `SIOC*_IN6` that take a `struct in6_ifreq`.
pub fn address_request(fd: BorrowedFd<'_>, number: u64, argument: &mut In6Ifreq) -> io::Result<()> {
    debug_assert_eq!(
        number >> 16 & 0x1fff,
        size_of::<In6Ifreq>() as u64,
        "the request takes another structure"
    );
    // SAFETY: every request number carries the size of its structure, and only a struct in6_ifreq has this one.
    unsafe { request(fd, number, argument) }
}

/// Gives an interface an IPv6 address.
pub fn add_address(fd: BorrowedFd<'_>, argument: &mut In6Aliasreq) -> io::Result<()> {
    // SAFETY: SIOCAIFADDR_IN6 takes a struct in6_aliasreq.
    unsafe { request(fd, super::abi::SIOCAIFADDR_IN6, argument) }
}

/// Has packets of a tun(4) come and go behind four octets of address family.
pub fn set_family_header(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut on: libc::c_int = 1;
    // SAFETY: TUNSIFHEAD takes an int.
    unsafe { request(fd, TUNSIFHEAD, &mut on) }
}

/// Has bpf(4) write to this interface, frames with headers of our own.
pub fn attach_bpf(fd: BorrowedFd<'_>, interface: &mut Ifreq) -> io::Result<()> {
    // SAFETY: BIOCSETIF takes a struct ifreq.
    unsafe { request(fd, BIOCSETIF, interface) }?;
    let mut on: libc::c_uint = 1;
    // SAFETY: BIOCSHDRCMPLT takes an unsigned int.
    unsafe { request(fd, BIOCSHDRCMPLT, &mut on) }?;
    // Nothing is read from it, so the kernel need not copy what comes.
    let nothing = [BpfInsn { code: BPF_RET_K, k: 0, ..BpfInsn::default() }];
    let mut filter = BpfProgram { bf_len: 1, bf_insns: nothing.as_ptr() as u64 };
    // SAFETY: BIOCSETF takes a struct bpf_program, and the kernel copies the instruction, which lives until after the call.
    unsafe { request(fd, BIOCSETF, &mut filter) }
}

/// Sets a socket option that is a value of type `T`.
fn set_option<T>(fd: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe one T that is borrowed during the call; the kernel only reads it.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length) };
    checked(result as libc::ssize_t).map(drop)
}

/// The path MTU in octets the kernel knows for a connected IPv6 socket.
pub fn path_mtu(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut told = Ip6Mtuinfo::default();
    let mut length = size_of::<Ip6Mtuinfo>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe one structure, the one this option has, that lives during the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IPV6,
            IPV6_PATHMTU,
            ptr::from_mut(&mut told).cast(),
            &raw mut length,
        )
    };
    checked(result as libc::ssize_t).map(|_| told.ip6m_mtu)
}

/// Has the kernel tell to whom each packet of a raw socket was sent, by which interface it came, and more of its header.
pub fn want_envelopes(fd: BorrowedFd<'_>) -> io::Result<()> {
    [IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS]
        .into_iter()
        .try_for_each(|option| set_option::<libc::c_int>(fd, libc::IPPROTO_IPV6, option, &1))
}

/// Has an ICMPv6 socket receive these types only.
pub fn want_types(fd: BorrowedFd<'_>, types: impl Iterator<Item = u8>) -> io::Result<()> {
    let mut filter = Icmp6Filter::default();
    for kind in types {
        // FreeBSD sets the bit of what passes.
        if let Some(word) = filter.icmp6_filt.get_mut(usize::from(kind >> 5)) {
            *word |= 1 << (kind & 31);
        }
    }
    set_option(fd, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &filter)
}

/// Receives what follows the IPv6 header of one packet, with what the kernel tells of that header; without blocking.
/// `None` for a packet about which it does not tell enough.
pub fn receive_payload(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<(usize, Option<Envelope>)> {
    // SAFETY: all-zero is a valid sockaddr_in6 and a valid msghdr.
    let mut name: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // Of u64, because control messages are aligned.
    let mut control = [0_u64; CONTROL / 8];
    message.msg_name = ptr::from_mut(&mut name).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as libc::socklen_t;
    // SAFETY: the header points at a name, a part and a control buffer that live and are not read during the call.
    let length = checked(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) })?;

    let (mut to, mut hop_limit, mut traffic_class) = (None, None, 0);
    // SAFETY: the kernel filled in the header; the macros stay inside the control buffer, which still lives.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !next.is_null() {
        // SAFETY: not null, so it points at a whole header in the control buffer.
        let header = unsafe { next.read_unaligned() };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(next) };
        // SAFETY: the length of a message of no data, by the same arithmetic.
        let room = (header.cmsg_len as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        if header.cmsg_level == libc::IPPROTO_IPV6 {
            match header.cmsg_type {
                IPV6_PKTINFO if room >= size_of::<In6Pktinfo>() => {
                    // SAFETY: the message has room for the structure, which any octets are valid for.
                    to = Some(unsafe { data.cast::<In6Pktinfo>().read_unaligned() });
                }
                IPV6_HOPLIMIT | IPV6_TCLASS if room >= size_of::<libc::c_int>() => {
                    // SAFETY: the message has room for an int.
                    let value = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                    let value = u8::try_from(value).ok();
                    if header.cmsg_type == IPV6_HOPLIMIT {
                        hop_limit = value;
                    } else {
                        traffic_class = value.unwrap_or(0);
                    }
                }
                _ => {}
            }
        }
        // SAFETY: `next` is a header of this message.
        next = unsafe { libc::CMSG_NXTHDR(&raw const message, next) };
    }
    let whole = message.msg_flags & libc::MSG_TRUNC == 0;
    let envelope = to.zip(hop_limit).filter(|_| whole).map(|(to, hop_limit)| Envelope {
        source: Ipv6Addr::from(name.sin6_addr.s6_addr),
        destination: Ipv6Addr::from(to.ipi6_addr),
        interface: to.ipi6_ifindex,
        hop_limit,
        traffic_class,
    });
    Ok((length, envelope))
}

/// Binds a divert socket to its port.
pub fn bind_divert(fd: BorrowedFd<'_>, port: u16) -> io::Result<()> {
    let mut name = divert_name();
    name.sin_port = port.to_be();
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe one sockaddr_in that lives during the call.
    let result = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&name).cast(), length) };
    checked(result as libc::ssize_t).map(drop)
}

/// Receives one diverted packet without blocking: its length, and the number of the rule that diverted it.
pub fn receive_diverted(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<(usize, u16)> {
    let mut name = divert_name();
    let mut length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the buffer and the name are borrowed mutably during the call and described with their lengths.
    let received = checked(unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            into.as_mut_ptr().cast(),
            into.len(),
            libc::MSG_DONTWAIT,
            ptr::from_mut(&mut name).cast(),
            &raw mut length,
        )
    })?;
    // The kernel puts the rule's number where a port would be, but in the machine's order.
    Ok((received, name.sin_port))
}

/// Has the kernel send a whole packet as if ipfw had diverted it at rule `behind` on its way out.
pub fn send_diverted(fd: BorrowedFd<'_>, packet: &[u8], behind: u16) -> io::Result<()> {
    // No address says "on its way out", and no interface name is given: nothing of ours goes in by this door, so that
    // neither an interface without an IPv4 address nor one with a name of more than seven letters matters.
    let mut name = divert_name();
    name.sin_port = behind;
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the packet and the name are borrowed during the call, which only reads them.
    checked(unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT,
            ptr::from_ref(&name).cast(),
            length,
        )
    })
    .map(drop)
}

/// The empty name of a divert socket, which is of the IPv4 family whatever it carries.
fn divert_name() -> libc::sockaddr_in {
    // SAFETY: all-zero is a valid sockaddr_in.
    let mut name: libc::sockaddr_in = unsafe { mem::zeroed() };
    name.sin_len = size_of::<libc::sockaddr_in>() as u8;
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name
}

/// The value of a kernel parameter, as sysctl(8) prints a number or a text.
pub fn parameter(name: &str) -> io::Result<String> {
    let octets = parameter_octets(name)?;
    Ok(match (<[u8; 4]>::try_from(&octets[..]), <[u8; 8]>::try_from(&octets[..])) {
        // No text parameter that is read here has a length of four or eight octets.
        (Ok(int), _) => i32::from_ne_bytes(int).to_string(),
        (_, Ok(long)) => i64::from_ne_bytes(long).to_string(),
        _ => String::from_utf8_lossy(&octets).trim_end_matches(['\0', '\n']).to_owned(),
    })
}

/// The value of a kernel parameter as it is.
pub fn parameter_octets(name: &str) -> io::Result<Vec<u8>> {
    let name = CString::new(name)?;
    grown(|place, length| {
        // SAFETY: the name ends with a zero octet; `place` is null or has room for `length` octets.
        unsafe { libc::sysctlbyname(name.as_ptr(), place, length, ptr::null(), 0) }
    })
}

/// Sets a kernel parameter that is an int.
pub fn write_parameter(name: &str, value: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    let value: libc::c_int = value.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = size_of::<libc::c_int>();
    // SAFETY: the name ends with a zero octet; the new value is an int that is only read; nothing is asked back.
    let result = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::from_ref(&value).cast(),
            length,
        )
    };
    checked(result as libc::ssize_t).map(drop)
}

/// What the kernel lists under a numbered parameter.
pub fn listing(number: &[libc::c_int]) -> io::Result<Vec<u8>> {
    grown(|place, length| {
        // SAFETY: the number is described with its length; `place` is null or has room for `length` octets.
        unsafe { libc::sysctl(number.as_ptr(), number.len() as libc::c_uint, place, length, ptr::null(), 0) }
    })
}

/// Asks for the length and then for the octets, again when they grew in between.
fn grown(mut ask: impl FnMut(*mut libc::c_void, *mut usize) -> libc::c_int) -> io::Result<Vec<u8>> {
    loop {
        let mut length = 0;
        checked(ask(ptr::null_mut(), &raw mut length) as libc::ssize_t)?;
        // What is listed grows while we look.
        length += length / 4 + 64;
        let mut octets = vec![0; length];
        match checked(ask(octets.as_mut_ptr().cast(), &raw mut length) as libc::ssize_t) {
            Ok(_) => {
                octets.truncate(length);
                return Ok(octets);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) => return Err(error),
        }
    }
}
