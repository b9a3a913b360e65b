//! Packets as the kernel hands them over (checksum not yet filled in, many segments in one) made plain.
//! Tunnels are why this is our own: RFC 2473 puts a second IPv6 header, and RFC 3775 6.3 and 6.4 put
//! addresses the checksum does not cover, between the link and the segment; called by both intakes.

use super::super::pool::Pool;
use crate::wire::{PacketBuffer, buffer::HEADROOM};
use etherparse::checksum::u64_16bit_word as sum;

/// Octets of the header the kernel puts in front (`struct virtio_net_hdr`).
pub const OFFLOAD_HEADER: usize = 10;
/// More than any packet has.
pub const LONGEST_PACKET: usize = 65_536 + 64;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;
const IPV6_HEADER: usize = 40;
const TCP_FLAGS: usize = 13;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// The packet contradicts its own headers; it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// What the kernel left for us to do.
#[derive(Clone, Copy, Debug, Default)]
struct Offload {
    needs_checksum: bool,
    segmentation: u8,
    segment_payload: usize,
    /// Where the checksummed part begins, counted from the IPv6 header.
    transport: usize,
    /// Where in that part the checksum is.
    checksum: usize,
}

impl Offload {
    fn read(header: &[u8; OFFLOAD_HEADER], link_header: usize) -> Result<Self, Malformed> {
        let word = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
        let needs_checksum = header[0] & NEEDS_CHECKSUM != 0;
        let transport = if needs_checksum { word(6).checked_sub(link_header).ok_or(Malformed)? } else { 0 };
        Ok(Self {
            needs_checksum,
            segmentation: header[1] & !GSO_ECN,
            segment_payload: word(4),
            transport,
            checksum: word(8),
        })
    }
}

/// Makes plain packets of what one read delivered.
///
/// `storage` is a vector from [`Pool::take`] or [`Pool::packet`]; the packet begins at its [`HEADROOM`] and what did not fit
/// lies in `overflow` behind the first `pool.room()` octets, which are free. `length` is the packet's,
/// without the `link_header` octets that the offsets in `header` count.
///
/// # Errors
/// [`Malformed`] when the headers contradict each other; `storage` is in the pool then.
pub fn make_plain(
    header: &[u8; OFFLOAD_HEADER],
    link_header: usize,
    mut storage: Vec<u8>,
    length: usize,
    overflow: &mut [u8],
    pool: &mut Pool,
    emit: &mut impl FnMut(PacketBuffer),
) -> Result<(), Malformed> {
    let room = pool.room();
    let result = Offload::read(header, link_header).and_then(|offload| {
        if length <= room {
            storage.truncate(HEADROOM + length);
            if offload.segmentation == GSO_NONE {
                return finish_single(&offload, &mut storage, HEADROOM).map(|()| true);
            }
            split(&offload, storage.get(HEADROOM..).unwrap_or_default(), pool, emit)?;
        } else {
            let whole = overflow.get_mut(..length).ok_or(Malformed)?;
            let begin = storage.get(HEADROOM..HEADROOM + room).ok_or(Malformed)?;
            whole.get_mut(..room).ok_or(Malformed)?.copy_from_slice(begin);
            if offload.segmentation == GSO_NONE {
                // Longer than the link's MTU without being segmented: a reassembled or jumbo packet.
                let mut single = pool.packet(length).into_storage().0;
                single.get_mut(HEADROOM..).ok_or(Malformed)?.copy_from_slice(whole);
                finish_single(&offload, &mut single, HEADROOM)?;
                emit(PacketBuffer::from_storage(single, HEADROOM));
            } else {
                split(&offload, whole, pool, emit)?;
            }
        }
        Ok(false)
    });
    match result {
        Ok(true) => {
            emit(PacketBuffer::from_storage(storage, HEADROOM));
            Ok(())
        }
        Ok(false) => {
            pool.give(storage);
            Ok(())
        }
        Err(malformed) => {
            pool.give(storage);
            Err(malformed)
        }
    }
}

