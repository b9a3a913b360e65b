//! Return routability at the initiator (RFC 3775 5.2, 9.4): Home Test and Care-of Test are answered without keeping state,
//! and a Binding Update is authorised by the tokens that both gave. Home nonces that served a binding which is gone are
//! spent (5.2.8). Called by `ai` for every Mobility Header.

use std::net::Ipv6Addr;

use super::Ai;
use crate::protocol::acknowledgement::Answered;
use crate::protocol::action::Action;
use crate::protocol::auth::seal::{self, SealKey};
use crate::protocol::auth::tokens::{TokenKind, binding_management_key};
use crate::protocol::binding::sequence::is_newer;
use crate::protocol::clock::Instant;
use crate::protocol::input::{Refusal, is_routable_unicast, mobility_packet};
use crate::protocol::limits::MAX_NONCE_LIFETIME;
use crate::wire::chain::Packet;
use crate::wire::mobility::{
    BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, Status, Test, UpdateFlags,
};

/// Home addresses remembered at most whose nonces are spent; each until the nonces are too old anyway. Beyond it every
/// token issued so far is revoked, which is what makes forgetting safe (RFC 3775 5.2.8).
const MAX_SPENT: usize = 16_384;

/// A Binding Update that return routability has authorised.
pub(super) struct Authorised {
    pub(super) answered: Answered,
    pub(super) care_of: Ipv6Addr,
    pub(super) sequence: u16,
    pub(super) flags: UpdateFlags,
    pub(super) lifetime: Lifetime,
    pub(super) home_nonce: u16,
    pub(super) key: [u8; 20],
}

/// A Binding Update that is answered with an error.
pub(super) struct Denial {
    pub(super) status: Status,
    pub(super) reason: &'static str,
    pub(super) clause: &'static str,
}

/// Why a Binding Update was not authorised.
pub(super) enum Unauthorised {
    /// Silence.
    Dropped(Refusal),
    /// An acknowledgement without authenticator (statuses 131, 136 to 139).
    Denied(Denial),
}

impl Ai {
    /// Home Test and Care-of Test (RFC 3775 9.4.1-9.4.4): straight back to where the request came from, whatever
    /// the cache says, and nothing is remembered.
    pub(super) fn answer_test(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        cookie: [u8; 8],
        kind: TokenKind,
    ) {
        let (own, peer) = (packet.header.destination, packet.header.source);
        if packet.home_address.is_some() || packet.routing2.is_some() {
            let reason = "a test message with a home address option or routing header";
            return self.refuse(packet, Refusal::silent("test.dropped", reason, "RFC 3775 9.4.1"));
        }
        if !is_routable_unicast(&peer) {
            let reason = "a test message from no routable unicast address";
            return self.refuse(packet, Refusal::silent("test.dropped", reason, "RFC 3775 9.4.1"));
        }
        // Care-of nonces are never spent.
        let spent = (kind == TokenKind::Home).then(|| self.spent_up_to(&peer)).flatten();
        let Some((nonce_index, token)) = self.nonces.issue(now, self.random.as_mut(), &peer, kind, spent)
        else {
            let reason = "the nonce in use is spent and too new to be replaced";
            return self.refuse(packet, Refusal::silent("test.nonce-spent", reason, "RFC 3775 5.2.8"));
        };
        let test = Test { nonce_index, cookie, token, options: Vec::new() };
        let message = match kind {
            TokenKind::Home => Message::HomeTest(test),
            TokenKind::CareOf => Message::CareOfTest(test),
        };
        self.counters.count("test.answered");
        self.actions.push_back(Action::Send(mobility_packet(&own, &peer, message)));
    }

