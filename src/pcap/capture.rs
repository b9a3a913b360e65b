//! Reads the IPv6 packets of a capture file, one at a time, from pcap and pcapng.
//! The packets are whole IPv6 packets (RFC 8200 section 3) with the link layer taken off and everything else skipped.
//! The lab, the ladder and the claims about thesis section 5 read their captures here.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    time::Duration,
};

use pcap_file::{
    DataLink, PcapError,
    pcap::{PcapReader, PcapWriter},
    pcapng::{Block, PcapNgReader, blocks::interface_description::InterfaceDescriptionOption},
};

/// Nanoseconds, positive or negative.
pub type Nanoseconds = i128;

/// One IPv6 packet of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it was captured, since the Unix epoch, as precise as the file says.
    pub at: Duration,
    /// What stood in front of it on the link.
    pub link: Link,
    /// The octets from the IPv6 header on, as many as were captured (link-layer padding included).
    pub ipv6: Vec<u8>,
    /// True when the capture kept fewer octets than the packet had on the link.
    pub cut: bool,
}

impl Frame {
    /// The IPv6 packet in an Ethernet frame that had `length` octets on the link; `None` if it holds something else.
    pub fn of_ethernet(at: Duration, octets: &[u8], length: usize) -> Option<Frame> {
        let (destination, rest) = octets.split_first_chunk::<6>()?;
        let (source, rest) = rest.split_first_chunk::<6>()?;
        let link = Link::Ethernet { source: *source, destination: *destination };
        let ([0x86, 0xdd, ipv6 @ ..] | [0x81, 0x00, _, _, 0x86, 0xdd, ipv6 @ ..]) = rest else { return None };
        Frame::of_ipv6(at, link, ipv6, octets.len() < length)
    }

    fn of_ipv6(at: Duration, link: Link, octets: &[u8], cut: bool) -> Option<Frame> {
        let is_ipv6 = octets.first().is_some_and(|octet| octet >> 4 == 6);
        is_ipv6.then(|| Frame { at, link, ipv6: octets.to_vec(), cut })
    }
}

/// The link layer of a captured packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with at most one VLAN tag.
    Ethernet {
        /// Sender's MAC address.
        source: [u8; 6],
        /// Receiver's MAC address.
        destination: [u8; 6],
    },
    /// No link layer: the packet is all there is (DLT_RAW, DLT_IPV6).
    Raw,
    /// Four octets of address family (DLT_NULL, DLT_LOOP).
    Null,
}

/// A capture could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there or may not be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is neither pcap nor pcapng.
    #[error("not a pcap or pcapng file (first four octets {0:02x?})")]
    NotACapture([u8; 4]),
    /// The file breaks off or contradicts itself. Packets before this point have been delivered.
    #[error("the capture is damaged: {0}")]
    Damaged(#[from] PcapError),
    /// A link type no IPv6 packet can be found under.
    #[error("link type {0} is not supported (Ethernet, raw IP, null and loopback are)")]
    LinkType(u32),
}

/// A capture being read: an iterator of [`Frame`]s in file order.
pub struct Capture<R: Read> {
    format: Format<std::io::Chain<std::io::Cursor<Vec<u8>>, R>>,
    failed: bool,
}

enum Format<R: Read> {
    Pcap(PcapReader<R>, DataLink),
    PcapNg(PcapNgReader<R>),
}

impl Capture<BufReader<File>> {
    /// Opens a capture file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be opened, and those of [`Capture::new`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file =
            File::open(path).map_err(|source| Error::File { path: path.display().to_string(), source })?;
        Self::new(BufReader::new(file))
    }
}

impl<R: Read> Capture<R> {
    /// Begins to read a capture; the format is told by the first four octets.
    ///
    /// # Errors
    /// [`Error::NotACapture`] for another format, [`Error::Damaged`] for a broken file header.
    pub fn new(mut reader: R) -> Result<Self, Error> {
        let mut magic = [0; 4];
        reader.read_exact(&mut magic).map_err(|error| Error::Damaged(PcapError::IoError(error)))?;
        let whole = std::io::Cursor::new(magic.to_vec()).chain(reader);
        let format = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::PcapNg(PcapNgReader::new(whole)?),
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::new(whole)?;
                let link = reader.header().datalink;
                Format::Pcap(reader, link)
            }
            _ => return Err(Error::NotACapture(magic)),
        };
        Ok(Capture { format, failed: false })
    }

    fn next_frame(&mut self) -> Option<Result<Frame, Error>> {
        loop {
            let step = match &mut self.format {
                Format::Pcap(reader, link) => match reader.next_packet()? {
                    Ok(packet) => {
                        frame(*link, packet.timestamp, &packet.data, packet.orig_len as usize).transpose()
                    }
                    Err(error) => Some(Err(error.into())),
                },
                Format::PcapNg(reader) => next_of_ng(reader)?.transpose(),
            };
            if let Some(result) = step {
                return Some(result);
            }
        }
    }
}