/// Cuts link-layer padding off a single packet and fills in its checksum where the kernel did not.
fn finish_single(offload: &Offload, storage: &mut Vec<u8>, start: usize) -> Result<(), Malformed> {
    let packet = storage.get(start..).ok_or(Malformed)?;
    let header = packet.get(..IPV6_HEADER).ok_or(Malformed)?;
    let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // A payload length of 0 before a hop-by-hop header is a jumbogram (RFC 2675): the link tells its length.
    if !(payload == 0 && header[6] == 0) {
        if packet.len() < IPV6_HEADER + payload {
            return Err(Malformed);
        }
        storage.truncate(start + IPV6_HEADER + payload);
    }
    if offload.needs_checksum {
        let packet = storage.get_mut(start..).ok_or(Malformed)?;
        let covered = packet.get_mut(offload.transport..).ok_or(Malformed)?;
        // The field holds the pseudo header's sum, so summing over it is right as it stands.
        let checksum = finished(sum::add_slice(0, covered), false);
        put(covered, offload.checksum, checksum)?;
    }
    Ok(())
}

/// The checksum for a sum; for UDP, 0 would mean "none" (RFC 8200 8.1).
fn finished(total: u64, is_udp: bool) -> [u8; 2] {
    let checksum =
        if is_udp { sum::ones_complement_with_no_zero(total) } else { sum::ones_complement(total) };
    checksum.to_ne_bytes()
}

fn put(octets: &mut [u8], at: usize, word: [u8; 2]) -> Result<(), Malformed> {
    octets.get_mut(at..at + 2).ok_or(Malformed)?.copy_from_slice(&word);
    Ok(())
}

fn get(octets: &[u8], at: usize) -> Result<u16, Malformed> {
    octets.get(at..at + 2).and_then(|word| word.try_into().ok()).map(u16::from_be_bytes).ok_or(Malformed)
}

/// Where the IPv6 headers of a (tunnelled) packet are, up to the transport header at `transport`.
fn ipv6_headers(packet: &[u8], transport: usize) -> Result<([usize; 4], usize), Malformed> {
    let (mut headers, mut count) = ([0; 4], 0);
    let (mut at, mut next) = (0, 41);
    while at < transport {
        let octet = |offset: usize| packet.get(at + offset).copied().ok_or(Malformed);
        let length = match next {
            41 => {
                *headers.get_mut(count).ok_or(Malformed)? = at;
                count += 1;
                next = octet(6)?;
                IPV6_HEADER
            }
            0 | 43 | 60 => {
                next = octet(0)?;
                8 * (usize::from(octet(1)?) + 1)
            }
            _ => return Err(Malformed),
        };
        at += length;
    }
    if at == transport { Ok((headers, count)) } else { Err(Malformed) }
}

