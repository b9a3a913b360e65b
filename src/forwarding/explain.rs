//! Why a packet would go where it would go: the same decisions as `user` makes for a packet that leaves or passes, taken
//! without a packet and without changing anything, in words (RFC 3775 8-11, thesis 4.2, 4.3). The headers are made by
//! the same code that rewrites packets. Asked by `daemon` for an operator.

use std::net::Ipv6Addr;

use serde::Serialize;

use super::groups::Why;
use super::user::Forwarder;
use crate::protocol::action::{Rule, RuleKey, RuleKind};
use crate::protocol::clock::Instant;
use crate::protocol::limits::HOP_LIMIT;
use crate::protocol::select::{Takes, slot_of};
use crate::wire::PacketBuffer;
use crate::wire::dissect;
use crate::wire::ipv6::{self, HEADER_LENGTH, Ipv6Header, next_header};
use crate::wire::rewrite::{insert_home_address, insert_routing2};
use crate::wire::tunnel::encapsulate;

/// The headers that a packet without any payload would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Headers {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// The whole packet in a line.
    pub line: String,
    /// Everything in front of the payload, or of the packet inside, as hexadecimal digits. The payload length is that of
    /// an empty packet.
    pub octets: String,
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// The rule that decides: a kind of rule, `group`, or `none`.
    pub rule: String,
    /// Of a group, what decides among its members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Why>,
    /// Number of the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<usize>,
    /// Where the packet goes next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// The sentence that decides.
    pub because: String,
    pub clause: &'static str,
}

/// What is done to the packet.
enum Rewrite {
    Tunnel(Ipv6Addr, Ipv6Addr),
    Routing(Ipv6Addr),
    HomeAddress(Ipv6Addr),
}

impl Explanation {
    fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        rule: &str,
        because: String,
        clause: &'static str,
    ) -> Self {
        Self {
            source,
            destination,
            rule: rule.to_owned(),
            by: None,
            member: None,
            slot: None,
            to: None,
            headers: None,
            because,
            clause,
        }
    }

    fn rewritten(mut self, rewrite: &Rewrite) -> Self {
        let header = Ipv6Header::new(next_header::NO_NEXT_HEADER, 64, self.source, self.destination);
        let mut packet = PacketBuffer::new(&ipv6::packet(header, &[]));
        let is_done = match rewrite {
            Rewrite::Tunnel(from, to) => {
                encapsulate(&mut packet, from, to, HOP_LIMIT);
                true
            }
            Rewrite::Routing(to) => insert_routing2(&mut packet, to).is_ok(),
            Rewrite::HomeAddress(from) => insert_home_address(&mut packet, from).is_ok(),
        };
        let octets = packet.as_slice();
        let Some(outer) = Ipv6Header::parse(octets).ok().filter(|_| is_done) else { return self };
        let length = match rewrite {
            Rewrite::Tunnel(..) => HEADER_LENGTH,
            _ => octets.len(),
        };
        let digits = octets.iter().take(length).map(|octet| format!("{octet:02x}"));
        self.to = Some(outer.destination);
        self.headers = Some(Headers {
            source: outer.source,
            destination: outer.destination,
            line: dissect::line(octets),
            octets: digits.collect(),
        });
        self
    }
}

/// What would become of a packet `source` -> `destination` that this node sends or forwards.
pub fn explain(forwarder: &Forwarder, now: Instant, source: Ipv6Addr, destination: Ipv6Addr) -> Explanation {
    let told = |rule, because, clause| Explanation::new(source, destination, rule, because, clause);
    if let Some(explanation) = by_group(forwarder, now, source, destination) {
        return explanation;
    }
    let rule = |key| forwarder.rule(&key);
    if let Some(Rule::TunnelToResponder { agent, care_of, .. }) =
        rule(RuleKey::of(RuleKind::TunnelToResponder, destination))
    {
        let because = format!("{destination} is bound to {care_of}: the last Binding Update wins");
        let explanation = told("tunnel-to-responder", because, "thesis 4.2.2");
        return if source == agent {
            explanation.rewritten(&Rewrite::Routing(care_of))
        } else {
            explanation.rewritten(&Rewrite::Tunnel(agent, care_of))
        };
    }
    if let Some(Rule::ReverseTunnelOut { care_of, agent, .. }) =
        rule(RuleKey::of(RuleKind::ReverseTunnelOut, source))
    {
        if let Some(Rule::HomeAddressOut { care_of, .. }) =
            rule(RuleKey::between(RuleKind::HomeAddressOut, source, destination))
        {
            let because = format!("the route to {destination} is optimised");
            return told("home-address-out", because, "RFC 3775 11.3.1")
                .rewritten(&Rewrite::HomeAddress(care_of));
        }
        let because = format!("{destination} has no binding, so the packet goes back by the agent {agent}");
        return told("reverse-tunnel-out", because, "RFC 3775 11.3.1")
            .rewritten(&Rewrite::Tunnel(care_of, agent));
    }
    if let Some(Rule::RoutingHeaderOut { care_of, .. }) =
        rule(RuleKey::between(RuleKind::RoutingHeaderOut, destination, source))
    {
        let because = format!("{source} has a binding of {destination} to {care_of}");
        return told("routing-header-out", because, "RFC 3775 9.3.2").rewritten(&Rewrite::Routing(care_of));
    }
    let because = "no rule is for these addresses: the packet goes the ordinary way".to_owned();
    Explanation { to: Some(destination), ..told("none", because, "") }
}

fn by_group(
    forwarder: &Forwarder,
    now: Instant,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> Option<Explanation> {
    let installed = forwarder.group(&destination)?;
    let slot = slot_of(&source);
    let agent = installed.group().agent;
    let told = |because| {
        let told = Explanation::new(source, destination, "group", because, "thesis 4.3.1");
        Explanation { slot: Some(slot), ..told }
    };
    let Some((member, why)) = installed.would_choose(now, &source) else {
        return Some(told("no member takes new sources: the sender gets Destination Unreachable".to_owned()));
    };
    let (number, care_of) = (member.number, member.care_of);
    let keeps = if member.takes == Takes::Kept { ", which takes no new sources" } else { "" };
    let (because, clause) = match why {
        Why::Affinity => {
            let remaining = installed.remaining(now, &source).unwrap_or_default();
            let because = format!(
                "{source} is fixed to member {number} at {care_of}{keeps}, for another {remaining} s"
            );
            (because, "thesis 4.3.2")
        }
        Why::Lost => {
            let because = format!(
                "the member that {source} was fixed to is gone; its slot {slot} is member {number}'s at {care_of}"
            );
            (because, "thesis 4.3.2")
        }
        Why::Slot => {
            let because = format!("{source} is not fixed; its slot {slot} is member {number}'s at {care_of}");
            (because, "thesis 4.3.1")
        }
    };
    let explanation = Explanation { by: Some(why), member: Some(number), clause, ..told(because) };
    Some(if source == agent {
        explanation.rewritten(&Rewrite::Routing(care_of))
    } else {
        explanation.rewritten(&Rewrite::Tunnel(agent, care_of))
    })
}
