//! What may differ between two runs of one protocol, each with a name, and the form in which it is compared instead.
//! Numbers are told by what they refer to (a Home Test repeats the cookie of a Home Test Init, RFC 3775 section 5.2; an
//! acknowledgement repeats the number of its update, section 9.5.1), so that a wrong reference is still a difference.
//! Each capture is normalised by itself, in file order, before the comparison aligns the two.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;

use super::tree::{Field, Kind, Role, Summary, Tree, Value};
use crate::protocol::auth::tokens::{authenticator_is_valid, binding_management_key};

/// What the number of a Binding Update that follows status 135 counts from.
const TOLD: &str = "the one told with status 135";
/// Values of one kind that one conversation remembers.
const REMEMBERED: usize = 8;
/// Conversations whose numbers are remembered, per kind of number; the least recently used are forgotten first.
const CONVERSATIONS: usize = 1 << 15;
/// Ports from here on are chosen by the system (RFC 6335 section 6 says 49152; Linux begins here).
pub(super) const FIRST_EPHEMERAL_PORT: u16 = 32768;

/// A reason why equal protocols may show unequal values, see [`Normalisation::meaning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Normalisation {
    /// `time`
    Time,
    /// `mac-addresses`
    MacAddresses,
    /// `flow-labels`
    FlowLabels,
    /// `hop-limit`
    HopLimit,
    /// `checksums`
    Checksums,
    /// `sequence-numbers`
    SequenceNumbers,
    /// `cookies`
    Cookies,
    /// `tokens`
    Tokens,
    /// `nonces`
    Nonces,
    /// `authenticators`
    Authenticators,
    /// `timestamps`
    Timestamps,
    /// `icmpv6-identifiers`
    Icmpv6Identifiers,
    /// `fragment-identifications`
    FragmentIdentifications,
    /// `ports`
    Ports,
    /// `tcp-sequence-numbers`
    TcpSequenceNumbers,
    /// `tcp-pacing`
    TcpPacing,
    /// `payload`
    Payload,
    /// `security`
    Security,
}

