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
    /// The link-layer addresses of the node's interfaces; none where the capture has no link layer.
    pub link_addresses: Vec<[u8; 6]>,
    /// Who the node is where there is no link layer.
    own: Ipv6Addr,
}

impl Recording {
    /// Reads `pcaps/<name>.pcap`, the view of the node that has `own`.
    pub fn open(name: &str, own: Ipv6Addr) -> Self {
        let frames = frames(name);
        let sender = |frame: &Frame| match frame.link {
            Link::Ethernet { source, .. } if source_of(frame) == Some(own) => Some(source),
            _ => None,
        };
        let link_address = frames.iter().find_map(sender).expect("a packet of the node's own");
        Self { name: name.to_owned(), frames, link_addresses: vec![link_address], own }
    }

    /// The same node's view with what its interface on another link saw.
    pub fn with_interface(mut self, other: Self) -> Self {
        self.frames.extend(other.frames);
        self.frames.sort_by_key(|frame| frame.at);
        self.link_addresses.extend(other.link_addresses);
        self
    }

    /// Captures without link layer, one after the other, of one node that has `own`.
    pub fn of_stimuli(name: &str, own: Ipv6Addr, captures: &[String]) -> Self {
        let frames: Vec<_> = captures.iter().flat_map(|capture| frames(capture)).collect();
        assert!(frames.is_sorted_by_key(|frame| frame.at), "{name}: in the order in which they were made");
        assert!(frames.iter().all(|frame| frame.link == Link::Raw), "{name}: no link layer");
        Self { name: name.to_owned(), frames, link_addresses: Vec::new(), own }
    }

    /// When this was recorded, in seconds after the first packet.
    pub fn seconds(&self, frame: &Frame) -> f64 {
        let start = self.frames.first().map_or(frame.at, |first| first.at);
        frame.at.saturating_sub(start).as_secs_f64()
    }

    /// What stands in front of a packet that the node sends.
    pub fn link(&self) -> Link {
        match self.link_addresses.first() {
            Some(source) => Link::Ethernet { source: *source, destination: [0; 6] },
            None => Link::Raw,
        }
    }

    /// What stands in front of a packet to the node.
    pub fn incoming_link(&self) -> Link {
        match self.link_addresses.first() {
            Some(destination) => Link::Ethernet { source: [0; 6], destination: *destination },
            None => Link::Raw,
        }
    }

    /// True for what the node itself put on a link.
    pub fn is_sent(&self, frame: &Frame) -> bool {
        match frame.link {
            Link::Ethernet { source, .. } => self.link_addresses.contains(&source),
            Link::Raw | Link::Null => source_of(frame) == Some(self.own),
        }
    }

    /// True for what the node's interfaces take in.
    pub fn is_received(&self, frame: &Frame) -> bool {
        match frame.link {
            Link::Ethernet { source, destination } => {
                !self.link_addresses.contains(&source)
                    && (self.link_addresses.contains(&destination) || destination.starts_with(&[0x33, 0x33]))
            }
            Link::Raw | Link::Null => !self.is_sent(frame),
        }
    }
}

/// The packets of `pcaps/<name>.pcap`.
pub fn frames(name: &str) -> Vec<Frame> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps").join(format!("{name}.pcap"));
    capture::read(&path).expect("a capture")
}

/// The address in the IPv6 header, of what is right and what is not.
pub fn source_of(frame: &Frame) -> Option<Ipv6Addr> {
    Packet::parse_quoted(&frame.ipv6).ok().map(|packet| packet.header.source)
}
