//! The interfaces of this host and their addresses, as FreeBSD lists them, and the requests that change them.
//! The states of an address are those of RFC 4862. Called by the rest of `platform::freebsd`.

use super::{
    super::{
        error::Error,
        interface::{Interface, InterfaceAddress, LEAST_MTU},
    },
    abi::{
        AF_INET6, IFF_UP, IN6_IFF_DEPRECATED, IN6_IFF_DETACHED, IN6_IFF_DUPLICATED, IN6_IFF_NODAD,
        IN6_IFF_TENTATIVE, Ifreq, In6Addrlifetime, In6Aliasreq, In6Ifreq, ND6_INFINITE_LIFETIME,
        SIOCDIFADDR_IN6, SIOCGIFAFLAG_IN6, SIOCGIFFLAGS, SIOCGIFMTU, SIOCIFCREATE, SIOCIFDESTROY,
        SIOCSIFFLAGS, SIOCSIFMTU, SockaddrIn6,
    },
    shape::without_scope,
    sys,
};
use nix::{
    ifaddrs::{InterfaceAddress as Listed, getifaddrs},
    net::if_::if_nametoindex,
};
use std::{
    collections::BTreeSet,
    io,
    net::Ipv6Addr,
    os::fd::{AsFd, OwnedFd},
};

/// Asks and changes, by a socket of no other use.
pub struct Interfaces {
    socket: OwnedFd,
}

impl Interfaces {
    /// Opens the socket.
    pub fn open() -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        Ok(Self { socket: socket.into() })
    }

    /// The interface called `name`, if a node can live on it.
    pub fn usable(&self, name: &str) -> Result<Interface, Error> {
        let trying = |source| Error::io("list the interfaces", source);
        let listed: Vec<Listed> = getifaddrs().map_err(io::Error::from).map_err(trying)?.collect();
        let Ok(index) = if_nametoindex(name) else {
            let known: BTreeSet<_> = listed.into_iter().map(|entry| entry.interface_name).collect();
            return Err(Error::NoSuchInterface { name: name.to_owned(), known: known.into_iter().collect() });
        };
        let link_address = listed.iter().filter(|entry| entry.interface_name == name).find_map(|entry| {
            let address = entry.address.as_ref()?.as_link_addr()?.addr()?;
            // An interface without link-layer addresses has one of zeros here.
            (address != [0; 6]).then_some(address)
        });
        let mtu = self.mtu(name).map_err(|source| Error::io(format!("read the MTU of {name}"), source))?;
        if mtu < LEAST_MTU {
            let why = "its MTU is below the 1280 octets of RFC 8200";
            return Err(Error::UnusableInterface { name: name.to_owned(), why });
        }
        Ok(Interface { index, name: name.to_owned(), mtu, link_address, is_software: false })
    }

    /// The IPv6 addresses of an interface.
    pub fn addresses(&self, interface: &str) -> io::Result<Vec<InterfaceAddress>> {
        let mut addresses = Vec::new();
        for entry in getifaddrs()?.filter(|entry| entry.interface_name == interface) {
            let Some(address) = entry.address.as_ref().and_then(|address| address.as_sockaddr_in6()) else {
                continue;
            };
            let mask = entry.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in6()).map(|mask| mask.ip());
            let address = without_scope(address.ip());
            let flags = match self.address_flags(interface, address) {
                Ok(flags) => flags,
                // It went away while we look.
                Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => continue,
                Err(error) => return Err(error),
            };
            addresses.push(InterfaceAddress {
                address,
                // A mask has all its ones in front.
                prefix_length: mask.map_or(128, |mask| mask.to_bits().leading_ones() as u8),
                tentative: flags & (IN6_IFF_TENTATIVE | IN6_IFF_DUPLICATED | IN6_IFF_DETACHED) != 0,
                deprecated: flags & IN6_IFF_DEPRECATED != 0,
            });
        }
        Ok(addresses)
    }

    /// Every IPv6 address of this host.
    pub fn all_addresses() -> io::Result<BTreeSet<Ipv6Addr>> {
        let addresses =
            getifaddrs()?.filter_map(|entry| Some(without_scope(entry.address?.as_sockaddr_in6()?.ip())));
        Ok(addresses.collect())
    }

    fn address_flags(&self, interface: &str, address: Ipv6Addr) -> io::Result<i32> {
        let mut request = address_request(interface, address)?;
        sys::address_request(self.socket.as_fd(), SIOCGIFAFLAG_IN6, &mut request)?;
        Ok(first_int(request.ifr_ifru.0[0]))
    }

    /// The MTU in octets.
    pub fn mtu(&self, interface: &str) -> io::Result<u32> {
        let mut request = interface_request(interface)?;
        sys::interface_request(self.socket.as_fd(), SIOCGIFMTU, &mut request)?;
        Ok(first_int(request.ifr_ifru[0]).unsigned_abs())
    }

    /// Makes an interface of this name, for example `tun3`.
    pub fn create(&self, name: &str) -> io::Result<()> {
        sys::interface_request(self.socket.as_fd(), SIOCIFCREATE, &mut interface_request(name)?)
    }

    /// Removes such an interface with its addresses and routes.
    pub fn destroy(&self, name: &str) -> io::Result<()> {
        sys::interface_request(self.socket.as_fd(), SIOCIFDESTROY, &mut interface_request(name)?)
    }

    /// Sets the MTU in octets and brings the interface up.
    pub fn bring_up(&self, interface: &str, mtu: u32) -> io::Result<()> {
        let mut request = interface_request(interface)?;
        request.ifr_ifru[0] = of_int(mtu.cast_signed());
        sys::interface_request(self.socket.as_fd(), SIOCSIFMTU, &mut request)?;
        let mut request = interface_request(interface)?;
        sys::interface_request(self.socket.as_fd(), SIOCGIFFLAGS, &mut request)?;
        // The flags are two shorts, the low one first; the interface is up by a flag in the low one.
        request.ifr_ifru[0] = of_int(first_int(request.ifr_ifru[0]) | IFF_UP);
        sys::interface_request(self.socket.as_fd(), SIOCSIFFLAGS, &mut request)
    }

    /// Gives an interface an address without duplicate address detection. A `deprecated` one is never chosen by the
    /// kernel itself.
    pub fn add_address(
        &self,
        interface: &str,
        address: Ipv6Addr,
        prefix_length: u8,
        deprecated: bool,
    ) -> io::Result<()> {
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix_length)).unwrap_or(0);
        let mut request = In6Aliasreq {
            ifra_name: name_field(interface)?,
            ifra_addr: socket_address(address),
            ifra_prefixmask: socket_address(Ipv6Addr::from_bits(mask)),
            ifra_flags: IN6_IFF_NODAD | if deprecated { IN6_IFF_DEPRECATED } else { 0 },
            ifra_lifetime: In6Addrlifetime {
                ia6t_vltime: ND6_INFINITE_LIFETIME,
                ia6t_pltime: ND6_INFINITE_LIFETIME,
                ..In6Addrlifetime::default()
            },
            ..In6Aliasreq::default()
        };
        sys::add_address(self.socket.as_fd(), &mut request)
    }

    /// Takes the address away again.
    pub fn remove_address(&self, interface: &str, address: Ipv6Addr) -> io::Result<()> {
        let mut request = address_request(interface, address)?;
        sys::address_request(self.socket.as_fd(), SIOCDIFADDR_IN6, &mut request)
    }
}

