//! One role behind the verbs that all roles share, so that the event loop need not know which it drives.
//! Thesis table 2: agent, responder, initiator. Made and called by the event loop.

use std::net::Ipv6Addr;

use serde_json::{Value, json};

use crate::protocol::action::{Action, Observation, RuleKey};
use crate::protocol::ai::{Ai, AiCommand};
use crate::protocol::ar::{Ar, ArCommand};
use crate::protocol::auth::members::MemberChange;
use crate::protocol::clock::Instant;
use crate::protocol::counters::Counters;
use crate::protocol::haa::{BindingView, GroupStatus, Haa, HaaCommand};
use crate::protocol::role::Role;

/// A node of one role.
pub enum Node {
    Haa(Box<Haa>),
    Ar(Box<Ar>),
    Ai(Box<Ai>),
}

/// What an operator may tell a running node; not every role knows every command.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeCommand {
    Register(Option<Ipv6Addr>),
    Deregister(Option<Ipv6Addr>),
    FlushPeers(Option<Ipv6Addr>),
    Move(Ipv6Addr),
    ReturnHome {
        anycast: Ipv6Addr,
        link_address: [u8; 6],
    },
    /// What only an agent knows, about the members of its groups.
    Agent(HaaCommand),
    /// What only a responder knows, about its services.
    Responder(ArCommand),
    Shutdown,
}

impl Node {
    fn role(&self) -> &dyn Role {
        match self {
            Node::Haa(node) => node.as_ref(),
            Node::Ar(node) => node.as_ref(),
            Node::Ai(node) => node.as_ref(),
        }
    }

    fn role_mut(&mut self) -> &mut dyn Role {
        match self {
            Node::Haa(node) => node.as_mut(),
            Node::Ar(node) => node.as_mut(),
            Node::Ai(node) => node.as_mut(),
        }
    }

