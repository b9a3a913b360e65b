//! Several responders at one anycast address (thesis 4.3.1, Figure 9): a Binding Update adds one, each ends alone, and
//! whatever changes among them becomes the group that the data path carries out. Called by `haa` for addresses of the
//! advanced model, by the registrations, by probes and by an operator.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use super::capacity::{Fill, Vessel};
use super::joining::Joining;
use super::registration::Update;
use super::view::{GroupStatus, MemberState, MemberStatus, MemberView};
use super::{Capture, GroupConfig, Haa};
use crate::protocol::action::Action;
use crate::protocol::binding::cache::Binding;
use crate::protocol::binding::members::{Member, MemberKey, Membership, Stored};
use crate::protocol::clock::Instant;
use crate::protocol::random::Random;
use crate::protocol::report::Report;
use crate::protocol::select::{Candidate, Contender, Group, GroupMember, Selector, Takes, slots};
use crate::wire::mobility::{
    Experimental, Extensions, Grant, Lifetime, MobilityOption, Offer, OfferFlags, Status,
};

/// So long packets of a member are taken out of the tunnel that it sent before it left.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// An anycast address of the advanced model.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) config: GroupConfig,
    pub(super) selector: Selector,
    /// The group in force, and what its table was made from.
    installed: Option<Group>,
    contenders: Vec<Contender>,
    /// For each slot an index into `contenders`.
    table: Vec<u16>,
    captured: bool,
    /// Members that an operator drains, by number.
    drained: BTreeSet<u32>,
    pub(super) fill: Fill,
    /// Who left in good order at which care-of address, and until when packets of theirs may still arrive.
    departed: BTreeMap<Ipv6Addr, Instant>,
}

impl Service {
    fn new(config: GroupConfig) -> Self {
        let selector = Selector::new(config.criterion, config.preference.clone(), config.margin);
        Self {
            config,
            selector,
            installed: None,
            contenders: Vec::new(),
            table: Vec::new(),
            captured: false,
            drained: BTreeSet::new(),
            fill: Fill::default(),
            departed: BTreeMap::new(),
        }
    }

    fn possible(&self) -> Extensions {
        let mut possible = Extensions::SEVERAL | Extensions::STEERING;
        possible.set(Extensions::AFFINITY, self.config.affinity.is_some());
        possible.set(Extensions::PROBING, !self.config.probing.interval.is_zero());
        possible.set(Extensions::AGENTS, !self.config.agents.is_empty());
        possible
    }

    /// True while the member takes only sources that it has.
    pub(super) fn is_draining(&self, member: &Member) -> bool {
        let asks = member.membership.offer.as_ref().is_some_and(|of| of.flags.contains(OfferFlags::DRAIN));
        asks || self.drained.contains(&member.number)
    }
}

/// Why a membership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order: the member said so.
    Left,
    Expired,
    PrefixInvalid,
    Ordered,
    /// The same node is a member under another name.
    Merged,
}

impl Haa {
    /// Serves these addresses by the advanced model; `random` makes probes that nobody can answer unseen.
    pub fn with_groups(
        mut self,
        groups: BTreeMap<Ipv6Addr, GroupConfig>,
        random: Box<dyn Random + Send>,
    ) -> Self {
        self.services = groups.into_iter().map(|(anycast, config)| (anycast, Service::new(config))).collect();
        self.watch.set_random(random);
        self
    }