/// A request about an interface, to be filled in further.
pub fn interface_request(name: &str) -> io::Result<Ifreq> {
    Ok(Ifreq { ifr_name: name_field(name)?, ..Ifreq::default() })
}

fn address_request(interface: &str, address: Ipv6Addr) -> io::Result<In6Ifreq> {
    let mut request = In6Ifreq { ifr_name: name_field(interface)?, ..In6Ifreq::default() };
    let name = socket_address(address);
    let [front, back] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&name.sin6_addr[at..at + 8]);
        u64::from_ne_bytes(word)
    });
    // A sockaddr_in6: length, family, port and flow in the first word, the address in the next two.
    let [length, family] = [name.sin6_len, name.sin6_family];
    request.ifr_ifru.0[0] = u64::from_ne_bytes([length, family, 0, 0, 0, 0, 0, 0]);
    request.ifr_ifru.0[1] = front;
    request.ifr_ifru.0[2] = back;
    Ok(request)
}

/// Interface names have at most 15 octets.
fn name_field(name: &str) -> io::Result<[u8; 16]> {
    let mut field = [0; 16];
    let (place, _) = field.split_at_mut(15);
    match place.get_mut(..name.len()) {
        Some(place) => place.copy_from_slice(name.as_bytes()),
        None => return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)),
    }
    Ok(field)
}

/// The kernel gives a link-local address the scope of the interface that the request names.
fn socket_address(address: Ipv6Addr) -> SockaddrIn6 {
    SockaddrIn6 {
        sin6_len: size_of::<SockaddrIn6>() as u8,
        sin6_family: AF_INET6,
        sin6_addr: address.octets(),
        ..SockaddrIn6::default()
    }
}

/// The int that stands first in memory.
fn first_int(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    i32::from_ne_bytes([a, b, c, d])
}

fn of_int(value: i32) -> u64 {
    let [a, b, c, d] = value.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}
