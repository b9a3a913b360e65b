//! FreeBSD's routing messages (route(4)) as values and back, without any socket: routes, neighbours, addresses, interfaces.
//! Total and lossless: octets give a message or a [`Malformed`] with an offset, and a message gives its octets again.
//! Called by `platform::freebsd`, which asks and listens; RFC 3775 10.4.1 is why a node does.

use super::abi::{
    AF_INET6, AF_LINK, IfAnnouncemsghdr, IfMsghdr, IfaMsghdr, RTAX_BRD, RTAX_DST, RTAX_GATEWAY, RTAX_IFA,
    RTAX_IFP, RTAX_MAX, RTAX_NETMASK, RTM_ADD, RTM_CHANGE, RTM_DELADDR, RTM_DELETE, RTM_GET, RTM_IFANNOUNCE,
    RTM_IFINFO, RTM_LOCK, RTM_LOSING, RTM_MISS, RTM_NEWADDR, RTM_REDIRECT, RTM_RESOLVE, RTM_VERSION,
    RtMetrics, RtMsghdr, SockaddrDl, SockaddrIn6,
};
use std::{
    fmt,
    mem::offset_of,
    net::Ipv6Addr,
    ops::{Index, IndexMut},
};

/// What every message begins with: length, version and type.
const PREAMBLE: usize = 4;
/// Addresses follow one another at multiples of this (a C long).
const ALIGNMENT: usize = 8;

/// Octets that are no routing message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at octet {offset} of a routing message")]
pub struct Malformed {
    /// What is wrong.
    pub problem: Problem,
    /// Where, counted from the begin of the message.
    pub offset: usize,
}

/// The ways in which octets are no routing message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The octets end before the message does; the offset is where they end.
    #[error("truncated")]
    Truncated,
    /// Another version than [`RTM_VERSION`].
    #[error("unknown version")]
    Version,
    /// The message is shorter than its type allows.
    #[error("too short for its type")]
    Length,
    /// An address overruns its message, or claims a length without room for its family.
    #[error("address of a wrong length")]
    Address,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// About a route, or with `RTF_LLDATA` about a neighbour.
    Route(Route),
    /// An address of an interface came or went.
    Address(AddressChange),
    /// The state of an interface changed.
    Interface(InterfaceState),
    /// An interface came or went.
    Arrival(Arrival),
    /// Any other type, kept as it is.
    Other {
        /// The type.
        kind: u8,
        /// What follows the length, the version and the type.
        rest: Vec<u8>,
    },
}

/// A message about a route or a neighbour (`struct rt_msghdr`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// `RTM_ADD`, `RTM_DELETE`, `RTM_CHANGE`, `RTM_GET` and others.
    pub kind: u8,
    /// Number of the interface.
    pub index: u16,
    /// Not used by anybody.
    pub spare: u16,
    /// `RTF_*`.
    pub flags: i32,
    /// Process that asked, as the kernel fills it in.
    pub process: i32,
    /// Number of the request.
    pub sequence: i32,
    /// Error number of the answer; 0 for success.
    pub error: i32,
    /// Which flags a change is about.
    pub flag_mask: i32,
    /// Which metrics a request sets.
    pub metrics_set: u64,
    /// The metrics.
    pub metrics: RtMetrics,
    /// Destination, gateway and the others.
    pub addresses: Addresses,
}

/// A message about an address of an interface (`struct ifa_msghdr`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressChange {
    /// It came, or else it went.
    pub added: bool,
    /// Number of the interface.
    pub index: u16,
    /// Not used by anybody.
    pub spare: u16,
    /// Flags of the address.
    pub flags: i32,
    /// Metric of the interface.
    pub metric: i32,
    /// Address, mask and the others.
    pub addresses: Addresses,
}

/// A message about the state of an interface (`struct if_msghdr`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceState {
    /// Number of the interface.
    pub index: u16,
    /// Not used by anybody.
    pub spare: u16,
    /// `IFF_*`.
    pub flags: i32,
    /// Its statistics, as they are.
    pub data: Vec<u8>,
    /// Addresses.
    pub addresses: Addresses,
}

/// An interface that came or went (`struct if_announcemsghdr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Number of the interface.
    pub index: u16,
    /// Its name, filled up with zeros.
    pub name: [u8; 16],
    /// `IFAN_ARRIVAL` or `IFAN_DEPARTURE`.
    pub what: u16,
}

/// The addresses of a message by what they are for, `RTAX_DST` to `RTAX_BRD`; what does not exist is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses([Option<Sockaddr>; RTAX_MAX as usize]);

