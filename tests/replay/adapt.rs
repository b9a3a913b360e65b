//! Packets that answer secrets or numbers of the recorded node, made to answer ours (RFC 3775 sections 5.2.5, 5.2.6).
//! A Binding Update is sealed with the tokens that our initiator issued where the recorded one issued its own: the
//! tests that answered the same cookie. What answers a question of a responder gets the cookie or number of ours, once
//! more where ours asks oftener, and nothing else about a packet is changed; [`crate::replayer`] calls it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use mga_node::protocol::auth::seal::{SealKey, is_sealed_by, seal};
use mga_node::protocol::auth::tokens::binding_management_key;
use mga_node::wire::Packet;
use mga_node::wire::ipv6::{self, next_header};
use mga_node::wire::mobility::{Message, MobilityHeader, MobilityOption, Test};

/// Sees what both nodes send, and makes what comes in fit ours.
pub trait Adapt {
    /// The recorded node sent this.
    fn recorded_sent(&mut self, packet: &[u8]);
    /// Ours sent this.
    fn ours_sent(&mut self, packet: &[u8]);
    /// This comes in; `None` when it answers what ours did not ask.
    fn received(&mut self, packet: Vec<u8>) -> Option<Vec<u8>>;
    /// What somebody who is not recorded says to what ours sent.
    fn instead(&mut self, _ours: &[u8]) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// Nothing needs to fit: an agent has no secrets, and gives back the numbers that it is given.
pub struct AsRecorded;

impl Adapt for AsRecorded {
    fn recorded_sent(&mut self, _: &[u8]) {}
    fn ours_sent(&mut self, _: &[u8]) {}
    fn received(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        Some(packet)
    }
}

/// A home or a care-of test.
type IsHome = bool;

/// The tokens that the recorded initiator and ours issued for the same cookies.
#[derive(Default)]
pub struct Tokens {
    /// By kind, receiver and nonce index.
    recorded: BTreeMap<(IsHome, Ipv6Addr, u16), Test>,
    /// By kind and cookie.
    ours: BTreeMap<(IsHome, [u8; 8]), Test>,
    /// By kind, receiver and nonce index, if an update with tokens of tests that were not kept is to be sealed with
    /// ours.
    unseen: Option<BTreeMap<(IsHome, Ipv6Addr, u16), Test>>,
}

fn test_of(packet: &[u8]) -> Option<(IsHome, Ipv6Addr, Test)> {
    let packet = Packet::parse(packet).ok()?;
    match mobility_of(&packet)?.message {
        Message::HomeTest(test) => Some((true, packet.final_destination(), test)),
        Message::CareOfTest(test) => Some((false, packet.final_destination(), test)),
        _ => None,
    }
}

fn mobility_of(packet: &Packet<'_>) -> Option<MobilityHeader> {
    (packet.upper.protocol == next_header::MOBILITY)
        .then(|| MobilityHeader::parse(packet.payload()).ok())
        .flatten()
}

impl Tokens {
    /// What the recorded initiator issued under this index, and ours instead of it.
    fn both(&self, is_home: IsHome, address: Ipv6Addr, index: u16) -> Option<(&Test, &Test)> {
        let recorded = self.recorded.get(&(is_home, address, index))?;
        Some((recorded, self.ours.get(&(is_home, recorded.cookie))?))
    }

    /// The same for captures that leave out some of the tests: what was sealed with tokens of a nonce of which no test
    /// was kept is taken as right, and sealed with the tokens that ours issued under that index.
    pub fn also_unseen() -> Self {
        Self { unseen: Some(BTreeMap::new()), ..Self::default() }
    }

    /// Our token under this index, if the recorded initiator's was not kept.
    fn instead(&self, is_home: IsHome, address: Ipv6Addr, index: u16) -> Option<&Test> {
        let is_kept = self.recorded.contains_key(&(is_home, address, index));
        self.unseen.as_ref().filter(|_| !is_kept)?.get(&(is_home, address, index))
    }