impl Normalisation {
    /// All of them.
    pub const ALL: [Normalisation; 18] = [
        Normalisation::Time,
        Normalisation::MacAddresses,
        Normalisation::FlowLabels,
        Normalisation::HopLimit,
        Normalisation::Checksums,
        Normalisation::SequenceNumbers,
        Normalisation::Cookies,
        Normalisation::Tokens,
        Normalisation::Nonces,
        Normalisation::Authenticators,
        Normalisation::Timestamps,
        Normalisation::Icmpv6Identifiers,
        Normalisation::FragmentIdentifications,
        Normalisation::Ports,
        Normalisation::TcpSequenceNumbers,
        Normalisation::TcpPacing,
        Normalisation::Payload,
        Normalisation::Security,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Normalisation::Time => "time",
            Normalisation::MacAddresses => "mac-addresses",
            Normalisation::FlowLabels => "flow-labels",
            Normalisation::HopLimit => "hop-limit",
            Normalisation::Checksums => "checksums",
            Normalisation::SequenceNumbers => "sequence-numbers",
            Normalisation::Cookies => "cookies",
            Normalisation::Tokens => "tokens",
            Normalisation::Nonces => "nonces",
            Normalisation::Authenticators => "authenticators",
            Normalisation::Timestamps => "timestamps",
            Normalisation::Icmpv6Identifiers => "icmpv6-identifiers",
            Normalisation::FragmentIdentifications => "fragment-identifications",
            Normalisation::Ports => "ports",
            Normalisation::TcpSequenceNumbers => "tcp-sequence-numbers",
            Normalisation::TcpPacing => "tcp-pacing",
            Normalisation::Payload => "payload",
            Normalisation::Security => "security",
        }
    }

    /// What is compared instead, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Normalisation::Time => "Times of capture are not compared; strict: time since the first packet.",
            Normalisation::MacAddresses => {
                "Of link-layer addresses, in frames and options, only the length counts."
            }
            Normalisation::FlowLabels => "IPv6 flow labels are not compared.",
            Normalisation::HopLimit => {
                "IPv6 hop limits are not compared: they tell where the capture was made."
            }
            Normalisation::Checksums => "Of checksums counts whether they are right.",
            Normalisation::SequenceNumbers => {
                "A Binding Update's number counts from the sender's first in the binding, or after status 135 from \
                 the one told, and later ones from that update's; an acknowledgement's counts from its update's, or with \
                 135 from the last accepted one."
            }
            Normalisation::Cookies => "A test's init cookie must be that of a test init seen before it.",
            Normalisation::Tokens => "Keygen tokens are not compared; authenticators are checked with them.",
            Normalisation::Nonces => {
                "A Binding Update's nonce indices must be those of tests seen before it."
            }
            Normalisation::Authenticators => {
                "Of authenticators counts the length and that none contradicts the keygen tokens seen."
            }
            Normalisation::Timestamps => {
                "An acknowledgement's timestamp must be that of an update seen before it, or have its fraction."
            }
            Normalisation::Icmpv6Identifiers => {
                "A reply's identifier must be that of a request seen before it."
            }
            Normalisation::FragmentIdentifications => "Fragment identifications are not compared.",
            Normalisation::Ports => "Ports from 32768 on are not compared.",
            Normalisation::TcpSequenceNumbers => "TCP numbers count from the first of their direction.",
            Normalisation::TcpPacing => "TCP windows, options and urgent pointers are not compared.",
            Normalisation::Payload => "Of what applications send only the length counts.",
            Normalisation::Security => {
                "ESP and AH numbers count from the first; of what ESP hides, and of what AH and RFC 4285 prove, only the \
                 length counts."
            }
        }
    }

    fn of(role: Role) -> Option<Normalisation> {
        Some(match role {
            Role::Plain => return None,
            Role::Time => Normalisation::Time,
            Role::LinkAddress => Normalisation::MacAddresses,
            Role::FlowLabel => Normalisation::FlowLabels,
            Role::HopLimit => Normalisation::HopLimit,
            Role::Checksum => Normalisation::Checksums,
            Role::UpdateSequence | Role::AcknowledgedSequence => Normalisation::SequenceNumbers,
            Role::NewCookie | Role::EchoedCookie => Normalisation::Cookies,
            Role::Token => Normalisation::Tokens,
            Role::NewNonce | Role::UsedHomeNonce | Role::UsedCareOfNonce => Normalisation::Nonces,
            Role::Authenticator => Normalisation::Authenticators,
            Role::NewTimestamp | Role::EchoedTimestamp => Normalisation::Timestamps,
            Role::NewIdentifier | Role::EchoedIdentifier => Normalisation::Icmpv6Identifiers,
            Role::FragmentIdentification => Normalisation::FragmentIdentifications,
            Role::Port => Normalisation::Ports,
            Role::TcpSequence | Role::TcpAcknowledgement => Normalisation::TcpSequenceNumbers,
            Role::TcpPacing => Normalisation::TcpPacing,
            Role::Payload => Normalisation::Payload,
            Role::SecuritySequence | Role::SecurityData => Normalisation::Security,
        })
    }
}

impl fmt::Display for Normalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of normalisations that are *not* applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Strict(u32);

impl Strict {
    /// Every normalisation dropped: values must be equal as they stand.
    pub const ALL: Strict = Strict(u32::MAX);

    /// The set with `normalisation` too.
    #[must_use]
    pub fn with(self, normalisation: Normalisation) -> Strict {
        Strict(self.0 | 1 << normalisation as u32)
    }

    /// The set with `others` too.
    #[must_use]
    pub fn and(self, others: Strict) -> Strict {
        Strict(self.0 | others.0)
    }

    /// True when `normalisation` is dropped.
    pub fn has(self, normalisation: Normalisation) -> bool {
        self.0 & 1 << normalisation as u32 != 0
    }
}

