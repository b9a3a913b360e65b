//! The Binding Identifier mobility option, by which a binding is added beside others instead of replacing them.
//! RFC 5648 section 4.3.
//! Parsed and emitted through the options; built and read by `protocol` for the advanced model.

use std::net::{IpAddr, Ipv6Addr};

use super::status::Status;
use crate::wire::Result;
use crate::wire::reader::Reader;

/// The content of a Binding Identifier option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindingIdentifier {
    /// BID: tells the bindings of one home address apart; zero is reserved.
    pub bid: u16,
    /// Of this binding alone, in a Binding Acknowledgement; zero leaves it to the message's status.
    pub status: Status,
    /// H: the mobile node is at home and away at the same time.
    pub home_and_foreign: bool,
    /// The lowest 7 bits stand on the wire; zero from anyone conforming.
    pub reserved: u8,
    /// Of this binding, when it is not that of the packet; only in a Binding Update.
    pub care_of: Option<IpAddr>,
}

const HOME_AND_FOREIGN: u8 = 0x80;

impl BindingIdentifier {
    /// The identifier alone.
    pub fn of(bid: u16) -> Self {
        Self { bid, ..Self::default() }
    }

    /// `None` when the length is neither 4 nor 8 nor 20.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(data);
        let mut read = || -> Result<Self> {
            let (bid, status, flags) = (reader.u16()?, Status(reader.u8()?), reader.u8()?);
            let care_of = match data.len() {
                8 => Some(IpAddr::from(reader.array::<4>()?)),
                20 => Some(IpAddr::V6(reader.address()?)),
                _ => None,
            };
            let home_and_foreign = flags & HOME_AND_FOREIGN != 0;
            Ok(Self { bid, status, home_and_foreign, reserved: flags & !HOME_AND_FOREIGN, care_of })
        };
        matches!(data.len(), 4 | 8 | 20).then(|| read().ok()).flatten()
    }

    pub(super) fn emit(&self) -> Vec<u8> {
        let flag = if self.home_and_foreign { HOME_AND_FOREIGN } else { 0 };
        let mut out = self.bid.to_be_bytes().to_vec();
        out.extend([self.status.0, flag | self.reserved & !HOME_AND_FOREIGN]);
        match self.care_of {
            Some(IpAddr::V4(address)) => out.extend(address.octets()),
            Some(IpAddr::V6(address)) => out.extend(Ipv6Addr::octets(&address)),
            None => {}
        }
        out
    }
}