/// Cuts a super-packet into the packets it stands for, as the sender's or the receiver's hardware would.
fn split(
    offload: &Offload,
    whole: &[u8],
    pool: &mut Pool,
    emit: &mut impl FnMut(PacketBuffer),
) -> Result<(), Malformed> {
    let transport = offload.transport;
    let covered = whole.get(transport..).ok_or(Malformed)?;
    let (is_udp, transport_header, checksum_at) = match offload.segmentation {
        GSO_TCP6 => (false, usize::from(covered.get(12).ok_or(Malformed)? >> 4) * 4, 16),
        GSO_UDP => (true, 8, 6),
        _ => return Err(Malformed),
    };
    // Without a partial checksum the field tells nothing about the pseudo header, and only this sum
    // knows the addresses that count (RFC 3775 6.3.1 and 6.4.1 hide them in extension headers).
    if !offload.needs_checksum || offload.checksum != checksum_at || offload.segment_payload == 0 {
        return Err(Malformed);
    }
    if !is_udp && transport_header < 20 {
        return Err(Malformed);
    }
    let headers_length = transport + transport_header;
    let (headers, payload) = whole.split_at_checked(headers_length).ok_or(Malformed)?;
    let (ipv6_at, ipv6_count) = ipv6_headers(headers, transport)?;
    let pseudo = get(covered, checksum_at)?;
    let covered_length = u16::try_from(covered.len()).map_err(|_| Malformed)?;
    let sequence = if is_udp { 0 } else { u32::from(get(covered, 4)?) << 16 | u32::from(get(covered, 6)?) };

    let mut done = 0;
    for chunk in payload.chunks(offload.segment_payload) {
        let mut segment = pool.packet(headers_length + chunk.len());
        let packet = segment.as_mut_slice();
        let (front, back) = packet.split_at_mut_checked(headers_length).ok_or(Malformed)?;
        front.copy_from_slice(headers);
        back.copy_from_slice(chunk);
        let total = packet.len();
        for at in ipv6_at.iter().take(ipv6_count) {
            let length = u16::try_from(total - at - IPV6_HEADER).map_err(|_| Malformed)?;
            put(packet, at + 4, length.to_be_bytes())?;
        }
        let covered = packet.get_mut(transport..).ok_or(Malformed)?;
        let length = u16::try_from(covered.len()).map_err(|_| Malformed)?;
        if is_udp {
            put(covered, 4, length.to_be_bytes())?;
        } else {
            let position = sequence.wrapping_add(done as u32);
            covered.get_mut(4..8).ok_or(Malformed)?.copy_from_slice(&position.to_be_bytes());
            let flags = covered.get_mut(TCP_FLAGS).ok_or(Malformed)?;
            if done > 0 {
                *flags &= !TCP_CWR;
            }
            if done + chunk.len() < payload.len() {
                *flags &= !(TCP_FIN | TCP_PSH);
            }
        }
        // The pseudo header's sum with this segment's length in place of the whole one's.
        put(covered, checksum_at, pseudo.to_be_bytes())?;
        let total = sum::add_2bytes(
            sum::add_2bytes(sum::add_slice(0, covered), (!covered_length).to_be_bytes()),
            length.to_be_bytes(),
        );
        put(covered, checksum_at, finished(total, is_udp))?;
        emit(segment);
        done += chunk.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: usize = 2000;

    /// The one's complement sum, the slow and obvious way.
    fn folded(octets: &[u8], begin: u32) -> u16 {
        let mut total = begin;
        for pair in octets.chunks(2) {
            total += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    fn pseudo(source: [u8; 16], destination: [u8; 16], protocol: u8, length: usize) -> u16 {
        let mut octets = [source, destination].concat();
        octets.extend((length as u32).to_be_bytes());
        octets.extend([0, 0, 0, protocol]);
        folded(&octets, 0)
    }

    fn ipv6(next_header: u8, source: [u8; 16], destination: [u8; 16], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next_header, 64]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(payload);
        packet
    }

    const A: [u8; 16] = [0xaa; 16];
    const B: [u8; 16] = [0xbb; 16];
    const HOME: [u8; 16] = [0xcc; 16];

    /// A TCP super-segment with the kernel's partial checksum: FIN, PSH and CWR set, sequence number near
    /// its wrap.
    fn tcp(source: [u8; 16], destination: [u8; 16], data: &[u8]) -> Vec<u8> {
        let mut segment = vec![0, 80, 0, 81];
        segment.extend(0xffff_fff0_u32.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0x50, TCP_FIN | TCP_PSH | TCP_CWR | 0x10, 1, 0, 0, 0, 0, 0]);
        segment.extend(data);
        let sum = pseudo(source, destination, 6, segment.len());
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn offload_header(kind: u8, segment: u16, transport: u16, checksum: u16) -> [u8; OFFLOAD_HEADER] {
        let mut header = [0; OFFLOAD_HEADER];
        header[0] = NEEDS_CHECKSUM;
        header[1] = kind;
        header[4..6].copy_from_slice(&segment.to_ne_bytes());
        header[6..8].copy_from_slice(&transport.to_ne_bytes());
        header[8..10].copy_from_slice(&checksum.to_ne_bytes());
        header
    }

    /// What [`make_plain`] makes of a packet, as an intake would call it.
    fn plain(
        header: &[u8; OFFLOAD_HEADER],
        link_header: usize,
        packet: &[u8],
    ) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut pool = Pool::new(ROOM);
        let mut storage = pool.take();
        let mut overflow = vec![0; ROOM + LONGEST_PACKET];
        let near = packet.len().min(ROOM);
        storage[HEADROOM..HEADROOM + near].copy_from_slice(&packet[..near]);
        overflow[ROOM..ROOM + packet.len() - near].copy_from_slice(&packet[near..]);
        let mut packets = Vec::new();
        let mut emit = |packet: PacketBuffer| packets.push(packet.as_slice().to_vec());
        make_plain(header, link_header, storage, packet.len(), &mut overflow, &mut pool, &mut emit)?;
        Ok(packets)
    }

    #[test]
    fn a_tunnelled_super_segment_becomes_the_packets_it_stands_for() {
        let data: Vec<u8> = (0..3001_u32).map(|octet| octet as u8).collect();
        let inner = ipv6(6, HOME, B, &tcp(HOME, B, &data));
        let outer = ipv6(41, A, B, &inner);
        let link_header = 14;
        let header = offload_header(GSO_TCP6 | GSO_ECN, 1400, link_header + 80, 16);
        let packets = plain(&header, usize::from(link_header), &outer).expect("well-formed");
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [1500, 1500, 301]);
        let mut carried: Vec<u8> = Vec::new();
        for (number, packet) in packets.iter().enumerate() {
            assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len() - 40);
            assert_eq!(usize::from(u16::from_be_bytes([packet[44], packet[45]])), packet.len() - 80);
            let segment = &packet[80..];
            assert_eq!(folded(segment, pseudo(HOME, B, 6, segment.len()).into()), 0xffff);
            let sequence = u32::from_be_bytes(segment[4..8].try_into().expect("4 octets"));
            assert_eq!(sequence, 0xffff_fff0_u32.wrapping_add(1400 * number as u32));
            assert_eq!(segment[TCP_FLAGS] & (TCP_FIN | TCP_PSH) != 0, number == 2);
            assert_eq!(segment[TCP_FLAGS] & TCP_CWR != 0, number == 0);
            carried.extend(&segment[20..]);
        }
        assert_eq!(carried, data);
    }

    #[test]
    fn the_checksum_keeps_the_addresses_that_extension_headers_hide() {
        // A home address option: the checksum covers HOME, the fixed header says A (RFC 3775 6.3.1).
        let mut payload = vec![6, 2, 1, 2, 0, 0, 0xc9, 16];
        payload.extend(HOME);
        payload.extend(tcp(HOME, B, &[7; 1000]));
        let packets =
            plain(&offload_header(GSO_TCP6, 600, 64, 16), 0, &ipv6(60, A, B, &payload)).expect("well-formed");
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [684, 484]);
        for packet in packets {
            let segment = &packet[64..];
            assert_eq!(folded(segment, pseudo(HOME, B, 6, segment.len()).into()), 0xffff);
        }
    }

    #[test]
    fn datagrams_get_their_own_length_and_checksum() {
        let mut datagram = vec![0, 1, 0, 2, 0, 0, 0, 0];
        datagram.extend([9; 250]);
        let sum = pseudo(A, B, 17, datagram.len());
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        let packets =
            plain(&offload_header(GSO_UDP, 100, 40, 6), 0, &ipv6(17, A, B, &datagram)).expect("well-formed");
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [148, 148, 98]);
        for packet in packets {
            let datagram = &packet[40..];
            assert_eq!(usize::from(u16::from_be_bytes([datagram[4], datagram[5]])), datagram.len());
            assert_eq!(folded(datagram, pseudo(A, B, 17, datagram.len()).into()), 0xffff);
        }
    }

    #[test]
    fn a_single_packet_loses_its_padding_and_gets_its_checksum() {
        let segment = tcp(A, B, b"odd");
        let mut frame = ipv6(6, A, B, &segment);
        let length = frame.len();
        frame.extend([0x55; 9]);
        let packets = plain(&offload_header(GSO_NONE, 0, 40, 16), 0, &frame).expect("well-formed");
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0].len(), length);
        assert_eq!(folded(&packets[0][40..], pseudo(A, B, 6, segment.len()).into()), 0xffff);
        assert_eq!(plain(&[0; OFFLOAD_HEADER], 0, &frame[..length - 1]), Err(Malformed));
        // Longer than the room without being segmented.
        let large = ipv6(59, A, B, &[1; 9000]);
        assert_eq!(plain(&[0; OFFLOAD_HEADER], 0, &large), Ok(vec![large]));
    }

    proptest! {
        #[test]
        fn nothing_a_kernel_could_say_makes_us_panic(
            header in any::<[u8; OFFLOAD_HEADER]>(),
            small in prop::sample::select(vec![0_u8, 1]),
            kind in prop::sample::select(vec![0_u8, 1, 3, 4, 5, 0x84]),
            transport in 0_u8..120,
            mut packet in prop::collection::vec(any::<u8>(), 0..3000),
            next_headers in prop::sample::select(vec![[6_u8, 6], [41, 6], [60, 6], [43, 17], [0, 41]]),
        ) {
            let mut header = header;
            header[0] = small;
            header[1] = kind;
            header[6..8].copy_from_slice(&u16::from(transport).to_ne_bytes());
            if let Some(octet) = packet.get_mut(6) {
                *octet = next_headers[0];
            }
            if let Some(octet) = packet.get_mut(46) {
                *octet = next_headers[1];
            }
            if let Ok(packets) = plain(&header, 14, &packet) {
                prop_assert!(packets.iter().all(|plain| plain.len() >= 40));
            }
        }
    }
}