/// A word that names no normalisation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no normalisation; --list-normalisations lists them, and `all` is all of them")]
pub struct UnknownNormalisation(String);

impl FromStr for Strict {
    type Err = UnknownNormalisation;

    fn from_str(word: &str) -> Result<Self, UnknownNormalisation> {
        if word == "all" {
            return Ok(Strict::ALL);
        }
        let found = Normalisation::ALL.into_iter().find(|normalisation| normalisation.name() == word);
        let found = found.ok_or_else(|| UnknownNormalisation(word.to_owned()))?;
        Ok(Strict::default().with(found))
    }
}

/// Addresses of the expected capture and what they are in the actual one; prefixes of equal length likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressMap {
    from: Ipv6Net,
    to: Ipv6Net,
}

/// Words that are no address map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address map: say A=B with two IPv6 addresses, or two prefixes of one length")]
pub struct BadAddressMap(String);

impl FromStr for AddressMap {
    type Err = BadAddressMap;

    fn from_str(words: &str) -> Result<Self, BadAddressMap> {
        let bad = || BadAddressMap(words.to_owned());
        let prefix = |word: &str| match word.parse::<Ipv6Addr>() {
            Ok(address) => Some(Ipv6Net::from(address)),
            Err(_) => word.parse::<Ipv6Net>().ok(),
        };
        let (from, to) = words.split_once('=').ok_or_else(bad)?;
        let (from, to) = (prefix(from).ok_or_else(bad)?, prefix(to).ok_or_else(bad)?);
        if from.prefix_len() == to.prefix_len() { Ok(AddressMap { from, to }) } else { Err(bad()) }
    }
}

impl AddressMap {
    fn apply(maps: &[AddressMap], address: Ipv6Addr) -> Ipv6Addr {
        let Some(map) = maps.iter().find(|map| map.from.contains(&address)) else { return address };
        let host = u128::from(map.from.hostmask()) & u128::from(address);
        Ipv6Addr::from(u128::from(map.to.network()) | host)
    }

    /// Puts every address of a tree through the maps.
    pub(super) fn apply_to(maps: &[AddressMap], tree: &mut Tree) {
        if maps.is_empty() {
            return;
        }
        for field in &mut tree.fields {
            if let Value::Address(address) = &mut field.value {
                *address = AddressMap::apply(maps, *address);
            }
        }
        let summary = &mut tree.summary;
        for address in [
            &mut summary.source,
            &mut summary.destination,
            &mut summary.final_source,
            &mut summary.final_destination,
        ] {
            *address = AddressMap::apply(maps, *address);
        }
    }
}

/// What a field's value is compared as, when not as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Canon {
    /// Whatever it is.
    Any,
    /// Octets of this number.
    Length(usize),
    /// What it refers to.
    Word(&'static str),
    /// So much more than what it refers to.
    Offset(&'static str, i64),
}

impl fmt::Display for Canon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Canon::Any => f.write_str("any"),
            Canon::Length(length) => write!(f, "{length} octets"),
            Canon::Word(word) => f.write_str(word),
            Canon::Offset(word, offset) => write!(f, "{word} {offset:+}"),
        }
    }
}

/// Replaces the changeable values of one capture's packets by what they are compared as. It must see the packets in
/// file order. Memory is bounded: it remembers a fixed number of conversations and of values in each.
pub struct Normaliser {
    strict: Strict,
    bindings: Recent<(Ipv6Addr, Ipv6Addr), Binding>,
    cookies: Recent<(bool, Ipv6Addr, Ipv6Addr), Vec<u64>>,
    tests: Recent<(bool, Ipv6Addr, Ipv6Addr), Vec<Nonce>>,
    keys: Recent<(Ipv6Addr, Ipv6Addr), Vec<Key>>,
    timestamps: Recent<(Ipv6Addr, Ipv6Addr), Vec<u64>>,
    identifiers: Recent<(u8, Ipv6Addr), Vec<u64>>,
    flows: Recent<(Ipv6Addr, Ipv6Addr, u64, u64), u32>,
    security: Recent<(Ipv6Addr, Ipv6Addr), u32>,
    homes: Recent<Ipv6Addr, ()>,
}

