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
/// `storage` is a vector from [`Pool::take`]; the packet begins at its [`HEADROOM`] and what did not fit
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