    /// Stores a member, hands the data path the group with it, and only then acknowledges, so that the responder's
    /// first packet finds everything ready.
    pub(super) fn accept_member(
        &mut self,
        now: Instant,
        update: &Update,
        joining: &Joining,
        binding: Binding,
        status: Status,
    ) {
        let (anycast, care_of, lifetime) = (binding.home_address, binding.care_of, binding.lifetime);
        let link_local = self.link_local_wanted(now, binding.flags, &binding.home_address);
        let offer = joining.offer.clone().map(|offer| self.bounded(update, offer));
        let Some(service) = self.services.get_mut(&anycast) else { return };
        let granted = joining.granted(service.possible());
        service.departed.remove(&care_of);
        let membership = Membership { responder: joining.responder.clone(), binding, offer, granted };
        if membership.offer.as_ref().is_some_and(|offer| offer.capacity > 0) {
            service.count_from(now);
        }
        let key = (anycast, membership.responder.clone());
        let Stored { number, was_at, merged } = self.joined.store(membership);
        if let Some(merged) = merged {
            self.member_ended(&merged, End::Merged);
        }
        self.watch_member(now, number, key, granted);
        self.refresh_group(anycast);
        if let Some(link_local) = link_local {
            self.defend_link_local(anycast, Some(link_local));
        }
        self.counters.count("binding-update.accepted");
        self.acknowledge(update, status, update.sequence, lifetime);
        let event = match was_at {
            None => Report::info("member-joined").because("a Binding Update adds", "thesis 4.3.1"),
            Some(old) if old == care_of => Report::debug("binding-refreshed"),
            Some(old) => Report::info("member-moved").peer(old),
        };
        let event = event.anycast(anycast).care_of(care_of).sequence(update.sequence);
        self.report(event.lifetime(lifetime.seconds()));
    }

    /// True when the place that `update` is for, by name or by care-of address, belongs to a member with another key.
    pub(super) fn is_anothers(&self, update: &Update) -> bool {
        let (Some(key), anycast) = (update.member_key(), update.answered.home_address) else { return false };
        let held = self.joined.get(&key).or_else(|| self.joined.at(&anycast, &update.care_of));
        held.is_some_and(|member| member.binding().owner != update.owner())
    }

    /// What an acknowledgement to a responder of the advanced model carries besides: its identifier again, and what is
    /// granted.
    pub(super) fn membership_options(&self, update: &Update) -> Vec<MobilityOption> {
        let anycast = update.answered.home_address;
        let (Some(joining), Some(service)) = (&update.joining, self.services.get(&anycast)) else {
            return Vec::new();
        };
        let Some(identifier) = joining.identifier else { return Vec::new() };
        let extensions = joining.granted(service.possible());
        let listed = service.config.agents.iter().take(Grant::MOST_AGENTS);
        let agents = listed.filter(|_| extensions.contains(Extensions::AGENTS)).copied().collect();
        let grant = Grant { extensions, agents, more: Vec::new() };
        vec![
            MobilityOption::BindingIdentifier(identifier),
            MobilityOption::Experimental(Experimental::Grant(grant)),
        ]
    }

    /// What a responder says of itself, within the bounds that the operator set for it.
    fn bounded(&self, update: &Update, offer: Offer) -> Offer {
        match (&self.members, update.owner()) {
            (Some(members), Some(owner)) => members.bounded(owner, offer),
            _ => offer,
        }
    }

    /// De-registration of one member (RFC 3775 10.3.2); true when it was one.
    pub(super) fn member_leaves(&mut self, now: Instant, update: &Update, joining: &Joining) -> bool {
        let key = (update.answered.home_address, joining.responder.clone());
        let Some(member) = self.joined.remove(&key) else { return false };
        let (anycast, care_of) = (key.0, member.care_of());
        if let Some(service) = self.services.get_mut(&anycast) {
            service.departed.retain(|_, until| *until > now);
            service.departed.insert(care_of, now + IN_FLIGHT);
        }
        self.counters.count("binding-update.deregistered");
        self.member_ended(&member, End::Left);
        self.acknowledge(update, Status::ACCEPTED, update.sequence, Lifetime::ZERO);
        true
    }

    /// True while packets may arrive that a member sent from `care_of` before it left in good order.
    pub(super) fn has_just_left(&self, now: Instant, anycast: &Ipv6Addr, care_of: &Ipv6Addr) -> bool {
        let departed = self.services.get(anycast).and_then(|service| service.departed.get(care_of));
        departed.is_some_and(|until| *until > now)
    }