    /// What is sealed by tokens that were not kept.
    fn sealed_by_ours(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(bytes).ok()?;
        let mut header = mobility_of(&packet)?;
        let (home_address, correspondent) = (packet.final_source(), packet.header.destination);
        let Message::BindingUpdate(update) = &header.message else { return None };
        let (home, care_of) = update.options.iter().find_map(|option| match option {
            MobilityOption::NonceIndices { home, care_of } => Some((*home, *care_of)),
            _ => None,
        })?;
        let home = self.instead(true, home_address, home)?;
        let care_of = self.instead(false, packet.header.source, care_of);
        let key = binding_management_key(&home.token, care_of.map(|test| &test.token));
        let key = SealKey { binding_management_key: &key, care_of: packet.header.source, correspondent };
        seal(&mut header, key);
        let mut adapted = bytes.get(..packet.upper.offset)?.to_vec();
        adapted.extend(header.emit_for(&home_address, &packet.final_destination()));
        Some(adapted)
    }

    fn sealed_anew(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(bytes).ok()?;
        let mut header = mobility_of(&packet)?;
        let (home_address, correspondent) = (packet.final_source(), packet.header.destination);
        let original = header.clone();
        let Message::BindingUpdate(update) = &mut header.message else { return None };
        let alternate = update.options.iter().find_map(|option| match option {
            MobilityOption::AlternateCareOfAddress(address) => Some(*address),
            _ => None,
        });
        let care_of = alternate.unwrap_or(packet.header.source);
        let indices = update.options.iter_mut().find_map(|option| match option {
            MobilityOption::NonceIndices { home, care_of } => Some((home, care_of)),
            _ => None,
        });
        let (home_index, care_of_index) = indices?;
        let (recorded_home, home) = self.both(true, home_address, *home_index)?;
        let care_of_test = self.both(false, care_of, *care_of_index);
        // A deletion is sealed by the home token alone (RFC 3775 9.5.3), but UMIP's mobile node takes both. What
        // was sealed in neither way must stay wrong.
        let sealed_by = [None, care_of_test].into_iter().find(|care_of_test| {
            let key = binding_management_key(
                &recorded_home.token,
                care_of_test.map(|(recorded, _)| &recorded.token),
            );
            let key = SealKey { binding_management_key: &key, care_of, correspondent };
            is_sealed_by(&original, packet.payload(), key)
        })?;
        *home_index = home.nonce_index;
        if let Some((_, ours)) = care_of_test {
            *care_of_index = ours.nonce_index;
        }
        let key = binding_management_key(&home.token, sealed_by.map(|(_, ours)| &ours.token));
        seal(&mut header, SealKey { binding_management_key: &key, care_of, correspondent });
        let mut adapted = bytes.get(..packet.upper.offset)?.to_vec();
        adapted.extend(header.emit_for(&home_address, &packet.final_destination()));
        Some(adapted)
    }
}

impl Adapt for Tokens {
    fn recorded_sent(&mut self, packet: &[u8]) {
        if let Some((is_home, to, test)) = test_of(packet) {
            self.recorded.insert((is_home, to, test.nonce_index), test);
        }
    }

    fn ours_sent(&mut self, packet: &[u8]) {
        if let Some((is_home, to, test)) = test_of(packet) {
            if let Some(unseen) = &mut self.unseen {
                unseen.insert((is_home, to, test.nonce_index), test.clone());
            }
            self.ours.insert((is_home, test.cookie), test);
        }
    }

    fn received(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        let adapted = self.sealed_anew(&packet).or_else(|| self.sealed_by_ours(&packet));
        Some(adapted.unwrap_or(packet))
    }
}

/// What of a mobile node's message its answer gives back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Binding,
    HomeTest,
    CareOfTest,
    Discovery,
    Prefixes,
}

/// The last number or cookie that the recorded responder and ours sent, by what for and to whom.
#[derive(Default)]
pub struct Questions {
    recorded: BTreeMap<(Asked, Ipv6Addr), [u8; 8]>,
    ours: BTreeMap<(Asked, Ipv6Addr), [u8; 8]>,
    /// The tokens that came in, by kind and from whom; the key of an acknowledgement's seal.
    tokens: BTreeMap<(IsHome, Ipv6Addr), [u8; 8]>,
    /// What correspondents last answered, whole, if they are to answer ours so once more: a recorded node that uses
    /// its tokens again does not ask where ours does.
    answers: Option<BTreeMap<(Asked, Ipv6Addr), Vec<u8>>>,
    /// The cookie with which each test last came.
    had: BTreeMap<(Asked, Ipv6Addr), [u8; 8]>,
}

/// A number as the last octets of a cookie.
fn wide(number: u16) -> [u8; 8] {
    u64::from(number).to_be_bytes()
}

