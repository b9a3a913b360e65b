//! The initiator's bindings from an authorised Binding Update to their end (RFC 3775 9.5): the rules that carry packets
//! straight to the responder, acknowledgements, deletion, room for another one, requests for a refresh.
//! Called by `ai` for updates, timers and commands.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::Ai;
use super::routability::{Authorised, Denial};
use crate::protocol::acknowledgement::{self, Answered};
use crate::protocol::action::{Action, Rule, RuleKey, RuleKind};
use crate::protocol::auth::seal::SealKey;
use crate::protocol::binding::cache::{Binding, BindingKey};
use crate::protocol::clock::Instant;
use crate::protocol::input::mobility_packet;
use crate::protocol::limits::MAX_RR_BINDING_LIFETIME;
use crate::protocol::report::Report;
use crate::wire::mobility::{BindingRefreshRequest, Lifetime, Message, Status, UpdateFlags};

/// A binding that carried a packet within this time is worth a Binding Refresh Request.
const IN_USE: Duration = Duration::from_secs(60);
/// At most this many Binding Refresh Requests for one lifetime (RFC 3775 9.5.5).
const MAX_REFRESH_REQUESTS: u8 = 2;

/// What is remembered of a binding beside the cache entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) used: Instant,
    pub(super) refresh_at: Option<Instant>,
    pub(super) refresh_requests: u8,
    pub(super) unreachable: u32,
    pub(super) unreachable_at: Option<Instant>,
    pub(super) home_nonce: u16,
}

impl Ai {
    /// Carries an authorised Binding Update out (RFC 3775 9.5.1-9.5.4).
    pub(super) fn handle_update(&mut self, now: Instant, update: &Authorised) {
        let Answered { own, home_address: anycast, .. } = update.answered;
        let key = (anycast, own);
        let sealed = Some((update.care_of, &update.key));
        if let Some(stored) = self.cache.stale(&key, update.sequence) {
            let denial = Denial {
                status: Status::SEQUENCE_OUT_OF_WINDOW,
                reason: "the sequence number is not newer than the stored one",
                clause: "RFC 3775 9.5.1",
            };
            return self.deny(update.answered, stored, update.lifetime, sealed, &denial);
        }
        if update.lifetime == Lifetime::ZERO || update.care_of == anycast {
            return self.delete(now, update);
        }
        if self.cache.get(&key).is_none() && self.cache.is_full() && !self.make_room(now) {
            let denial = Denial {
                status: Status::INSUFFICIENT_RESOURCES,
                reason: "the binding cache is full of bindings in use",
                clause: "RFC 3775 9.5.2",
            };
            return self.deny(update.answered, update.sequence, update.lifetime, sealed, &denial);
        }
        let longest = Lifetime::from_seconds(u32::try_from(MAX_RR_BINDING_LIFETIME.as_secs()).unwrap_or(420));
        let lifetime = update.lifetime.min(longest);
        let care_of = update.care_of;
        let expires = now + lifetime.duration();
        let previous = self.cache.insert(Binding {
            home_address: anycast,
            own_address: own,
            care_of,
            sequence: update.sequence,
            flags: update.flags,
            lifetime,
            expires,
            owner: None,
        });
        let refresh_at = Some(now + lifetime.duration().mul_f32(0.875));
        self.refreshes.extend(refresh_at.map(|at| (at, key)));
        let usage = Usage {
            used: now,
            refresh_at,
            refresh_requests: 0,
            unreachable: 0,
            unreachable_at: None,
            home_nonce: update.home_nonce,
        };
        let replaced = self.usage.insert(key, usage).and_then(|old| old.refresh_at);
        if let Some(at) = replaced.filter(|at| Some(*at) != refresh_at) {
            self.refreshes.remove(&(at, key));
        }
        if previous.as_ref().map(|old| old.care_of) != Some(care_of) {
            self.actions.push_back(Action::InstallRule(Rule::HomeAddressIn { anycast, own, care_of }));
            self.actions.push_back(Action::InstallRule(Rule::RoutingHeaderOut { anycast, own, care_of }));
        }
        self.counters.count("binding-update.accepted");
        self.acknowledge(update, Status::ACCEPTED, lifetime);
        let report = match previous {
            None => Report::info("binding-created"),
            Some(old) if old.care_of == care_of => Report::debug("binding-refreshed"),
            Some(old) => Report::info("binding-moved").peer(old.care_of),
        };
        self.report(
            report.anycast(anycast).care_of(care_of).sequence(update.sequence).lifetime(lifetime.seconds()),
        );
    }

