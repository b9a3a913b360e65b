//! The agent among the agents and prefixes of its home link: dynamic home agent address discovery, Router
//! Advertisements heard, Mobile Prefix Solicitations answered and advertisements sent (RFC 3775 10.5, 10.6).
//! Called by `haa` for ICMPv6 and by its timers.

use std::net::Ipv6Addr;

use super::membership::End;
use super::{Capture, Haa};
use crate::protocol::action::Action;
use crate::protocol::binding::cache::{Binding, BindingKey};
use crate::protocol::binding::members::Member;
use crate::protocol::clock::Instant;
use crate::protocol::home_agents::Learned;
use crate::protocol::home_link;
use crate::protocol::input::is_routable_unicast;
use crate::protocol::limits::HOP_LIMIT;
use crate::protocol::prefix_discovery;
use crate::protocol::report::Report;
use crate::protocol::router_advertisement::RouterAdvertisement;
use crate::wire::chain::Packet;
use crate::wire::icmpv6::{Icmpv6Message, kind};

pub(super) fn is_prefix_solicitation(packet: &Packet<'_>) -> bool {
    packet.payload().first() == Some(&kind::MOBILE_PREFIX_SOLICITATION)
}

impl Haa {
    /// The addresses by which responders find the agents of the home link (RFC 3775 10.5), when this is one of them.
    pub(super) fn home_agents_anycast(&self) -> impl Iterator<Item = Ipv6Addr> {
        let on_home_link = self.config.home_prefixes.iter().filter(|_| self.capture == Capture::HomeLink);
        on_home_link.map(home_link::home_agents_anycast)
    }

    /// True for the address that dynamic home agent address discovery asks (RFC 3775 10.5.1).
    pub(super) fn is_home_agents_anycast(&self, address: &Ipv6Addr) -> bool {
        self.home_agents_anycast().any(|own| own == *address)
    }

    /// Dynamic Home Agent Address Discovery (RFC 3775 10.5.1): the reply comes from the unicast address.
    pub(super) fn answer_discovery(&mut self, packet: &Packet<'_>, identifier: u16) {
        let asked = packet.header.destination;
        if !self.is_home_agents_anycast(&asked) || !is_routable_unicast(&packet.header.source) {
            return self.counters.count("dhaad.ignored");
        }
        self.counters.count("dhaad.answered");
        let message = Icmpv6Message::HomeAgentDiscoveryReply {
            code: 0,
            identifier,
            reserved: 0,
            home_agents: self.home_agents.in_order(),
        };
        let reply = home_link::icmpv6_packet(&self.config.agent, &packet.header.source, HOP_LIMIT, message);
        self.actions.push_back(Action::Send(reply));
        self.report(Report::debug("home-agent-discovered").peer(packet.header.source));
    }

    /// A Router Advertisement of the home link: who else is a home agent, and how long the prefixes are good
    /// (RFC 3775 10.5.1, 10.6.1).
    pub(super) fn learn(&mut self, now: Instant, heard: &RouterAdvertisement) {
        self.counters.count("router-advertisement.received");
        match self.home_agents.learn(now, heard) {
            Learned::Nothing => {}
            Learned::Added => self.report(Report::info("home-agent-found").peer(heard.router)),
            Learned::Removed => {
                let report = Report::info("home-agent-lost").peer(heard.router);
                self.report(report.because("it says that it is one no longer", "RFC 3775 10.5.1"));
            }
        }
        if self.prefixes.learn(now, heard).is_empty() {
            return;
        }
        self.report(Report::info("home-prefixes-changed").peer(heard.router));
        self.end_bindings_without_prefix(now);
        let preferred = self.prefixes.shortest_preferred(now);
        if let Some(discovery) = &mut self.prefix_discovery {
            for binding in self.cache.iter() {
                discovery.changed(now, binding.key(), preferred);
            }
        }
    }

    /// RFC 3775 10.3.1: a binding does not outlive the prefix of its home address.
    pub(super) fn end_bindings_without_prefix(&mut self, now: Instant) {
        let homeless =
            self.cache.iter().filter(|binding| self.prefixes.of(now, &binding.home_address).is_none());
        for key in homeless.map(Binding::key).collect::<Vec<_>>() {
            let Some(binding) = self.cache.remove(&key) else { continue };
            self.counters.count("binding.prefix-invalid");
            self.withdraw(&binding);
            let report = Report::info("binding-removed").anycast(key.0).care_of(binding.care_of);
            self.report(report.because("the home prefix is no longer valid", "RFC 3775 10.3.1"));
        }
        let homeless = self.joined.iter().map(Member::key);
        let homeless = homeless.filter(|(anycast, _)| self.prefixes.of(now, anycast).is_none()).collect();
        self.end_members(homeless, End::PrefixInvalid);
    }

    /// A Mobile Prefix Solicitation of a bound responder (RFC 3775 6.7); any other is not answered.
    pub(super) fn answer_prefix_solicitation(&mut self, now: Instant, packet: &Packet<'_>, identifier: u16) {
        let key = (packet.final_source(), packet.header.destination);
        if self.prefix_discovery.is_some() && self.is_from_member(packet) {
            return self.advertise_prefixes_to(now, key, packet.header.source, identifier, true);
        }
        match &mut self.prefix_discovery {
            Some(discovery) if self.cache.get(&key).is_some() => {
                discovery.solicited(now, key, identifier);
                self.advertise_prefixes(now);
            }
            _ => self.counters.count("mobile-prefix-solicitation.ignored"),
        }
    }

    /// Sends the Mobile Prefix Advertisements whose time has come (RFC 3775 10.6.3).
    pub(super) fn advertise_prefixes(&mut self, now: Instant) {
        let preferred = self.prefixes.shortest_preferred(now);
        while let Some(due) = self.prefix_discovery.as_mut().and_then(|d| d.take_due(now, preferred)) {
            let Some(binding) = self.cache.get(&due.key) else { continue };
            let care_of = binding.care_of;
            self.advertise_prefixes_to(now, due.key, care_of, due.identifier, due.is_solicited);
        }
    }

    /// Sends a Mobile Prefix Advertisement to the responder that is bound under `key` at `care_of`.
    fn advertise_prefixes_to(
        &mut self,
        now: Instant,
        (anycast, own): BindingKey,
        care_of: Ipv6Addr,
        identifier: u16,
        is_solicited: bool,
    ) {
        let options = self.prefixes.options(now, &self.config.agent);
        let packet = prefix_discovery::advertisement(&own, &care_of, &anycast, identifier, options);
        self.counters.count(if is_solicited {
            "mobile-prefix-advertisement.solicited"
        } else {
            "mobile-prefix-advertisement.unsolicited"
        });
        self.actions.push_back(Action::Send(packet));
        self.report(Report::debug("prefixes-advertised").anycast(anycast).care_of(care_of));
    }
}
