//! What a role is to whoever drives it: packets, observations and the time go in, actions come out, and nothing fails,
//! because a malformed packet is an input like any other. The home agent, mobile node and correspondent node of RFC 3775
//! sections 9 to 11 alike. `haa`, `ar` and `ai` implement it; `daemon`, tests in virtual time and fuzzers drive it.

use super::action::{Action, Observation, RuleKey};
use super::clock::Instant;
use super::counters::Counters;

/// A node's role as a machine without sockets, clocks or threads. What it is told by an operator differs from role to
/// role: each has a `handle_command` of its own.
pub trait Role {
    /// A whole IPv6 packet that no forwarding rule took, or a copy of an ICMPv6 message. What came through a tunnel comes
    /// without its outer header.
    fn handle_packet(&mut self, now: Instant, bytes: &[u8]);

    /// What the data path noticed.
    fn handle_observation(&mut self, now: Instant, observation: Observation);

    /// Lets time pass: retransmissions, refreshes, ends of lifetimes.
    fn handle_timeout(&mut self, now: Instant);

    /// The next thing to be done, in order.
    fn poll_action(&mut self) -> Option<Action>;

    /// When [`Role::handle_timeout`] must be called, and why.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;

    /// When the binding is over that the rule with this key stands for, unless it is renewed; `None` for a rule without
    /// one.
    fn holds_until(&self, key: &RuleKey) -> Option<Instant>;

    /// True when a shutdown has nothing left to wait for.
    fn is_finished(&self) -> bool {
        true
    }

    /// What was counted.
    fn counters(&self) -> &Counters;
}