    /// Ends the memberships of these responders.
    pub(super) fn end_members(&mut self, keys: Vec<MemberKey>, end: End) {
        for key in keys {
            if let Some(member) = self.joined.remove(&key) {
                self.member_ended(&member, end);
            }
        }
    }

    /// Ends the memberships whose lifetime is over.
    pub(super) fn expire_members(&mut self, now: Instant) {
        while let Some(member) = self.joined.take_expired(now) {
            self.counters.count("binding.expired");
            self.member_ended(&member, End::Expired);
        }
    }

    /// What follows when a member is in the cache no longer.
    fn member_ended(&mut self, member: &Member, end: End) {
        let anycast = member.binding().home_address;
        self.watch.forget(member.number);
        self.steering.forget(member.number);
        if let Some(service) = self.services.get_mut(&anycast) {
            service.drained.remove(&member.number);
        }
        self.refresh_group(anycast);
        let (event, reason, clause) = match end {
            End::Left => ("member-left", "the responder asked for it", "RFC 3775 10.3.2"),
            End::Expired => ("member-expired", "no refresh arrived within its lifetime", "RFC 3775 9.6"),
            End::PrefixInvalid => ("member-removed", "the home prefix is no longer valid", "RFC 3775 10.3.1"),
            End::Ordered => ("member-removed", "the operator asked for it", ""),
            End::Merged => ("member-removed", "another member is at its care-of address now", "thesis 4.3.1"),
        };
        let report = Report::info(event).anycast(anycast).care_of(member.care_of());
        self.report(report.because(reason, clause));
    }

    /// Drains or no longer drains the member at `care_of`, at this anycast address or at all.
    pub(super) fn drain(&mut self, only: Option<Ipv6Addr>, care_of: Ipv6Addr, drains: bool) {
        let addresses: Vec<_> = self.services.keys().copied().collect();
        for anycast in addresses.into_iter().filter(|anycast| only.is_none_or(|only| only == *anycast)) {
            let Some(number) = self.joined.at(&anycast, &care_of).map(|member| member.number) else {
                continue;
            };
            let Some(service) = self.services.get_mut(&anycast) else { continue };
            let event = if drains {
                service.drained.insert(number);
                "member-drained"
            } else {
                service.drained.remove(&number);
                "member-undrained"
            };
            self.refresh_group(anycast);
            let report = Report::info(event).anycast(anycast).care_of(care_of);
            self.report(report.because("the operator asked for it", ""));
        }
    }

    /// The anycast addresses of the advanced model with their members, and how these are chosen among.
    pub fn groups(&self) -> Vec<GroupStatus> {
        let group = |(anycast, service): (&Ipv6Addr, &Service)| {
            let mut members: Vec<_> =
                self.joined.of(anycast).map(|member| self.member_status(service, member)).collect();
            members.sort_by_key(|member| member.view.member);
            let selection = service.selector.criterion();
            let (margin, chosen) = (service.config.margin, service.selector.chosen());
            let all_full = service.fill.is_everybody_full();
            GroupStatus { anycast: *anycast, selection, margin, chosen, all_full, members }
        };
        self.services.iter().map(group).collect()
    }

    fn member_status(&self, service: &Service, member: &Member) -> MemberStatus {
        let candidate = self.candidate(member);
        let state = match (self.watch.is_alive(member.number), service.is_draining(member)) {
            (false, _) => MemberState::Lost,
            (true, true) => MemberState::Draining,
            (true, false) if service.fill.is_full(member.number) => MemberState::Full,
            (true, false) => MemberState::Alive,
        };
        MemberStatus {
            view: MemberView::of(member),
            care_of: member.care_of(),
            state,
            distance: candidate.distance.map(|of| u64::try_from(of.as_micros()).unwrap_or(u64::MAX)),
            metric: candidate.metric,
            weight: candidate.weight,
            capacity: member.capacity(),
            judgement: service.selector.judge(&candidate),
        }
    }