impl<R: Read> Iterator for Capture<R> {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_frame();
        // What follows a damaged record cannot be found again; going on would only repeat the error.
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// All IPv6 packets of a capture file.
///
/// # Errors
/// Those of [`Capture::open`], and [`Error::Damaged`] when the file breaks off.
pub fn read(path: &Path) -> Result<Vec<Frame>, Error> {
    Capture::open(path)?.collect()
}

/// `at` moved by this many nanoseconds.
pub fn shifted(at: Duration, by: Nanoseconds) -> Duration {
    let nanoseconds = Nanoseconds::try_from(at.as_nanos()).unwrap_or(Nanoseconds::MAX).saturating_add(by);
    let seconds = u64::try_from(nanoseconds.max(0) / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanoseconds.max(0) % 1_000_000_000).unwrap_or(0))
}

/// Rewrites a pcap file with every packet's time moved by this many nanoseconds.
///
/// # Errors
/// Those of [`read`]; the file is as it was then.
pub fn shift(path: &Path, by: Nanoseconds) -> Result<(), Error> {
    let of_file = |source| Error::File { path: path.display().to_string(), source };
    let octets = std::fs::read(path).map_err(of_file)?;
    let mut reader = PcapReader::new(octets.as_slice())?;
    let mut writer = PcapWriter::with_header(Vec::with_capacity(octets.len()), reader.header())?;
    while let Some(packet) = reader.next_packet() {
        let mut packet = packet?;
        packet.timestamp = shifted(packet.timestamp, by);
        writer.write_packet(&packet)?;
    }
    std::fs::write(path, writer.into_writer()).map_err(of_file)
}

fn next_of_ng<R: Read>(reader: &mut PcapNgReader<R>) -> Option<Result<Option<Frame>, Error>> {
    let (interface, raw_time, data, original) = match reader.next_block()? {
        Ok(Block::EnhancedPacket(block)) => {
            (block.interface_id, block.timestamp, block.data.into_owned(), block.original_len as usize)
        }
        Ok(Block::SimplePacket(block)) => {
            (0, Duration::ZERO, block.data.into_owned(), block.original_len as usize)
        }
        Ok(_) => return Some(Ok(None)),
        Err(error) => return Some(Err(error.into())),
    };
    let Some(description) = reader.interfaces().get(interface as usize) else {
        return Some(Err(PcapError::InvalidInterfaceId(interface).into()));
    };
    let resolution = description.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(value) => Some(*value),
        _ => None,
    });
    Some(frame(description.linktype, time_of_units(raw_time.as_nanos(), resolution), &data, original))
}

/// pcap-file hands the time units over as if they were nanoseconds; the interface says what they are
/// (if_tsresol: a power of ten, or of two with the first bit set; microseconds when absent).
fn time_of_units(units: u128, resolution: Option<u8>) -> Duration {
    let per_second: u128 = match resolution.unwrap_or(6) {
        power if power & 0x80 != 0 => 1u128.checked_shl(u32::from(power & 0x7f)).unwrap_or(u128::MAX),
        power => 10u128.checked_pow(u32::from(power)).unwrap_or(u128::MAX),
    }
    .max(1);
    let seconds = u64::try_from(units / per_second).unwrap_or(u64::MAX);
    let rest = (units % per_second).saturating_mul(1_000_000_000) / per_second;
    Duration::new(seconds, u32::try_from(rest).unwrap_or(999_999_999))
}

