//! The checks between words and settings (design section 5): what is missing, wrong or meaningless to the role, and
//! the defaults of what was left unsaid. Nothing is half applied: the first mistake ends it.
//! Called by `cli` on the words of file and command line.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::Path;

use super::settings::{
    AiSettings, ArSettings, CaptureSettings, HaaSettings, HomeLinkSettings, RoleSettings, Settings,
};
use super::words::{AnycastEntry, Given, Role};
use super::{ConfigError, RUN_DIRECTORY};
use crate::platform::ROUTE_PROTOCOL;
use crate::protocol::ar::DEFAULT_REFRESH_PERCENT;
use crate::protocol::input::is_routable_unicast;

/// What a responder asks for unless told otherwise, in seconds: the longest that return routability bindings live.
const DEFAULT_LIFETIME: u32 = 420;
/// The longest lifetime a Binding Update can ask for: 65535 units of 4 seconds (RFC 3775 6.1.7).
const LONGEST_LIFETIME: u32 = 65_535 * 4;
const DEFAULT_MAX_BINDINGS: usize = 100_000;

/// MinMobPfxAdvInterval and MaxMobPfxAdvInterval of RFC 3775 section 13, in seconds.
const PREFIX_INTERVALS: (u32, u32) = (600, 86_400);

impl Given {
    /// The settings these words amount to.
    ///
    /// # Errors
    /// For the first word that is missing, wrong or meaningless to the role.
    pub fn settle(self) -> Result<Settings, ConfigError> {
        let role = self
            .role
            .ok_or(ConfigError::Missing { field: "role", remedy: "say --role haa, maa, ar or ai" })?;
        let interface =
            self.interface.clone().filter(|name| !name.is_empty()).ok_or(ConfigError::Missing {
                field: "interface",
                remedy: "say --interface with the name of the link",
            })?;
        self.refuse_meaningless(role)?;
        for entry in &self.anycast {
            wrong_unless(
                is_routable_unicast(&entry.address),
                "anycast",
                entry.address,
                "give a global unicast address of the home prefix",
            )?;
            wrong_unless(
                self.anycast.iter().filter(|other| other.address == entry.address).count() == 1,
                "anycast",
                entry.address,
                "give every anycast address once",
            )?;
            let own = [self.care_of, self.agent, entry.agent];
            wrong_unless(
                !own.contains(&Some(entry.address)),
                "anycast",
                entry.address,
                "the anycast address must be another one than the agent and care-of addresses",
            )?;
        }
        let control = self
            .control
            .clone()
            .unwrap_or_else(|| Path::new(RUN_DIRECTORY).join(format!("{role}-{interface}.sock")));
        wrong_unless(
            control.file_name().is_some() && control.extension().is_none_or(|extension| extension != "undo"),
            "control",
            control.display(),
            "give a file name that does not end in .undo, which is the undo journal's",
        )?;
        let forwarding = self.forwarding.unwrap_or_default();
        let role = match role {
            Role::Haa => {
                let home_link = self.settle_home_link()?;
                RoleSettings::Haa(self.settle_agent(CaptureSettings::HomeLink(home_link))?)
            }
            Role::Maa => {
                let capture = self.settle_route()?;
                RoleSettings::Haa(self.settle_agent(capture)?)
            }
            Role::Ar => RoleSettings::Ar(self.settle_ar()?),
            Role::Ai => RoleSettings::Ai(AiSettings {
                max_bindings: self.max_bindings.unwrap_or(DEFAULT_MAX_BINDINGS),
                route_optimisation: self.route_optimisation.unwrap_or(true),
            }),
        };
        Ok(Settings { interface, control, forwarding, role })
    }