fn narrow(cookie: [u8; 8]) -> u16 {
    let [.., high, low] = cookie;
    u16::from_be_bytes([high, low])
}

/// The inside of a tunnel packet.
fn inner(bytes: &[u8]) -> Option<&[u8]> {
    let packet = Packet::parse(bytes).ok()?;
    (packet.upper.protocol == next_header::IPV6).then(|| packet.payload())
}

fn question(bytes: &[u8]) -> Option<(Asked, Ipv6Addr, [u8; 8])> {
    let bytes = inner(bytes).unwrap_or(bytes);
    let packet = Packet::parse(bytes).ok()?;
    let to = packet.header.destination;
    if let Some(header) = mobility_of(&packet) {
        return match header.message {
            Message::HomeTestInit(init) => Some((Asked::HomeTest, to, init.cookie)),
            Message::CareOfTestInit(init) => Some((Asked::CareOfTest, to, init.cookie)),
            Message::BindingUpdate(update) => Some((Asked::Binding, to, wide(update.sequence))),
            _ => None,
        };
    }
    if packet.upper.protocol != next_header::ICMPV6 {
        return None;
    }
    match *packet.payload() {
        // The answer comes from another address than was asked.
        [144, _, _, _, high, low, ..] => {
            Some((Asked::Discovery, Ipv6Addr::UNSPECIFIED, wide(u16::from_be_bytes([high, low]))))
        }
        [146, _, _, _, high, low, ..] => Some((Asked::Prefixes, to, wide(u16::from_be_bytes([high, low])))),
        _ => None,
    }
}

/// Who answers, and what kind of question.
fn answer(bytes: &[u8]) -> Option<(Asked, Ipv6Addr)> {
    let packet = Packet::parse(inner(bytes).unwrap_or(bytes)).ok()?;
    let asked = match mobility_of(&packet)?.message {
        Message::HomeTest(_) => Asked::HomeTest,
        Message::CareOfTest(_) => Asked::CareOfTest,
        Message::BindingAcknowledgement(_) => Asked::Binding,
        _ => return None,
    };
    Some((asked, packet.header.source))
}

impl Questions {
    /// The same for a recorded node that asks correspondents less often than ours does.
    pub fn answered_again() -> Self {
        Self { answers: Some(BTreeMap::new()), ..Self::default() }
    }

    /// What ours asked instead, if this answers the recorded node's last question.
    fn ours_for(&self, asked: Asked, from: Ipv6Addr, recorded: [u8; 8]) -> Option<[u8; 8]> {
        let key = (asked, from);
        (self.recorded.get(&key) == Some(&recorded)).then(|| self.ours.get(&key).copied()).flatten()
    }

    /// The number in an acknowledgement: as much greater as our last is greater than the recorded node's last. That is
    /// right for what status 135 tells too, as whoever else registers counts on from what this node had.
    fn told_ours(&self, from: Ipv6Addr, told: u16) -> Option<u16> {
        let key = (Asked::Binding, from);
        let (recorded, ours) = (narrow(*self.recorded.get(&key)?), narrow(*self.ours.get(&key)?));
        Some(told.wrapping_add(ours.wrapping_sub(recorded)))
    }

    /// True for the prefixes that only the recorded node asked for. An agent would not tell ours.
    fn is_unasked(&self, bytes: &[u8]) -> bool {
        Packet::parse(bytes).is_ok_and(|packet| {
            packet.upper.protocol == next_header::ICMPV6
                && packet.payload().first() == Some(&147)
                && !self.ours.contains_key(&(Asked::Prefixes, packet.header.source))
        })
    }

    /// The test init that an error quotes, as ours.
    fn quoting_ours(&self, quoted: &[u8]) -> Option<Vec<u8>> {
        let (asked, to, cookie) = question(quoted)?;
        let packet = Packet::parse(quoted).ok()?;
        let mut header = mobility_of(&packet)?;
        match &mut header.message {
            Message::HomeTestInit(init) | Message::CareOfTestInit(init) => {
                init.cookie = self.ours_for(asked, to, cookie)?;
            }
            _ => return None,
        }
        let upper = header.emit_for(&packet.final_source(), &packet.final_destination());
        Some([quoted.get(..packet.upper.offset)?, &upper].concat())
    }