fn frame(link: DataLink, at: Duration, data: &[u8], original: usize) -> Result<Option<Frame>, Error> {
    let keep = |link, octets| Frame::of_ipv6(at, link, octets, data.len() < original);
    Ok(match link {
        DataLink::ETHERNET => Frame::of_ethernet(at, data, original),
        DataLink::RAW | DataLink::IPV6 => keep(Link::Raw, data),
        // The raw IP of some systems, from before the number 101 was agreed on.
        DataLink::Unknown(12 | 14) => keep(Link::Raw, data),
        DataLink::NULL | DataLink::LOOP => keep(Link::Null, data.get(4..).unwrap_or_default()),
        other => return Err(Error::LinkType(other.into())),
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use pcap_file::{
        Endianness, TsResolution,
        pcap::{PcapHeader, PcapPacket, PcapWriter},
        pcapng::{
            PcapNgWriter,
            blocks::{
                enhanced_packet::EnhancedPacketBlock,
                interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            },
        },
    };

    use super::*;

    const IPV6: [u8; 40] = {
        let mut packet = [0; 40];
        packet[0] = 0x60;
        packet[6] = 59;
        packet
    };

    fn ethernet(ethertype: [u8; 2]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ethertype);
        frame.extend(IPV6);
        frame
    }

    fn pcap(
        link: DataLink,
        resolution: TsResolution,
        endianness: Endianness,
        packets: &[Vec<u8>],
    ) -> Vec<u8> {
        let header =
            PcapHeader { datalink: link, ts_resolution: resolution, endianness, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        for packet in packets {
            let at = Duration::new(1_700_000_000, 123_456_000);
            writer
                .write_packet(&PcapPacket {
                    timestamp: at,
                    orig_len: packet.len() as u32,
                    data: Cow::from(packet),
                })
                .unwrap();
        }
        writer.into_writer()
    }

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        Capture::new(bytes).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn ethernet_frames_that_are_not_ipv6_are_skipped() {
        for endianness in [Endianness::Big, Endianness::Little] {
            for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
                let packets = [ethernet([8, 0]), ethernet([0x86, 0xdd]), ethernet([8, 6])];
                let read = frames(&pcap(DataLink::ETHERNET, resolution, endianness, &packets));
                assert_eq!(read.len(), 1);
                assert_eq!(read[0].ipv6, IPV6);
                assert_eq!(read[0].at, Duration::new(1_700_000_000, 123_456_000));
                let link = Link::Ethernet { source: [2, 0, 0, 0, 0, 2], destination: [2, 0, 0, 0, 0, 1] };
                assert_eq!(read[0].link, link);
                assert!(!read[0].cut);
            }
        }
    }

    #[test]
    fn raw_and_null_links_give_the_same_packet() {
        let mut null = vec![30, 0, 0, 0];
        null.extend(IPV6);
        for (link, packet, expected) in
            [(DataLink::RAW, IPV6.to_vec(), Link::Raw), (DataLink::NULL, null, Link::Null)]
        {
            let read = frames(&pcap(link, TsResolution::MicroSecond, Endianness::Little, &[packet]));
            assert_eq!((read[0].link, &read[0].ipv6[..]), (expected, &IPV6[..]));
        }
    }

    #[test]
    fn pcapng_times_follow_the_resolution_of_their_interface() {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        let resolutions = [None, Some(9), Some(0x80 | 10)];
        for resolution in resolutions {
            let options = resolution.map(InterfaceDescriptionOption::IfTsResol).into_iter().collect();
            writer
                .write_pcapng_block(InterfaceDescriptionBlock {
                    linktype: DataLink::RAW,
                    snaplen: 0,
                    options,
                })
                .unwrap();
        }
        for (interface_id, units) in [(0, 2_500_000), (1, 2_500_000_000), (2, 2560)] {
            writer
                .write_pcapng_block(EnhancedPacketBlock {
                    interface_id,
                    timestamp: Duration::from_nanos(units),
                    original_len: 40,
                    data: Cow::from(&IPV6[..]),
                    options: Vec::new(),
                })
                .unwrap();
        }
        let read = frames(&writer.into_inner());
        assert_eq!(read.iter().map(|frame| frame.at).collect::<Vec<_>>(), [Duration::from_millis(2500); 3]);
    }

    #[test]
    fn a_file_that_breaks_off_gives_its_packets_and_one_error() {
        let mut bytes = pcap(
            DataLink::RAW,
            TsResolution::MicroSecond,
            Endianness::Little,
            &[IPV6.to_vec(), IPV6.to_vec()],
        );
        bytes.truncate(bytes.len() - 5);
        let read: Vec<_> = Capture::new(&bytes[..]).unwrap().collect();
        assert_eq!(read.len(), 2);
        assert!(read[0].is_ok());
        assert!(matches!(read[1], Err(Error::Damaged(_))));
    }

    #[test]
    fn other_files_and_link_types_are_named() {
        assert!(matches!(Capture::new(&b"GIF89a"[..]), Err(Error::NotACapture([b'G', b'I', b'F', b'8']))));
        let bluetooth =
            pcap(DataLink::Unknown(9999), TsResolution::MicroSecond, Endianness::Little, &[vec![0; 60]]);
        let read: Vec<_> = Capture::new(&bluetooth[..]).unwrap().collect();
        assert!(matches!(read[..], [Err(Error::LinkType(9999))]));
    }
}