/// The numbers of one binding at one peer.
#[derive(Default)]
struct Binding {
    accepted: Option<u16>,
    first_acknowledged: Option<u16>,
    senders: Vec<Sender>,
}

/// The numbers of one care-of address in a binding.
struct Sender {
    care_of: Ipv6Addr,
    base: u16,
    base_is: &'static str,
    last: u16,
    /// The one before the last.
    previous: u16,
}

#[derive(Clone, Copy)]
struct Nonce {
    index: u64,
    token: [u8; 8],
}

#[derive(Clone, Copy)]
struct Key {
    kbm: [u8; 20],
    care_of: Ipv6Addr,
}

impl Normaliser {
    /// One that leaves the normalisations in `strict` out.
    pub fn new(strict: Strict) -> Normaliser {
        Normaliser {
            strict,
            bindings: Recent::default(),
            cookies: Recent::default(),
            tests: Recent::default(),
            keys: Recent::default(),
            timestamps: Recent::default(),
            identifiers: Recent::default(),
            flows: Recent::default(),
            security: Recent::default(),
            homes: Recent::default(),
        }
    }

    /// True when `address` was registered at a home agent earlier in the capture.
    pub fn is_home_address(&mut self, address: Ipv6Addr) -> bool {
        self.homes.find(&address).is_some()
    }

    /// What the fields of `tree` are compared as, by index, for those that are not compared as they stand. `packet`
    /// is what the tree was made of.
    pub fn normalise(&mut self, tree: &Tree, packet: &[u8]) -> Vec<(u16, Canon)> {
        let mut canons = Vec::with_capacity(8);
        let about = About { tree, packet, summary: &tree.summary };
        for (index, field) in (0u16..).zip(&tree.fields) {
            if let Some(normalisation) = Normalisation::of(field.role)
                // What is learnt from a field is learnt under any set of flags.
                && let Some(canon) = self.canon(field, &about)
                && !self.strict.has(normalisation)
            {
                canons.push((index, canon));
            }
        }
        canons
    }

    /// Takes a repeated Binding Update out of the count of its sender's numbers.
    pub(super) fn forget_repetition(&mut self, tree: &Tree) {
        let summary = &tree.summary;
        if summary.kind != Kind::Mobility(5) {
            return;
        }
        let binding = self.bindings.entry((summary.final_source, summary.final_destination));
        if let Some(sender) = binding.senders.iter_mut().find(|sender| sender.care_of == summary.source) {
            let repeated = sender.last.wrapping_sub(sender.previous);
            sender.base = sender.base.wrapping_add(repeated);
            sender.previous = sender.last;
        }
    }

