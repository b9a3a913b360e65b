//! Members with keys at the agent (RFC 4285 sections 5 and 6): the judgement over a Binding Update before anything else
//! looks at it, the answer to one that is refused, and what an operator's change of a member ends.
//! Called by `haa` for every Binding Update and by the daemon.

use super::Haa;
use super::membership::End;
use crate::protocol::acknowledgement::{self, Answered, Seal};
use crate::protocol::auth::members::{
    MemberChange, MemberError, MemberId, MemberView, Members, Objection, Proof, Received,
};
use crate::protocol::binding::members::Member;
use crate::protocol::clock::Instant;
use crate::protocol::input::{Refusal, is_routable_unicast};
use crate::protocol::report::Report;
use crate::wire::chain::Packet;
use crate::wire::mobility::{
    BindingIdentifier, BindingUpdate, Lifetime, MobilityHeader, MobilityOption, Status,
};

impl Haa {
    /// The same agent, whose Binding Updates must be proven by these members from now on.
    #[must_use]
    pub fn with_members(mut self, members: Members) -> Self {
        self.members = Some(members);
        self
    }

    /// Who sent a Binding Update; `None` where nobody has keys.
    pub(super) fn authenticate(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        header: &MobilityHeader,
        update: &BindingUpdate,
    ) -> Result<Option<Proof>, Refusal> {
        let options = header.message.options();
        let care_of = self.care_of_registered(packet, options);
        let Some(members) = &mut self.members else { return Ok(None) };
        let home_address = packet.final_source();
        let received = Received { options, bytes: packet.payload(), home_address, care_of };
        let objection = match members.judge(now, &received) {
            Ok(proof) => return Ok(Some(proof)),
            Err(objection) => objection,
        };
        // A proof is over the care-of address that is registered, so the packet's source may still be anything.
        let has_addresses =
            is_routable_unicast(&packet.header.source) && is_routable_unicast(&packet.final_source());
        let answer = objection.answer.filter(|_| has_addresses).and_then(|(status, proof)| {
            let answered = Answered { proof: Some(proof), ..Answered::of(packet) };
            let repeated = options.iter().find_map(|option| match option {
                MobilityOption::BindingIdentifier(of) => {
                    Some(MobilityOption::BindingIdentifier(BindingIdentifier::of(of.bid)))
                }
                _ => None,
            });
            let repeated = repeated.into_iter().collect();
            self.acknowledgement(answered, status, update.sequence, Lifetime::ZERO, repeated)
        });
        let Objection { counter, reason, clause, .. } = objection;
        Err(Refusal { answer, counter, reason, clause })
    }

    /// The whole acknowledgement; `None` when whoever it is for is no member any more.
    pub(super) fn acknowledgement(
        &self,
        answered: Answered,
        status: Status,
        sequence: u16,
        lifetime: Lifetime,
        options: Vec<MobilityOption>,
    ) -> Option<Vec<u8>> {
        let seal = match answered.proof {
            None => Seal::Nothing,
            Some(proof) => {
                let credentials = self.members.as_ref()?.credentials(proof.member)?;
                Seal::Member { credentials, proof }
            }
        };
        Some(acknowledgement::packet_with(answered, status, sequence, lifetime, options, seal))
    }

    /// Carries an operator's change of a member out; the bindings of one that is switched off or removed end.
    ///
    /// # Errors
    /// When the agent has no members, or the identifier is known already, or is not known.
    pub fn change_member(&mut self, now: Instant, change: MemberChange) -> Result<(), MemberError> {
        let members = self.members.as_mut().ok_or(MemberError::NoKeys)?;
        if let Some(member) = members.change(now, change)? {
            self.end_bindings_of(member);
        }
        Ok(())
    }

    /// The members, ordered by identifier; none where nobody has keys.
    pub fn members(&self) -> Vec<MemberView> {
        self.members.as_ref().map(Members::views).unwrap_or_default()
    }

    fn end_bindings_of(&mut self, member: MemberId) {
        self.forget_waiting_of(member);
        let owned = self.cache.iter().filter(|binding| binding.owner == Some(member));
        let owned: Vec<_> = owned.map(|binding| binding.key()).collect();
        for key in owned {
            let Some(binding) = self.cache.remove(&key) else { continue };
            self.withdraw(&binding);
            let report =
                Report::info("binding-removed").anycast(binding.home_address).care_of(binding.care_of);
            self.report(report.because("the operator removed the member or switched it off", ""));
        }
        let joined = self.joined.iter().filter(|joined| joined.binding().owner == Some(member));
        let joined = joined.map(Member::key).collect();
        self.end_members(joined, End::Ordered);
    }
}