/// What an address of a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// The destination of a route.
    Destination = RTAX_DST as isize,
    /// Its next hop, or the link-layer address of a neighbour.
    Gateway = RTAX_GATEWAY as isize,
    /// The mask of a destination or an address.
    Netmask = RTAX_NETMASK as isize,
    /// The interface.
    Interface = RTAX_IFP as isize,
    /// The interface's own address.
    Own = RTAX_IFA as isize,
    /// The far end.
    Broadcast = RTAX_BRD as isize,
}

impl Index<For> for Addresses {
    type Output = Option<Sockaddr>;

    fn index(&self, purpose: For) -> &Self::Output {
        // Every purpose is below RTAX_MAX.
        &self.0[purpose as usize]
    }
}

impl IndexMut<For> for Addresses {
    fn index_mut(&mut self, purpose: For) -> &mut Self::Output {
        &mut self.0[purpose as usize]
    }
}

/// An address of any family, as it is: the first octet is its length, except that an absent address has no octet.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sockaddr(Vec<u8>);

/// A link-layer address with its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// Number of the interface.
    pub index: u16,
    /// `IFT_*`.
    pub kind: u8,
    /// The address.
    pub octets: Vec<u8>,
}

impl Sockaddr {
    /// An IPv6 address; `scope` is the interface's number for a link-local one, else 0.
    pub fn ipv6(address: Ipv6Addr, scope: u32) -> Self {
        let mut octets = vec![0; size_of::<SockaddrIn6>()];
        put(&mut octets, offset_of!(SockaddrIn6, sin6_len), &[size_of::<SockaddrIn6>() as u8]);
        put(&mut octets, offset_of!(SockaddrIn6, sin6_family), &[AF_INET6]);
        put(&mut octets, offset_of!(SockaddrIn6, sin6_addr), &address.octets());
        put(&mut octets, offset_of!(SockaddrIn6, sin6_scope_id), &scope.to_ne_bytes());
        Self(octets)
    }

    /// A link-layer address of at most 46 octets; longer ones are cut off.
    pub fn link(address: &LinkAddress) -> Self {
        let mut octets = vec![0; size_of::<SockaddrDl>()];
        let length = address.octets.len().min(size_of::<SockaddrDl>() - offset_of!(SockaddrDl, sdl_data));
        put(&mut octets, offset_of!(SockaddrDl, sdl_len), &[size_of::<SockaddrDl>() as u8]);
        put(&mut octets, offset_of!(SockaddrDl, sdl_family), &[AF_LINK]);
        put(&mut octets, offset_of!(SockaddrDl, sdl_index), &address.index.to_ne_bytes());
        put(&mut octets, offset_of!(SockaddrDl, sdl_type), &[address.kind]);
        put(&mut octets, offset_of!(SockaddrDl, sdl_alen), &[length as u8]);
        put(&mut octets, offset_of!(SockaddrDl, sdl_data), address.octets.get(..length).unwrap_or_default());
        Self(octets)
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The IPv6 address and its scope. The kernel sometimes hides the scope of a link-local address in its third and
    /// fourth octet; here it is where it belongs.
    pub fn as_ipv6(&self) -> Option<(Ipv6Addr, u32)> {
        if self.0.get(offset_of!(SockaddrIn6, sin6_family)) != Some(&AF_INET6) {
            return None;
        }
        let mut octets: [u8; 16] = array(&self.0, offset_of!(SockaddrIn6, sin6_addr))?;
        let mut scope = u32::from_ne_bytes(array(&self.0, offset_of!(SockaddrIn6, sin6_scope_id))?);
        if Ipv6Addr::from(octets).is_unicast_link_local() {
            let hidden = u32::from(octets[2]) << 8 | u32::from(octets[3]);
            scope = if scope == 0 { hidden } else { scope };
            (octets[2], octets[3]) = (0, 0);
        }
        Some((octets.into(), scope))
    }

    /// The link-layer address.
    pub fn as_link(&self) -> Option<LinkAddress> {
        if self.0.get(offset_of!(SockaddrDl, sdl_family)) != Some(&AF_LINK) {
            return None;
        }
        let octet = |at: usize| self.0.get(at).copied();
        let name = usize::from(octet(offset_of!(SockaddrDl, sdl_nlen))?);
        let length = usize::from(octet(offset_of!(SockaddrDl, sdl_alen))?);
        let begin = offset_of!(SockaddrDl, sdl_data) + name;
        Some(LinkAddress {
            index: u16::from_ne_bytes(array(&self.0, offset_of!(SockaddrDl, sdl_index))?),
            kind: octet(offset_of!(SockaddrDl, sdl_type))?,
            octets: self.0.get(begin..begin + length)?.to_vec(),
        })
    }
}

impl fmt::Debug for Sockaddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((address, scope)) = self.as_ipv6() {
            return if scope == 0 { write!(f, "{address}") } else { write!(f, "{address}%{scope}") };
        }
        match self.as_link() {
            Some(link) => write!(f, "link#{} {:02x?}", link.index, link.octets),
            None => write!(f, "{:02x?}", self.0),
        }
    }
}

