//! The fields of TCP and UDP. RFC 9293 section 3.1, RFC 768.
//! A quotation may end in the midst of them (RFC 4443 2.4).
//! Called by the builder when a packet's chain ends in one of them.

use etherparse::TcpHeaderSlice;

use super::builder::{Builder, Upper};
use super::{Role, Unit, Value};
use crate::wire::ipv6::{checksum, next_header};
use crate::wire::{Error, ErrorKind};

const TCP_FLAGS: &[(u64, char)] =
    &[(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U'), (64, 'E'), (128, 'W')];

impl Builder {
    pub(super) fn tcp(&mut self, upper: &Upper<'_>) {
        let (bytes, base) = (upper.bytes, upper.base);
        // A quotation may stop short of the options, whose length is wanted all the same.
        let mut octets = [0; 60];
        octets.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        if bytes.len() < 20 {
            return self.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base);
        }
        let Ok(tcp) = TcpHeaderSlice::from_slice(&octets) else {
            return self.malformed(Error::new(ErrorKind::BadLength, 12), base);
        };
        let header = tcp.slice().len();
        let port = |port: u16| Value::Number(port.into());
        self.push("source-port", port(tcp.source_port()), base, Role::Port, Unit::Plain);
        self.push("destination-port", port(tcp.destination_port()), base + 2, Role::Port, Unit::Plain);
        let sequence = Value::Number(tcp.sequence_number().into());
        self.push("sequence", sequence, base + 4, Role::TcpSequence, Unit::Plain);
        let acknowledged = Value::Number(tcp.acknowledgment_number().into());
        self.push("acknowledgement", acknowledged, base + 8, Role::TcpAcknowledgement, Unit::Plain);
        let flags = bytes.get(13).copied().unwrap_or(0);
        self.plain("flags", Value::Flags(flags.into(), 2, TCP_FLAGS), base + 13);
        self.push("window", Value::Number(tcp.window_size().into()), base + 14, Role::TcpPacing, Unit::Plain);
        let sum = checksum(&upper.source, &upper.destination, next_header::TCP, bytes);
        self.checksum(tcp.checksum(), sum == 0, upper.complete, base + 16);
        let urgent = Value::Number(tcp.urgent_pointer().into());
        self.push("urgent", urgent, base + 18, Role::TcpPacing, Unit::Plain);
        if header > 20 {
            let options = Value::Octets(bytes.get(20..header.min(bytes.len())).unwrap_or_default().to_vec());
            self.push("options", options, base + 20, Role::TcpPacing, Unit::Plain);
        }
        match bytes.get(header..) {
            Some(data) => self.payload(data, base + header),
            // A quotation ends where it likes.
            None if self.quoted => {}
            None => self.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base),
        }
    }

    pub(super) fn udp(&mut self, upper: &Upper<'_>) {
        let (bytes, base) = (upper.bytes, upper.base);
        let &[a, b, c, d, e, f, g, h, ref data @ ..] = bytes else {
            return self.malformed(Error::new(ErrorKind::Truncated, bytes.len()), base);
        };
        let number = |high, low| Value::Number(u16::from_be_bytes([high, low]).into());
        self.push("source-port", number(a, b), base, Role::Port, Unit::Plain);
        self.push("destination-port", number(c, d), base + 2, Role::Port, Unit::Plain);
        self.plain("length", number(e, f), base + 4);
        let sum = checksum(&upper.source, &upper.destination, next_header::UDP, bytes);
        self.checksum(u16::from_be_bytes([g, h]), sum == 0, upper.complete, base + 6);
        self.payload(data, base + 8);
    }
}

/// The lower of two ports: the service of an ordinary connection.
pub(super) fn lower_port(bytes: &[u8]) -> u16 {
    match *bytes {
        [a, b, c, d, ..] => u16::from_be_bytes([a, b]).min(u16::from_be_bytes([c, d])),
        _ => 0,
    }
}