    fn canon(&mut self, field: &Field, about: &About<'_>) -> Option<Canon> {
        let number = match &field.value {
            Value::Number(number) | Value::Bits(number, _) => *number,
            _ => 0,
        };
        Some(match field.role {
            Role::Plain => return None,
            Role::Time | Role::FlowLabel | Role::HopLimit | Role::FragmentIdentification | Role::Token => {
                Canon::Any
            }
            Role::TcpPacing => Canon::Any,
            Role::Port if number < FIRST_EPHEMERAL_PORT.into() => return None,
            Role::Port => Canon::Any,
            Role::LinkAddress | Role::Payload | Role::SecurityData => match &field.value {
                Value::Octets(octets) => Canon::Length(octets.len()),
                _ => Canon::Any,
            },
            Role::Checksum => match field.value {
                Value::Checksum(_, Some(true)) => Canon::Word("right"),
                Value::Checksum(_, Some(false)) => Canon::Word("wrong"),
                _ => Canon::Word("unknowable"),
            },
            // A quotation refers to what may have been long ago, or on another link.
            _ if field.quoted => match &field.value {
                Value::Octets(octets) => Canon::Length(octets.len()),
                _ => Canon::Any,
            },
            Role::UpdateSequence => self.update_sequence(number, about.summary),
            Role::AcknowledgedSequence => self.acknowledged_sequence(number, about),
            Role::NewCookie | Role::EchoedCookie => self.cookie(field.role, number, about.summary),
            Role::NewNonce => self.new_nonce(number, about),
            Role::UsedHomeNonce => {
                let Summary { final_source, final_destination, .. } = *about.summary;
                self.used_nonce((true, final_source, final_destination), number)
            }
            Role::UsedCareOfNonce => {
                let Summary { source, final_destination, .. } = *about.summary;
                self.used_nonce((false, source, final_destination), number)
            }
            Role::Authenticator => match &field.value {
                Value::Octets(octets) if self.contradicts(octets, about) => Canon::Word("wrong"),
                Value::Octets(octets) => Canon::Length(octets.len()),
                _ => return None,
            },
            Role::NewTimestamp => {
                push(self.timestamps.entry((about.summary.source, about.summary.final_destination)), number);
                Canon::Any
            }
            Role::EchoedTimestamp => self.echoed_timestamp(number, about.summary),
            Role::NewIdentifier | Role::EchoedIdentifier => {
                self.identifier(field.role, number, about.summary)
            }
            Role::TcpSequence | Role::TcpAcknowledgement => return self.tcp(field.role, number, about),
            Role::SecuritySequence => {
                let number = u32::try_from(number).unwrap_or(0);
                let first =
                    self.security.or_insert((about.summary.source, about.summary.destination), number);
                Canon::Offset("first", distance(*first, number))
            }
        })
    }

    fn update_sequence(&mut self, number: u64, summary: &Summary) -> Canon {
        let number = u16::try_from(number).unwrap_or(0);
        self.homes.entry(summary.final_source);
        let binding = self.bindings.entry((summary.final_source, summary.final_destination));
        match binding.senders.iter_mut().find(|sender| sender.care_of == summary.source) {
            Some(sender) => {
                sender.previous = std::mem::replace(&mut sender.last, number);
                let base_is = sender.base_is;
                let offset = number.wrapping_sub(sender.base).cast_signed().into();
                if base_is == TOLD {
                    // Another retry than the other side's is one difference, not one in every number after it.
                    (sender.base, sender.base_is) = (number, "the first after status 135");
                }
                Canon::Offset(base_is, offset)
            }
            None => {
                let base_is = "the sender's first";
                let care_of = summary.source;
                let sender = Sender { care_of, base: number, base_is, last: number, previous: number };
                push(&mut binding.senders, sender);
                Canon::Offset(base_is, 0)
            }
        }
    }

    fn acknowledged_sequence(&mut self, number: u64, about: &About<'_>) -> Canon {
        let number = u16::try_from(number).unwrap_or(0);
        let summary = about.summary;
        let status = about.number("status");
        let binding = self.bindings.entry((summary.final_destination, summary.final_source));
        let sender = binding.senders.iter_mut().find(|sender| sender.care_of == summary.destination);
        let from = |base: u16| i64::from(number.wrapping_sub(base).cast_signed());
        if status == Some(135) {
            let canon = match binding.accepted {
                Some(accepted) => Canon::Offset("the last accepted", from(accepted)),
                None => Canon::Word("one not seen accepted"),
            };
            if let Some(sender) = sender {
                (sender.base, sender.base_is) = (number, TOLD);
            }
            return canon;
        }
        let canon = match sender {
            Some(sender) => Canon::Offset("its update's", from(sender.last)),
            None => {
                let first = *binding.first_acknowledged.get_or_insert(number);
                Canon::Offset("the first acknowledged", from(first))
            }
        };
        if status.is_some_and(|status| status < 128) {
            binding.accepted = Some(number);
        }
        canon
    }