impl Message {
    /// Reads the message that `octets` begin with, and tells how many octets it has.
    ///
    /// # Errors
    /// [`Malformed`] when they begin with none.
    pub fn parse(octets: &[u8]) -> Result<(Self, usize), Malformed> {
        let truncated = Malformed { problem: Problem::Truncated, offset: octets.len() };
        let length = usize::from(u16::from_ne_bytes(array(octets, 0).ok_or(truncated)?));
        let [version, kind] = array(octets, 2).ok_or(truncated)?;
        if version != RTM_VERSION {
            return Err(Malformed { problem: Problem::Version, offset: 2 });
        }
        if length < PREAMBLE {
            return Err(Malformed { problem: Problem::Length, offset: 0 });
        }
        let whole = octets.get(..length).ok_or(truncated)?;
        let mut fields = Fields { octets: whole, offset: PREAMBLE };
        let message = match kind {
            RTM_ADD | RTM_DELETE | RTM_CHANGE | RTM_GET | RTM_LOSING | RTM_REDIRECT | RTM_MISS | RTM_LOCK
            | RTM_RESOLVE => Self::Route(Route::parse(kind, &mut fields)?),
            RTM_NEWADDR | RTM_DELADDR => {
                Self::Address(AddressChange::parse(kind == RTM_NEWADDR, &mut fields)?)
            }
            RTM_IFINFO => Self::Interface(InterfaceState::parse(&mut fields)?),
            RTM_IFANNOUNCE => {
                Self::Arrival(Arrival { index: fields.u16()?, name: fields.take()?, what: fields.u16()? })
            }
            _ => Self::Other { kind, rest: whole.get(PREAMBLE..).unwrap_or_default().to_vec() },
        };
        Ok((message, length))
    }

    /// The message's octets.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![0, 0, RTM_VERSION, self.kind()];
        match self {
            Self::Route(route) => route.emit(&mut out),
            Self::Address(change) => {
                change.addresses.emit_mask(&mut out);
                out.extend(change.flags.to_ne_bytes());
                out.extend(change.index.to_ne_bytes());
                out.extend(change.spare.to_ne_bytes());
                out.extend(change.metric.to_ne_bytes());
                change.addresses.emit(&mut out);
            }
            Self::Interface(state) => {
                state.addresses.emit_mask(&mut out);
                out.extend(state.flags.to_ne_bytes());
                out.extend(state.index.to_ne_bytes());
                out.extend(state.spare.to_ne_bytes());
                out.extend(&state.data);
                state.addresses.emit(&mut out);
            }
            Self::Arrival(arrival) => {
                out.extend(arrival.index.to_ne_bytes());
                out.extend(arrival.name);
                out.extend(arrival.what.to_ne_bytes());
            }
            Self::Other { rest, .. } => out.extend(rest),
        }
        // Eight addresses of at most 256 octets behind a header: far from 65535. What was parsed had a length, too.
        let length = u16::try_from(out.len()).unwrap_or(u16::MAX);
        put(&mut out, 0, &length.to_ne_bytes());
        out
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Route(route) => route.kind,
            Self::Address(AddressChange { added: true, .. }) => RTM_NEWADDR,
            Self::Address(_) => RTM_DELADDR,
            Self::Interface(_) => RTM_IFINFO,
            Self::Arrival(_) => RTM_IFANNOUNCE,
            Self::Other { kind, .. } => *kind,
        }
    }
}

/// Every message of what one read of a routing socket, or one listing by sysctl(3), gave; ends behind a malformed one.
pub fn messages(octets: &[u8]) -> impl Iterator<Item = Result<Message, Malformed>> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match Message::parse(rest) {
            Ok((message, length)) => {
                rest = rest.get(length..).unwrap_or_default();
                Some(Ok(message))
            }
            Err(malformed) => {
                rest = &[];
                Some(Err(malformed))
            }
        }
    })
}