    /// The cookie of ours with which a test comes; its token counts from then on, unless ours has had a test with
    /// that cookie.
    fn test_for_ours(&mut self, key: (Asked, Ipv6Addr), test: &mut Test, again: bool) -> Option<()> {
        let recorded = self.recorded.get(&key) == Some(&test.cookie);
        let ours = self.ours.get(&key).copied().filter(|_| again || recorded);
        if ours.is_none() || self.had.get(&key) != ours.as_ref() {
            self.tokens.insert((key.0 == Asked::HomeTest, key.1), test.token);
        }
        test.cookie = ours?;
        self.had.insert(key, test.cookie);
        Some(())
    }

    /// With `again`, an answer to an earlier question is made one to ours of now.
    fn answering_ours(&mut self, bytes: &[u8], again: bool) -> Option<Vec<u8>> {
        let packet = Packet::parse(bytes).ok()?;
        let from = packet.header.source;
        if packet.upper.protocol == next_header::IPV6 {
            let adapted = self.answering_ours(packet.payload(), again)?;
            return Some([bytes.get(..packet.upper.offset)?, &adapted].concat());
        }
        let upper = if let Some(mut header) = mobility_of(&packet) {
            match &mut header.message {
                Message::HomeTest(test) => self.test_for_ours((Asked::HomeTest, from), test, again)?,
                Message::CareOfTest(test) => self.test_for_ours((Asked::CareOfTest, from), test, again)?,
                Message::BindingAcknowledgement(message) => {
                    message.sequence = match again {
                        true => narrow(*self.ours.get(&(Asked::Binding, from))?),
                        false => self.told_ours(from, message.sequence)?,
                    };
                    if let Some(home) = self.tokens.get(&(true, from)) {
                        let key = binding_management_key(home, self.tokens.get(&(false, from)));
                        let care_of = packet.header.destination;
                        seal(
                            &mut header,
                            SealKey { binding_management_key: &key, care_of, correspondent: from },
                        );
                    }
                }
                _ => return None,
            }
            header.emit_for(&packet.final_source(), &packet.final_destination())
        } else {
            let mut upper = packet.payload().to_vec();
            let identifier = u16::from_be_bytes([*upper.get(4)?, *upper.get(5)?]);
            match upper.first()? {
                1..128 => {
                    let quoted = self.quoting_ours(upper.get(8..)?)?;
                    upper.truncate(8);
                    upper.extend(quoted);
                }
                145 => {
                    let agents = Ipv6Addr::UNSPECIFIED;
                    let ours = narrow(self.ours_for(Asked::Discovery, agents, wide(identifier))?);
                    upper.get_mut(4..6)?.copy_from_slice(&ours.to_be_bytes());
                }
                147 => {
                    let ours = narrow(self.ours_for(Asked::Prefixes, from, wide(identifier))?);
                    upper.get_mut(4..6)?.copy_from_slice(&ours.to_be_bytes());
                }
                _ => return None,
            }
            upper.get_mut(2..4)?.fill(0);
            let (source, destination) = (packet.final_source(), packet.final_destination());
            let sum = ipv6::checksum(&source, &destination, next_header::ICMPV6, &upper);
            upper.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
            upper
        };
        Some([bytes.get(..packet.upper.offset)?, &upper].concat())
    }
}

impl Adapt for Questions {
    fn recorded_sent(&mut self, packet: &[u8]) {
        if let Some((asked, to, value)) = question(packet) {
            self.recorded.insert((asked, to), value);
        }
    }

    fn ours_sent(&mut self, packet: &[u8]) {
        if let Some((asked, to, value)) = question(packet) {
            self.ours.insert((asked, to), value);
        }
    }

    fn received(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_unasked(&packet) {
            return None;
        }
        let adapted = self.answering_ours(&packet, false).unwrap_or(packet);
        // What came through no return routability is the home agent's, which answers when it was recorded.
        let from_correspondent = answer(&adapted).filter(|key| self.tokens.contains_key(&(true, key.1)));
        if let (Some(answers), Some(key)) = (&mut self.answers, from_correspondent) {
            answers.insert(key, adapted.clone());
        }
        Some(adapted)
    }

    fn instead(&mut self, ours: &[u8]) -> Vec<Vec<u8>> {
        let Some((asked, to, _)) = question(ours) else { return Vec::new() };
        let last = self.answers.as_ref().and_then(|answers| answers.get(&(asked, to)).cloned());
        last.and_then(|last| self.answering_ours(&last, true)).into_iter().collect()
    }
}