    fn cookie(&mut self, role: Role, number: u64, summary: &Summary) -> Canon {
        let is_home = matches!(summary.kind, Kind::Mobility(1 | 3));
        if role == Role::NewCookie {
            let seen = self.cookies.entry((is_home, summary.final_source, summary.final_destination));
            seen.retain(|cookie| *cookie != number);
            push(seen, number);
            return Canon::Any;
        }
        let key = (is_home, summary.final_destination, summary.final_source);
        match self.cookies.find(&key) {
            Some(seen) if seen.last() == Some(&number) => Canon::Word("that of the last test init"),
            Some(seen) if seen.contains(&number) => Canon::Word("that of an earlier test init"),
            _ => Canon::Word("that of no test init seen"),
        }
    }

    fn new_nonce(&mut self, index: u64, about: &About<'_>) -> Canon {
        let summary = about.summary;
        let is_home = summary.kind == Kind::Mobility(3);
        let token = about.tree.fields.iter().find(|field| field.role == Role::Token && !field.quoted);
        let token = match token.map(|field| &field.value) {
            Some(Value::Bits(token, _)) => token.to_be_bytes(),
            _ => [0; 8],
        };
        let seen = self.tests.entry((is_home, summary.final_destination, summary.final_source));
        seen.retain(|nonce| nonce.index != index);
        push(seen, Nonce { index, token });
        Canon::Any
    }

    fn used_nonce(&mut self, key: (bool, Ipv6Addr, Ipv6Addr), index: u64) -> Canon {
        match self.tests.find(&key) {
            Some(seen) if seen.iter().any(|nonce| nonce.index == index) => Canon::Word("that of a test seen"),
            _ => Canon::Word("that of no test seen"),
        }
    }

    /// True when the keygen tokens that were seen give another authenticator (RFC 3775 sections 5.2.6 and 6.2.7).
    fn contradicts(&mut self, received: &[u8], about: &About<'_>) -> bool {
        let Summary { kind, source, destination, final_source, final_destination, upper_offset, end, .. } =
            *about.summary;
        let bytes = about.packet.get(upper_offset..end).unwrap_or_default();
        let (home_address, correspondent) = match kind {
            Kind::Mobility(5) => (final_source, final_destination),
            _ => (final_destination, final_source),
        };
        if kind == Kind::Mobility(5) {
            let care_of = match about.field("alternate-care-of-address") {
                Some(Value::Address(address)) => *address,
                _ => source,
            };
            let token =
                |tests: &mut Recent<_, Vec<Nonce>>, is_home, address: Ipv6Addr, index: Option<u64>| {
                    let seen = tests.find(&(is_home, address, correspondent))?;
                    seen.iter().find(|nonce| Some(nonce.index) == index).map(|nonce| nonce.token)
                };
            let home = token(&mut self.tests, true, home_address, about.role(Role::UsedHomeNonce));
            let index = about.role(Role::UsedCareOfNonce);
            let care_of_token = token(&mut self.tests, false, source, index);
            let keys = self.keys.entry((home_address, correspondent));
            keys.clear();
            if let Some(home) = home {
                let both = care_of_token.map(|care_of| binding_management_key(&home, Some(&care_of)));
                // Without a Care-of Test in sight only a deletion, which needs none, can be judged.
                let alone =
                    (about.number("lifetime") == Some(0) || care_of == home_address || both.is_some())
                        .then(|| binding_management_key(&home, None));
                keys.extend(both.into_iter().chain(alone).map(|kbm| Key { kbm, care_of }));
            }
        }
        match self.keys.find(&(home_address, correspondent)) {
            Some(keys) if !keys.is_empty() => !keys.iter().any(|Key { kbm, care_of }| {
                [*care_of, destination]
                    .iter()
                    .any(|care_of| authenticator_is_valid(kbm, care_of, &correspondent, bytes, received))
            }),
            _ => false,
        }
    }