    /// The checks of RFC 3775 9.5.1 up to the authenticator, in the order both reference stacks have them.
    pub(super) fn authorise(
        &self,
        now: Instant,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        update: &BindingUpdate,
    ) -> Result<Authorised, Unauthorised> {
        let dropped = |reason, clause| {
            Err(Unauthorised::Dropped(Refusal::silent("binding-update.dropped", reason, clause)))
        };
        let source = packet.header.source;
        let own = packet.header.destination;
        let home_address = packet.final_source();
        let answered = Answered::of(packet);
        let mut care_of = source;
        let mut alternates = 0;
        let mut indices = None;
        for option in header.message.options() {
            match option {
                MobilityOption::AlternateCareOfAddress(address) => {
                    care_of = *address;
                    alternates += 1;
                }
                MobilityOption::NonceIndices { home, care_of } => indices = Some((*home, *care_of)),
                _ => {}
            }
        }
        if alternates > 1 {
            return dropped("two Alternate Care-of Address options", "RFC 3775 6.2.5");
        }
        if ![home_address, source, care_of].iter().all(is_routable_unicast) {
            return dropped("an address of the binding is not a routable unicast address", "RFC 3775 9.5.1");
        }
        let home_registration = update.flags.contains(UpdateFlags::HOME_REGISTRATION);
        let Some((home_index, care_of_index)) = indices else {
            if !home_registration {
                return dropped("no Nonce Indices", "RFC 3775 9.5.1");
            }
            let bound = self.cache.get(&(home_address, own)).is_some();
            return Err(if bound {
                let reason = "a binding of return routability cannot become a home registration";
                Unauthorised::Denied(Denial {
                    status: Status::REGISTRATION_TYPE_CHANGE,
                    reason,
                    clause: "RFC 3775 9.5.1",
                })
            } else {
                let reason = "this node is not a home agent";
                Unauthorised::Denied(Denial {
                    status: Status::HOME_REGISTRATION_NOT_SUPPORTED,
                    reason,
                    clause: "RFC 3775 10.3.1",
                })
            });
        };
        if home_registration {
            return dropped("a home registration with Nonce Indices", "RFC 3775 9.5.1");
        }
        if !matches!(header.message.options().last(), Some(MobilityOption::BindingAuthorizationData(_))) {
            return dropped("no Binding Authorization Data as the last option", "RFC 3775 9.5.1");
        }
        let deletes = update.lifetime == Lifetime::ZERO || care_of == home_address;
        let home_token = self
            .nonces
            .recall(now, home_index, &home_address, TokenKind::Home)
            .filter(|_| self.spent_up_to(&home_address).is_none_or(|spent| is_newer(home_index, spent)));
        let care_of_token = self.nonces.recall(now, care_of_index, &care_of, TokenKind::CareOf);
        let expired =
            |status, reason| Err(Unauthorised::Denied(Denial { status, reason, clause: "RFC 3775 9.5.1" }));
        let key = match (home_token, care_of_token, deletes) {
            (Some(home), _, true) => binding_management_key(&home, None),
            (Some(home), Some(care_of), false) => binding_management_key(&home, Some(&care_of)),
            (None, Some(_), _) | (None, None, true) => {
                let spent = self.nonces.is_valid(now, home_index);
                let status = if spent { Status::EXPIRED_NONCES } else { Status::EXPIRED_HOME_NONCE };
                return expired(status, "the home nonce index is unknown, too old or spent by a deletion");
            }
            (Some(_), None, false) => {
                return expired(
                    Status::EXPIRED_CARE_OF_NONCE,
                    "the care-of nonce index is unknown or too old",
                );
            }
            (None, None, false) => {
                return expired(Status::EXPIRED_NONCES, "both nonce indices are unknown or too old");
            }
        };
        let seal_key = SealKey { binding_management_key: &key, care_of, correspondent: own };
        if !seal::is_sealed_by(header, packet.payload(), seal_key) {
            return dropped("the authenticator is wrong", "RFC 3775 9.5.1");
        }
        if care_of != home_address && self.cache.binds(&care_of) {
            return dropped("the care-of address is itself a bound home address", "RFC 3775 6.1.7");
        }
        Ok(Authorised {
            answered,
            care_of,
            sequence: update.sequence,
            flags: update.flags,
            lifetime: update.lifetime,
            home_nonce: home_index,
            key,
        })
    }

    /// The newest home nonce that authorises nothing more for `home_address`.
    pub(super) fn spent_up_to(&self, home_address: &Ipv6Addr) -> Option<u16> {
        self.spent.get(home_address).map(|(spent, _)| *spent)
    }

    /// Remembers that home nonces up to `index` authorise nothing more for `home_address`.
    pub(super) fn spend(&mut self, now: Instant, home_address: Ipv6Addr, index: u16) {
        self.forget_spent(now);
        if self.spent.get(&home_address).is_some_and(|(spent, _)| !is_newer(index, *spent)) {
            return;
        }
        if self.spent_at.len() >= MAX_SPENT {
            self.nonces.revoke();
            self.spent.clear();
            self.spent_at.clear();
            return;
        }
        self.spent.insert(home_address, (index, now));
        self.spent_at.push_back((now, home_address));
    }

    pub(super) fn forget_spent(&mut self, now: Instant) {
        while let Some((at, home_address)) = self.spent_at.front().copied() {
            if now.saturating_since(at) <= MAX_NONCE_LIFETIME {
                return;
            }
            self.spent_at.pop_front();
            // A later entry of the same address keeps the newer index in force.
            if self.spent.get(&home_address).is_some_and(|(_, latest)| *latest == at) {
                self.spent.remove(&home_address);
            }
        }
    }
}