impl Route {
    fn parse(kind: u8, fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let (index, spare, flags) = (fields.u16()?, fields.u16()?, fields.i32()?);
        let mask = fields.i32()?;
        Ok(Self {
            kind,
            index,
            spare,
            flags,
            process: fields.i32()?,
            sequence: fields.i32()?,
            error: fields.i32()?,
            flag_mask: fields.i32()?,
            metrics_set: fields.u64()?,
            metrics: RtMetrics {
                rmx_locks: fields.u64()?,
                rmx_mtu: fields.u64()?,
                rmx_hopcount: fields.u64()?,
                rmx_expire: fields.u64()?,
                rmx_recvpipe: fields.u64()?,
                rmx_sendpipe: fields.u64()?,
                rmx_ssthresh: fields.u64()?,
                rmx_rtt: fields.u64()?,
                rmx_rttvar: fields.u64()?,
                rmx_pksent: fields.u64()?,
                rmx_weight: fields.u64()?,
                rmx_nhidx: fields.u64()?,
                rmx_filler: [fields.u64()?, fields.u64()?],
            },
            addresses: Addresses::parse(mask, fields)?,
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.index.to_ne_bytes());
        out.extend(self.spare.to_ne_bytes());
        out.extend(self.flags.to_ne_bytes());
        self.addresses.emit_mask(out);
        for number in [self.process, self.sequence, self.error, self.flag_mask] {
            out.extend(number.to_ne_bytes());
        }
        let metrics = &self.metrics;
        for number in [
            self.metrics_set,
            metrics.rmx_locks,
            metrics.rmx_mtu,
            metrics.rmx_hopcount,
            metrics.rmx_expire,
            metrics.rmx_recvpipe,
            metrics.rmx_sendpipe,
            metrics.rmx_ssthresh,
            metrics.rmx_rtt,
            metrics.rmx_rttvar,
            metrics.rmx_pksent,
            metrics.rmx_weight,
            metrics.rmx_nhidx,
            metrics.rmx_filler[0],
            metrics.rmx_filler[1],
        ] {
            out.extend(number.to_ne_bytes());
        }
        self.addresses.emit(out);
    }
}

impl AddressChange {
    fn parse(added: bool, fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let mask = fields.i32()?;
        let (flags, index, spare) = (fields.i32()?, fields.u16()?, fields.u16()?);
        let metric = fields.i32()?;
        Ok(Self { added, index, spare, flags, metric, addresses: Addresses::parse(mask, fields)? })
    }
}

impl InterfaceState {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        const DATA: usize = size_of::<IfMsghdr>() - offset_of!(IfMsghdr, ifm_data);
        let mask = fields.i32()?;
        let (flags, index, spare) = (fields.i32()?, fields.u16()?, fields.u16()?);
        let data = fields.take::<DATA>()?.to_vec();
        Ok(Self { index, spare, flags, data, addresses: Addresses::parse(mask, fields)? })
    }
}

// The fields of each header follow one another without gaps, which is how they are read and written above.
const _: () = assert!(offset_of!(RtMsghdr, rtm_inits) == 32 && offset_of!(RtMsghdr, rtm_rmx) == 40);
const _: () = assert!(offset_of!(IfaMsghdr, ifam_metric) == 16 && size_of::<IfaMsghdr>() == 20);
const _: () = assert!(offset_of!(IfMsghdr, ifm_data) == 16);
const _: () = assert!(offset_of!(IfAnnouncemsghdr, ifan_what) == 22 && size_of::<IfAnnouncemsghdr>() == 24);

impl Addresses {
    fn parse(mask: i32, fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let mut addresses = Self::default();
        for (bit, slot) in addresses.0.iter_mut().enumerate() {
            if mask & 1 << bit != 0 {
                *slot = Some(fields.sockaddr()?);
            }
        }
        Ok(addresses)
    }

    fn emit_mask(&self, out: &mut Vec<u8>) {
        let present = self.0.iter().enumerate().filter(|(_, slot)| slot.is_some());
        let mask: i32 = present.map(|(bit, _)| 1 << bit).sum();
        out.extend(mask.to_ne_bytes());
    }

    fn emit(&self, out: &mut Vec<u8>) {
        for Sockaddr(octets) in self.0.iter().flatten() {
            out.extend(octets);
            out.resize(out.len() + padded(octets.len()) - octets.len(), 0);
        }
    }
}

/// The room that an address of so many octets takes; one of none has room as well.
fn padded(length: usize) -> usize {
    length.max(1).next_multiple_of(ALIGNMENT)
}

/// Writes at an offset of a vector that has room there.
fn put(out: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = out.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads one field after the other of a whole message, in this machine's order of octets.
struct Fields<'a> {
    octets: &'a [u8],
    offset: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let too_short = Malformed { problem: Problem::Length, offset: self.octets.len() };
        let field = array(self.octets, self.offset).ok_or(too_short)?;
        self.offset += N;
        Ok(field)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_ne_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_ne_bytes)
    }

    /// An address and its padding; the padding of the last one may be missing.
    fn sockaddr(&mut self) -> Result<Sockaddr, Malformed> {
        let wrong = Malformed { problem: Problem::Address, offset: self.offset.min(self.octets.len()) };
        let [length] = array(self.octets, self.offset).ok_or(wrong)?;
        let end = self.offset + usize::from(length);
        let octets = self.octets.get(self.offset..end).ok_or(wrong)?.to_vec();
        // Without a family it is no address.
        if octets.len() == 1 {
            return Err(wrong);
        }
        self.offset += padded(octets.len());
        Ok(Sockaddr(octets))
    }
}