    /// RFC 4285 section 6: the whole timestamp when it was valid, else its fraction only.
    fn echoed_timestamp(&mut self, number: u64, summary: &Summary) -> Canon {
        let fraction = |timestamp: u64| timestamp & u64::from(u32::MAX);
        match self.timestamps.find(&(summary.destination, summary.final_source)) {
            Some(seen) if seen.contains(&number) => Canon::Word("that of an update seen"),
            Some(seen) if seen.iter().any(|asked| fraction(*asked) == fraction(number)) => {
                Canon::Word("the fraction of an update seen")
            }
            _ => Canon::Word("that of no update seen"),
        }
    }

    fn identifier(&mut self, role: Role, number: u64, summary: &Summary) -> Canon {
        let Kind::Icmpv6(icmpv6_type) = summary.kind else { return Canon::Any };
        // Requests have even types here, replies the odd one after theirs.
        let key = icmpv6_type & !1;
        if role == Role::NewIdentifier {
            let seen = self.identifiers.entry((key, summary.final_source));
            seen.retain(|identifier| *identifier != number);
            push(seen, number);
            return Canon::Any;
        }
        match self.identifiers.find(&(key, summary.final_destination)) {
            Some(seen) if seen.contains(&number) => Canon::Word("that of a request seen"),
            _ => Canon::Word("that of no request seen"),
        }
    }

    fn tcp(&mut self, role: Role, number: u64, about: &About<'_>) -> Option<Canon> {
        let number = u32::try_from(number).unwrap_or(0);
        let Summary { final_source: from, final_destination: to, .. } = *about.summary;
        let (port, peer) = (about.number("source-port")?, about.number("destination-port")?);
        let flags = match about.tree.fields.iter().rev().find(|field| field.name == "flags") {
            Some(Field { value: Value::Flags(flags, ..), .. }) => *flags,
            _ => 0,
        };
        if role == Role::TcpAcknowledgement {
            // Without ACK the field says nothing and is zero from anyone conforming.
            return (flags & 16 != 0).then(|| {
                let first = self.flows.or_insert((to, from, peer, port), number);
                Canon::Offset("the peer's first", distance(*first, number))
            });
        }
        let first = self.flows.or_insert((from, to, port, peer), number);
        if flags & 2 != 0 {
            *first = number;
        }
        Some(Canon::Offset("first", distance(*first, number)))
    }
}

/// A packet and what is asked of it.
struct About<'a> {
    tree: &'a Tree,
    packet: &'a [u8],
    summary: &'a Summary,
}

impl About<'_> {
    /// The value of the innermost field with this name.
    fn field(&self, name: &str) -> Option<&Value> {
        self.tree
            .fields
            .iter()
            .rev()
            .find(|field| field.name == name && !field.quoted)
            .map(|field| &field.value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.field(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn role(&self, role: Role) -> Option<u64> {
        match self.tree.fields.iter().find(|field| field.role == role && !field.quoted)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }
}

fn distance(from: u32, to: u32) -> i64 {
    to.wrapping_sub(from).cast_signed().into()
}

fn push<T>(values: &mut Vec<T>, value: T) {
    if values.len() >= REMEMBERED {
        values.remove(0);
    }
    values.push(value);
}

/// A map that forgets what was not used for long: two generations, the older dropped when the younger is full.
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash + Copy, V> Recent<K, V> {
    fn find(&mut self, key: &K) -> Option<&mut V> {
        if let Some(value) = self.old.remove(key) {
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= CONVERSATIONS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn or_insert(&mut self, key: K, value: V) -> &mut V {
        let value = self.old.remove(&key).unwrap_or(value);
        if self.young.len() >= CONVERSATIONS && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.entry(key).or_insert(value)
    }
}

impl<K: Eq + Hash + Copy, V: Default> Recent<K, V> {
    fn entry(&mut self, key: K) -> &mut V {
        self.or_insert(key, V::default())
    }
}