    fn settle_agent(self, capture: CaptureSettings) -> Result<HaaSettings, ConfigError> {
        let members = self.settle_members()?;
        let mut groups = BTreeMap::new();
        for entry in &self.anycast {
            if let Some(group) = entry.settle_group()? {
                groups.insert(entry.address, group);
            }
        }
        if let Some(agent) = self.agent {
            wrong_unless(is_routable_unicast(&agent), "agent", agent, "give the agent's own global address")?;
        }
        let max_lifetime = self.max_lifetime.unwrap_or(LONGEST_LIFETIME);
        check_lifetime("max-lifetime", max_lifetime)?;
        Ok(HaaSettings {
            agent: self.agent,
            anycast: self.anycast.iter().map(|entry| entry.address).collect(),
            groups,
            members,
            home_prefixes: self.home_prefix,
            max_lifetime,
            max_bindings: self.max_bindings.unwrap_or(DEFAULT_MAX_BINDINGS),
            capture,
        })
    }

    /// A midway agent is on no home link that could tell it the prefixes.
    fn settle_route(&self) -> Result<CaptureSettings, ConfigError> {
        if self.anycast.is_empty() && self.home_prefix.is_empty() {
            return Err(ConfigError::Missing {
                field: "anycast",
                remedy: "say --anycast with each address served, or --home-prefix to serve every address in it",
            });
        }
        let protocol = self.route_protocol.unwrap_or(ROUTE_PROTOCOL);
        // The lower numbers are the kernel's; routing daemons do not pass such routes on.
        wrong_unless(
            protocol > 4,
            "route-protocol",
            protocol,
            "give a number from 5 to 255 that nothing else uses",
        )?;
        Ok(CaptureSettings::Route { protocol })
    }

    fn settle_home_link(&self) -> Result<HomeLinkSettings, ConfigError> {
        if let Some(advice) = self.refresh_advice {
            check_lifetime("refresh-advice", advice)?;
        }
        let (least, most) = PREFIX_INTERVALS;
        let most = self.max_prefix_interval.unwrap_or(most.max(self.min_prefix_interval.unwrap_or(least)));
        let least = self.min_prefix_interval.unwrap_or(least.min(most));
        wrong_unless(
            (1..=most).contains(&least),
            "min-prefix-interval",
            least,
            "give seconds from 1 to max-prefix-interval",
        )?;
        Ok(HomeLinkSettings {
            duplicate_address_detection: self.duplicate_address_detection.unwrap_or(true),
            preference: self.preference.unwrap_or(0),
            refresh_advice: self.refresh_advice,
            mobile_prefix_advertisements: self.mobile_prefix_advertisements.unwrap_or(true),
            min_prefix_interval: least,
            max_prefix_interval: most,
        })
    }

    fn settle_ar(self) -> Result<ArSettings, ConfigError> {
        let identity = self.settle_identity()?;
        if self.anycast.is_empty() {
            return Err(ConfigError::Missing {
                field: "anycast",
                remedy: "say --anycast with the address this responder serves",
            });
        }
        let each_has_one = self.anycast.iter().all(|entry| entry.agent.is_some());
        let agent = match self.agent {
            Some(agent) => agent,
            None if each_has_one => Ipv6Addr::UNSPECIFIED,
            None => {
                return Err(ConfigError::Missing {
                    field: "agent",
                    remedy: "say --agent with the home anycast agent's address, or :: to discover one",
                });
            }
        };
        for agent in self.anycast.iter().filter_map(|entry| entry.agent).chain([agent]) {
            wrong_unless(
                agent.is_unspecified() || is_routable_unicast(&agent),
                "agent",
                agent,
                "give the agent's global address, or :: to discover one",
            )?;
        }
        for agent in &self.other_agents {
            wrong_unless(
                is_routable_unicast(agent) && self.anycast.iter().all(|entry| entry.address != *agent),
                "other-agents",
                agent,
                "give global addresses of agents that serve the same home prefix",
            )?;
        }
        let lifetime = self.lifetime.unwrap_or(DEFAULT_LIFETIME);
        for lifetime in self.anycast.iter().filter_map(|entry| entry.lifetime).chain([lifetime]) {
            check_lifetime("lifetime", lifetime)?;
        }
        if let Some(care_of) = self.care_of {
            wrong_unless(
                is_routable_unicast(&care_of),
                "care-of",
                care_of,
                "give a global address of the interface",
            )?;
        }
        let refresh_percent = self.refresh_percent.unwrap_or(DEFAULT_REFRESH_PERCENT);
        wrong_unless(
            (10..=95).contains(&refresh_percent),
            "refresh-percent",
            refresh_percent,
            "give a percentage of the lifetime from 10 to 95, so that refreshes are neither a flood nor too late",
        )?;
        let home_prefix_length = self.home_prefix_length.unwrap_or(64);
        wrong_unless(
            home_prefix_length <= 120,
            "home-prefix-length",
            home_prefix_length,
            "give the length of the home link's prefix, usually 64",
        )?;
        let services = self
            .anycast
            .iter()
            .map(|entry| Ok((entry.address, entry.settle_service()?)))
            .collect::<Result<_, ConfigError>>()?;
        Ok(ArSettings {
            care_of: self.care_of,
            services,
            anycast: self.anycast,
            agent,
            identity,
            lifetime,
            initial_sequence: self.initial_sequence,
            home_prefix_length,
            route_optimisation: self.route_optimisation.unwrap_or(true),
            reverse_tunnel_end: self.reverse_tunnel_end.unwrap_or_default(),
            route_optimisation_peers: self.route_optimisation_peers,
            acknowledged_optimisation: self.acknowledged_optimisation.unwrap_or(false),
            other_agents: self.other_agents,
            refresh_percent,
        })
    }