    /// What is known of a member that may take new sources.
    pub(super) fn candidate(&self, member: &Member) -> Candidate {
        let offer = member.membership.offer.as_ref();
        Candidate {
            number: member.number,
            care_of: member.care_of(),
            bid: member.bid(),
            distance: self.watch.distance(member.number),
            metric: offer.map(|offer| offer.metric).filter(|metric| *metric != Offer::NO_METRIC),
            weight: offer.map_or(1, |offer| offer.weight),
        }
    }

    /// Those that may take new sources of `anycast`: all that are alive and not drained.
    fn willing(&self, anycast: &Ipv6Addr) -> Vec<&Member> {
        let Some(service) = self.services.get(anycast) else { return Vec::new() };
        let alive = self.joined.of(anycast).filter(|member| self.watch.is_alive(member.number));
        alive.filter(|member| !service.is_draining(member)).collect()
    }

    /// Hands the data path the group as it is now, if that has changed. The address is drawn to a home agent while
    /// anybody is bound; a midway agent leaves it to the home agent when it has nobody alive.
    pub(super) fn refresh_group(&mut self, anycast: Ipv6Addr) {
        let willing = self.willing(&anycast);
        let vessels = willing.iter().map(|of| Vessel { number: of.number, capacity: of.capacity() });
        let vessels: Vec<_> = vessels.collect();
        let mut candidates: Vec<_> = willing.into_iter().map(|member| self.candidate(member)).collect();
        let agent = self.config.agent;
        let Some(service) = self.services.get_mut(&anycast) else { return };
        let changes = service.fill.judge(&vessels);
        candidates.retain(|candidate| service.fill.takes_new(candidate.number));
        let mut members: Vec<GroupMember> = Vec::new();
        for member in self.joined.of(&anycast).filter(|member| self.watch.is_alive(member.number)) {
            let keeps = service.is_draining(member) || !service.fill.takes_new(member.number);
            let takes = if keeps { Takes::Kept } else { Takes::New };
            members.push(GroupMember { number: member.number, care_of: member.care_of(), takes });
        }
        members.sort_by_key(|member| member.number);
        let is_bound = self.joined.of(&anycast).next().is_some();
        let wanted = match self.capture {
            Capture::HomeLink => is_bound,
            Capture::Route => !members.is_empty(),
        };
        let weights = match service.fill.is_everybody_full() {
            true => service.selector.weights_of_full(&candidates),
            false => service.selector.weights(&candidates),
        };
        let contenders: Vec<_> = candidates
            .iter()
            .zip(weights)
            .map(|(candidate, weight)| Contender { care_of: candidate.care_of, bid: candidate.bid, weight })
            .collect();
        if contenders != service.contenders {
            service.table = slots(&contenders);
            service.contenders = contenders;
        }
        let place = |candidate: &Candidate| {
            let at = members.binary_search_by_key(&candidate.number, |member| member.number);
            at.ok().and_then(|at| u16::try_from(at).ok()).unwrap_or_default()
        };
        let places: Vec<u16> = candidates.iter().map(place).collect();
        let table = service.table.iter().filter_map(|index| places.get(usize::from(*index)).copied());
        let slots = table.collect();
        let group = Group { anycast, agent, members, slots, affinity: service.config.affinity };
        if is_bound {
            if service.installed.as_ref() != Some(&group) {
                service.installed = Some(group.clone());
                self.actions.push_back(Action::InstallGroup(group));
            }
        } else if service.installed.take().is_some() {
            self.actions.push_back(Action::RemoveGroup(anycast));
        }
        if wanted != std::mem::replace(&mut service.captured, wanted) {
            if wanted {
                self.capture(anycast);
            } else {
                self.release(anycast);
            }
        }
        if !is_bound {
            self.defend_link_local(anycast, None);
        }
        self.report_fill(anycast, changes);
    }
}
