//! The kernel's list of TCP connections, read without asking the kernel.
//! The metric and the drain of the advanced model (thesis 3.1.4) want to know how many an anycast address has.
//! Called by `platform::freebsd::application`.

use super::abi::{INP_IPV6, TCPS_ESTABLISHED, XINPGEN, XTCPCB, XTCPCB_LOCAL, XTCPCB_STATE, XTCPCB_VFLAG};
use std::{io, net::Ipv6Addr};

/// The established connections in `list`, what `net.inet.tcp.pcblist` gives, whose address on this host is `address`.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] when this system's entries are not those of FreeBSD 14.
pub fn established(list: &[u8], address: Ipv6Addr) -> io::Result<u64> {
    let mut rest = list.get(XINPGEN..).unwrap_or_default();
    let mut found = 0;
    // Every entry begins with its length; a shorter one, the header again, ends the list.
    while let Some(length) = rest.first_chunk().map(|length| usize::try_from(u64::from_ne_bytes(*length))) {
        match length {
            Ok(XTCPCB) => {}
            Ok(XINPGEN) => break,
            _ => {
                let message = "the list of TCP connections is not that of FreeBSD 14";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        }
        let Some((entry, behind)) = rest.split_at_checked(XTCPCB) else { break };
        let state =
            entry.get(XTCPCB_STATE..).and_then(|at| at.first_chunk()).copied().map(i32::from_ne_bytes);
        let is_ipv6 = entry.get(XTCPCB_VFLAG).is_some_and(|flags| flags & INP_IPV6 != 0);
        let is_local = entry.get(XTCPCB_LOCAL..).is_some_and(|at| at.starts_with(&address.octets()));
        found += u64::from(is_ipv6 && is_local && state == Some(TCPS_ESTABLISHED));
        rest = behind;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xa);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xb);

    fn entry(local: Ipv6Addr, state: i32, flags: u8) -> Vec<u8> {
        let mut entry = vec![0; XTCPCB];
        entry[..8].copy_from_slice(&(XTCPCB as u64).to_ne_bytes());
        entry[XTCPCB_LOCAL..XTCPCB_LOCAL + 16].copy_from_slice(&local.octets());
        entry[XTCPCB_STATE..XTCPCB_STATE + 4].copy_from_slice(&state.to_ne_bytes());
        entry[XTCPCB_VFLAG] = flags;
        entry
    }

    #[test]
    fn only_established_connections_of_the_address_count() {
        let mut frame = vec![0; XINPGEN];
        frame[..8].copy_from_slice(&(XINPGEN as u64).to_ne_bytes());
        let list = [
            frame.clone(),
            entry(ADDRESS, TCPS_ESTABLISHED, INP_IPV6),
            entry(OTHER, TCPS_ESTABLISHED, INP_IPV6),
            entry(ADDRESS, 1, INP_IPV6),
            entry(ADDRESS, TCPS_ESTABLISHED, 1),
            entry(ADDRESS, TCPS_ESTABLISHED, INP_IPV6),
            frame.clone(),
        ]
        .concat();
        assert_eq!(established(&list, ADDRESS).expect("a list"), 2);
        assert_eq!(established(&frame, ADDRESS).expect("an empty list"), 0);
        assert_eq!(established(&[], ADDRESS).expect("nothing"), 0);
        for cut in 0..list.len() {
            assert!(established(&list[..cut], ADDRESS).expect("a list cut off") <= 2);
        }
        let mut foreign = list;
        foreign[XINPGEN] ^= 8;
        assert_eq!(
            established(&foreign, ADDRESS).map_err(|error| error.kind()),
            Err(io::ErrorKind::Unsupported)
        );
    }
}