    /// A packet that no rule took.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.role_mut().handle_packet(now, packet)
    }

    /// What the data path noticed.
    pub fn handle_observation(&mut self, now: Instant, observation: Observation) {
        self.role_mut().handle_observation(now, observation)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.role_mut().handle_timeout(now)
    }

    /// Carries a command out.
    ///
    /// # Errors
    /// A sentence for the operator when this role does not know the command or the address.
    pub fn handle_command(&mut self, now: Instant, command: NodeCommand) -> Result<(), String> {
        match (self, command) {
            (Node::Haa(node), NodeCommand::Deregister(anycast)) => {
                let known = anycast.is_none_or(|a| node.bindings(now).iter().any(|b| b.anycast == a));
                known.then_some(()).ok_or_else(|| "there is no binding of this address".to_owned())?;
                node.handle_command(now, &HaaCommand::Deregister(anycast));
            }
            (Node::Haa(node), NodeCommand::Agent(command)) => {
                if let HaaCommand::Drain { anycast, care_of } | HaaCommand::Undrain { anycast, care_of } =
                    command
                {
                    let is_there = |group: &GroupStatus| {
                        anycast.is_none_or(|anycast| anycast == group.anycast)
                            && group.members.iter().any(|member| member.care_of == care_of)
                    };
                    let known = node.groups().iter().any(is_there);
                    known
                        .then_some(())
                        .ok_or_else(|| format!("no member is at {care_of}; see `show members`"))?;
                }
                node.handle_command(now, &command);
            }
            (Node::Ar(_) | Node::Ai(_), NodeCommand::Agent(_)) => {
                return Err("only an agent (role haa or maa) has members".to_owned());
            }
            (Node::Haa(node), NodeCommand::Shutdown) => node.handle_command(now, &HaaCommand::Shutdown),
            (Node::Ai(node), NodeCommand::Deregister(anycast)) => {
                let known = anycast.is_none_or(|a| node.bindings(now).iter().any(|b| b.anycast == a));
                known.then_some(()).ok_or_else(|| "there is no binding of this address".to_owned())?;
                node.handle_command(now, &AiCommand::Deregister(anycast));
            }
            (Node::Ai(node), NodeCommand::Shutdown) => node.handle_command(now, &AiCommand::Shutdown),
            (Node::Ar(node), NodeCommand::Register(anycast)) => {
                Self::served(node, now, anycast)?;
                node.handle_command(now, &ArCommand::Register(anycast));
            }
            (Node::Ar(node), NodeCommand::Deregister(anycast)) => {
                Self::served(node, now, anycast)?;
                node.handle_command(now, &ArCommand::Deregister(anycast));
            }
            (Node::Ar(node), NodeCommand::FlushPeers(peer)) => {
                node.handle_command(now, &ArCommand::FlushPeers(peer));
            }
            (Node::Ar(node), NodeCommand::Move(care_of)) => {
                node.handle_command(now, &ArCommand::Move(care_of));
            }
            (Node::Ar(node), NodeCommand::ReturnHome { anycast, link_address }) => {
                Self::served(node, now, Some(anycast))?;
                node.handle_command(now, &ArCommand::ReturnHome { anycast, link_address });
            }
            (Node::Ar(node), NodeCommand::Responder(command)) => {
                Self::served(node, now, command.service())?;
                node.handle_command(now, &command);
            }
            (Node::Ar(node), NodeCommand::Shutdown) => node.handle_command(now, &ArCommand::Shutdown),
            (
                Node::Haa(_) | Node::Ai(_),
                NodeCommand::Register(_)
                | NodeCommand::FlushPeers(_)
                | NodeCommand::Move(_)
                | NodeCommand::Responder(_)
                | NodeCommand::ReturnHome { .. },
            ) => {
                return Err("only a responder (role ar) knows this command".to_owned());
            }
        }
        Ok(())
    }

    /// Carries an operator's change of a member out.
    ///
    /// # Errors
    /// A sentence for the operator when this role has no members, or the identifier is known already, or is not known.
    pub fn change_member(&mut self, now: Instant, change: MemberChange) -> Result<(), String> {
        match self {
            Node::Haa(node) => node.change_member(now, change).map_err(|error| error.to_string()),
            Node::Ar(_) | Node::Ai(_) => Err("only an agent (role haa or maa) has members".to_owned()),
        }
    }

    fn served(node: &Ar, now: Instant, anycast: Option<Ipv6Addr>) -> Result<(), String> {
        let served = anycast.is_none_or(|a| node.registrations(now).iter().any(|r| r.anycast == a));
        served.then_some(()).ok_or_else(|| "this responder does not serve the address".to_owned())
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.role_mut().poll_action()
    }

    /// When `handle_timeout` must be called, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.role().poll_timeout()
    }

    /// When the binding is over that the rule with this key stands for, unless it is renewed.
    pub fn holds_until(&self, key: &RuleKey) -> Option<Instant> {
        self.role().holds_until(key)
    }

    /// True when a shutdown has nothing left to wait for.
    pub fn is_finished(&self) -> bool {
        self.role().is_finished()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        self.role().counters()
    }

    /// The binding cache of an agent or initiator.
    ///
    /// # Errors
    /// A sentence for the operator when this role keeps none.
    pub fn bindings(&self, now: Instant) -> Result<Value, String> {
        match self {
            Node::Haa(node) => Ok(json!(node.bindings(now))),
            Node::Ai(node) => Ok(json!(node.bindings(now))),
            Node::Ar(_) => Err("a responder keeps no binding cache; see `show updates`".to_owned()),
        }
    }

    /// The members of an agent: those with keys, and those of its groups.
    ///
    /// # Errors
    /// A sentence for the operator when this role has none.
    pub fn members(&self) -> Result<Value, String> {
        match self {
            Node::Haa(node) => Ok(json!({ "keys": node.members(), "groups": node.groups() })),
            Node::Ar(_) | Node::Ai(_) => Err("only an agent (role haa or maa) has members".to_owned()),
        }
    }

    /// The binding update list of a responder.
    ///
    /// # Errors
    /// A sentence for the operator when this role keeps none.
    pub fn updates(&self, now: Instant) -> Result<Value, String> {
        match self {
            Node::Ar(node) => {
                let mut updates =
                    json!({ "agents": node.registrations(now), "initiators": node.correspondents(now) });
                let services = node.services();
                if !services.is_empty() {
                    updates["services"] = json!(services);
                }
                Ok(updates)
            }
            Node::Haa(_) | Node::Ai(_) => {
                Err("only a responder keeps a binding update list; see `show bindings`".to_owned())
            }
        }
    }

    /// The anycast addresses that a responder is draining.
    pub fn draining(&self) -> Vec<Ipv6Addr> {
        match self {
            Node::Ar(node) => node.draining(),
            Node::Haa(_) | Node::Ai(_) => Vec::new(),
        }
    }

    /// The lifetimes the node watches over, soonest first: of bindings and of other home agents, or of registrations
    /// and what is known of initiators. `in` is in seconds.
    pub fn lifetimes(&self, now: Instant) -> Vec<Value> {
        let of_binding = |binding: &BindingView| json!({ "timer": "binding lifetime", "anycast": binding.anycast, "peer": binding.care_of, "in": binding.remaining });
        let mut lifetimes: Vec<Value> = match self {
            Node::Haa(node) => {
                let agents = node.home_agents(now).into_iter().filter_map(|agent| {
                    let (router, remaining) = (agent.router?, agent.remaining?);
                    Some(json!({ "timer": "home agent lifetime", "peer": router, "in": remaining }))
                });
                node.bindings(now).iter().map(of_binding).chain(agents).collect()
            }
            Node::Ai(node) => node.bindings(now).iter().map(of_binding).collect(),
            Node::Ar(node) => {
                let mut timers = Vec::new();
                for agent in node.registrations(now) {
                    if agent.lifetime > 0 {
                        timers.push(json!({ "timer": "registration lifetime", "anycast": agent.anycast, "peer": agent.agent, "in": agent.remaining }));
                    }
                    if let Some(next) = agent.next {
                        timers.push(json!({ "timer": "next Binding Update", "anycast": agent.anycast, "peer": agent.agent, "in": next }));
                    }
                }
                for initiator in node.correspondents(now) {
                    timers.push(json!({ "timer": format!("initiator {}", initiator.state), "anycast": initiator.anycast, "peer": initiator.initiator, "in": initiator.remaining }));
                }
                timers
            }
        };
        lifetimes.sort_by_key(|timer| timer.get("in").and_then(Value::as_u64));
        lifetimes
    }
}
