//! A recording as one node saw it: which packets it sent and which came in.
//! Who sent is told by the link-layer address, for agents forward packets of others (RFC 3775 section 10.4).
//! Read by the replays of every role.

use std::net::Ipv6Addr;
use std::path::Path;

use mga_node::pcap::capture::{self, Frame, Link};
use mga_node::wire::Packet;

/// One node's view.
pub struct Recording {
    /// Such as `kame/kame-section5.1/haa`.
    pub name: String,
    pub frames: Vec<Frame>,
    /// The node's link-layer address.
    pub link_address: [u8; 6],
}

impl Recording {
    /// Reads `pcaps/<name>.pcap`, the view of the node that has `own`.
    pub fn open(name: &str, own: Ipv6Addr) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps").join(format!("{name}.pcap"));
        let frames = capture::read(&path).expect("a capture");
        let sender = |frame: &Frame| match frame.link {
            Link::Ethernet { source, .. } if source_of(frame) == Some(own) => Some(source),
            _ => None,
        };
        let link_address = frames.iter().find_map(sender).expect("a packet of the node's own");
        Self { name: name.to_owned(), frames, link_address }
    }

    /// When this was recorded, in seconds after the first packet.
    pub fn seconds(&self, frame: &Frame) -> f64 {
        let start = self.frames.first().map_or(frame.at, |first| first.at);
        frame.at.saturating_sub(start).as_secs_f64()
    }

    /// True for what the node itself put on the link.
    pub fn is_sent(&self, frame: &Frame) -> bool {
        matches!(frame.link, Link::Ethernet { source, .. } if source == self.link_address)
    }

    /// True for what the node's interface takes in.
    pub fn is_received(&self, frame: &Frame) -> bool {
        match frame.link {
            Link::Ethernet { source, destination } => {
                source != self.link_address
                    && (destination == self.link_address || destination.starts_with(&[0x33, 0x33]))
            }
            Link::Raw | Link::Null => false,
        }
    }
}

/// The address in the IPv6 header.
pub fn source_of(frame: &Frame) -> Option<Ipv6Addr> {
    Packet::parse(&frame.ipv6).ok().map(|packet| packet.header.source)
}