    /// A word that a role would silently ignore is a mistake somebody must hear of.
    fn refuse_meaningless(&self, role: Role) -> Result<(), ConfigError> {
        let others = match role {
            Role::Ar => AnycastEntry::agents_alone,
            _ => AnycastEntry::responders_alone,
        };
        let of_others = self.anycast.iter().find_map(others).map(str::to_owned);
        match self.meaningless_to(role).or(of_others) {
            Some(field) => Err(ConfigError::NotForRole { field, role }),
            None => Ok(()),
        }
    }
}

pub(super) fn wrong_unless(
    right: bool,
    field: &'static str,
    value: impl fmt::Display,
    remedy: &str,
) -> Result<(), ConfigError> {
    if right {
        return Ok(());
    }
    Err(ConfigError::Wrong { field, value: value.to_string(), remedy: remedy.to_owned() })
}

fn check_lifetime(field: &'static str, seconds: u32) -> Result<(), ConfigError> {
    let right = (4..=LONGEST_LIFETIME).contains(&seconds) && seconds.is_multiple_of(4);
    wrong_unless(
        right,
        field,
        seconds,
        "give seconds from 4 to 262140 that are a multiple of 4 (RFC 3775 6.1.7)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ar::PeerPolicy;

    fn given(text: &str) -> Given {
        toml::from_str(text).expect("the test's file parses")
    }

    fn error(text: &str) -> String {
        given(text).settle().expect_err("the test's settings are wrong").to_string()
    }

    #[test]
    fn an_agent_without_keys_refuses_to_start_unless_told() {
        let message = error("role = 'haa'\ninterface = 'eth0'");
        assert!(message.starts_with("authentication is missing"), "{message}");
        assert!(given("role = 'haa'\ninterface = 'eth0'\nauthentication = 'none'").settle().is_ok());
    }

    #[test]
    fn a_lifetime_must_be_a_multiple_of_four_seconds() {
        let message = error(
            "role='ar'\ninterface='e'\nagent='::'\nauthentication='none'\nlifetime=97\n[[anycast]]\naddress='2001:db8::a'",
        );
        assert!(message.starts_with("lifetime = 97:"), "{message}");
    }

    #[test]
    fn a_word_that_means_nothing_to_the_role_is_refused() {
        assert_eq!(
            error("role = 'ai'\ninterface = 'eth0'\nlifetime = 96"),
            "lifetime means nothing to role ai: leave it out"
        );
    }

    #[test]
    fn an_agents_part_on_the_home_link_is_settled_and_said_again() {
        let agent = "role = 'haa'\ninterface = 'eth0'\nauthentication = 'none'\n";
        let settings =
            given(&format!("{agent}preference = -5\nrefresh-advice = 96\nmax-prefix-interval = 300"))
                .settle()
                .expect("good settings");
        let RoleSettings::Haa(HaaSettings { capture, .. }) = &settings.role else { panic!("an agent's") };
        let expected = HomeLinkSettings {
            duplicate_address_detection: true,
            preference: -5,
            refresh_advice: Some(96),
            mobile_prefix_advertisements: true,
            min_prefix_interval: 300,
            max_prefix_interval: 300,
        };
        assert_eq!(*capture, CaptureSettings::HomeLink(expected));
        assert_eq!(settings.words().settle().expect("good settings"), settings);
        assert!(error(&format!("{agent}refresh-advice = 97")).starts_with("refresh-advice = 97:"));
        let message = error(&format!("{agent}min-prefix-interval = 9\nmax-prefix-interval = 8"));
        assert!(message.starts_with("min-prefix-interval = 9:"), "{message}");
    }

    #[test]
    fn a_midway_agent_must_be_told_what_it_serves() {
        let agent = "role = 'maa'\ninterface = 'eth0'\nauthentication = 'none'\n";
        assert!(error(agent).starts_with("anycast is missing: "));
        for served in ["home-prefix = ['2001:db8:0:1::/64']", "[[anycast]]\naddress = '2001:db8:0:1::a'"] {
            let settings = given(&format!("{agent}{served}")).settle().expect("good settings");
            let RoleSettings::Haa(HaaSettings { capture, .. }) = &settings.role else { panic!("an agent's") };
            assert_eq!(*capture, CaptureSettings::Route { protocol: 77 });
            assert_eq!(settings.words().settle().expect("good settings"), settings);
        }
        let message = error(&format!("{agent}route-protocol = 4\n[[anycast]]\naddress = '2001:db8:0:1::a'"));
        assert!(message.starts_with("route-protocol = 4: "), "{message}");
        let message = error(&format!("{agent}preference = 1"));
        assert_eq!(message, "preference means nothing to role maa: leave it out");
    }

    #[test]
    fn the_moment_of_a_refresh_is_settled_and_said_again() {
        let responder = "role='ar'\ninterface='e'\nagent='::'\nauthentication='none'\n";
        let text = |percent: u8| {
            format!("{responder}refresh-percent = {percent}\n[[anycast]]\naddress='2001:db8::a'")
        };
        let settings = given(&text(95)).settle().expect("good settings");
        let RoleSettings::Ar(ar) = &settings.role else { panic!("not a responder") };
        assert_eq!(ar.refresh_percent, 95);
        assert_eq!(settings.words().settle().expect("the same again"), settings);
        for wrong in [9, 96] {
            assert!(error(&text(wrong)).starts_with(&format!("refresh-percent = {wrong}:")));
        }
    }

    #[test]
    fn n076_peers_are_allowed_or_not_by_prefix() {
        let text = "role='ar'\ninterface='e'\nagent='::'\nauthentication='none'\n\
                    route-optimisation-peers = [{ prefix = '2001:db8:7::/48', allow = false }]\n\
                    [[anycast]]\naddress='2001:db8::a'";
        let settings = given(text).settle().expect("good settings");
        let RoleSettings::Ar(ar) = &settings.role else { panic!("not a responder") };
        let prefix = "2001:db8:7::/48".parse().expect("a prefix");
        assert_eq!(ar.route_optimisation_peers, [PeerPolicy { prefix, allow: false }]);
        assert_eq!(settings.words().settle().expect("the same again"), settings);
    }

    #[test]
    fn what_is_unsaid_has_a_default() {
        let settings =
            given("role = 'ai'\ninterface = 'eth1'\nmax-bindings = 7").settle().expect("good settings");
        let expected = AiSettings { max_bindings: 7, route_optimisation: true };
        assert_eq!(settings.role, RoleSettings::Ai(expected));
        assert_eq!(settings.control, Path::new("/run/mga-node/ai-eth1.sock"));
    }
}