    /// Drops the binding that has been idle longest, if it has been idle at all (RFC 3775 9.6): a full cache is no
    /// reason to cut off a responder that is being talked to. The dropped one's packets take the tunnel again.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        if now < self.in_use_until {
            return false;
        }
        let idlest = self.usage.iter().min_by_key(|(_, usage)| usage.used);
        self.in_use_until = idlest.map_or(now, |(_, usage)| usage.used + IN_USE);
        let idle = idlest.filter(|(_, usage)| now.saturating_since(usage.used) > IN_USE);
        let Some(binding) = idle.map(|(key, _)| *key).and_then(|key| self.cache.remove(&key)) else {
            return false;
        };
        self.withdraw(now, &binding);
        self.counters.count("binding.replaced");
        let report = Report::info("binding-removed").anycast(binding.home_address).care_of(binding.care_of);
        self.report(report.because("idle, and the cache is full", "RFC 3775 9.6"));
        true
    }

    /// Deletion; its home nonce authorises nothing more for this home address (RFC 3775 9.5.2).
    pub(super) fn delete(&mut self, now: Instant, update: &Authorised) {
        let Answered { own, home_address: anycast, .. } = update.answered;
        let previous = self.cache.remove(&(anycast, own));
        self.spend(now, anycast, update.home_nonce);
        self.counters.count("binding-update.deregistered");
        if let Some(binding) = previous {
            self.withdraw(now, &binding);
            let report = Report::info("binding-removed").anycast(anycast).care_of(binding.care_of);
            self.report(
                report.sequence(update.sequence).because("the responder asked for it", "RFC 3775 9.5.3"),
            );
        }
        self.acknowledge(update, Status::ACCEPTED, Lifetime::ZERO);
    }

    pub(super) fn withdraw(&mut self, now: Instant, binding: &Binding) {
        let (anycast, own) = binding.key();
        if let Some(usage) = self.usage.remove(&(anycast, own)) {
            if let Some(at) = usage.refresh_at {
                self.refreshes.remove(&(at, (anycast, own)));
            }
            if self.nonces.is_valid(now, usage.home_nonce) {
                self.spend(now, anycast, usage.home_nonce);
            }
        }
        for kind in [RuleKind::RoutingHeaderOut, RuleKind::HomeAddressIn] {
            self.actions.push_back(Action::RemoveRule(RuleKey::between(kind, anycast, own)));
        }
    }

    /// Success is acknowledged only when asked for (RFC 3775 9.5.4).
    pub(super) fn acknowledge(&mut self, update: &Authorised, status: Status, lifetime: Lifetime) {
        if !update.flags.contains(UpdateFlags::ACKNOWLEDGE) {
            return;
        }
        let key = SealKey {
            binding_management_key: &update.key,
            care_of: update.care_of,
            correspondent: update.answered.own,
        };
        self.counters.count("binding-acknowledgement.sent");
        let packet = acknowledgement::packet(update.answered, status, update.sequence, lifetime, Some(key));
        self.actions.push_back(Action::Send(packet));
    }

    pub(super) fn deny(
        &mut self,
        answered: Answered,
        sequence: u16,
        lifetime: Lifetime,
        key: Option<(Ipv6Addr, &[u8; 20])>,
        &Denial { status, reason, clause }: &Denial,
    ) {
        self.counters.count(match status {
            Status::INSUFFICIENT_RESOURCES => "binding-update.refused.130",
            Status::HOME_REGISTRATION_NOT_SUPPORTED => "binding-update.refused.131",
            Status::SEQUENCE_OUT_OF_WINDOW => "binding-update.refused.135",
            Status::EXPIRED_HOME_NONCE => "binding-update.refused.136",
            Status::EXPIRED_CARE_OF_NONCE => "binding-update.refused.137",
            Status::EXPIRED_NONCES => "binding-update.refused.138",
            Status::REGISTRATION_TYPE_CHANGE => "binding-update.refused.139",
            _ => "binding-update.refused",
        });
        let key = key.map(|(care_of, key)| SealKey {
            binding_management_key: key,
            care_of,
            correspondent: answered.own,
        });
        self.counters.count("binding-acknowledgement.sent");
        self.actions
            .push_back(Action::Send(acknowledgement::packet(answered, status, sequence, lifetime, key)));
        let report = Report::info("binding-update-refused")
            .anycast(answered.home_address)
            .peer(answered.source)
            .sequence(sequence)
            .status(status.0);
        self.report(report.because(reason, clause));
    }

    /// Binding Refresh Request to the home address (RFC 3775 9.5.5), if the binding is in use: first when an eighth
    /// of the lifetime is left, then when a sixteenth is.
    pub(super) fn request_refresh(&mut self, now: Instant, key: BindingKey) {
        let (Some(binding), Some(usage)) = (self.cache.get(&key), self.usage.get_mut(&key)) else { return };
        usage.refresh_requests += 1;
        let left = binding.expires.saturating_since(now);
        let again = usage.refresh_requests < MAX_REFRESH_REQUESTS;
        usage.refresh_at = again.then_some(now + left / 2);
        self.refreshes.extend(usage.refresh_at.map(|at| (at, key)));
        if now.saturating_since(usage.used) > IN_USE {
            return;
        }
        let message =
            Message::BindingRefreshRequest(BindingRefreshRequest { reserved: 0, options: Vec::new() });
        let (anycast, own) = key;
        self.counters.count("binding-refresh-request.sent");
        self.actions.push_back(Action::Send(mobility_packet(&own, &anycast, message)));
    }
}
