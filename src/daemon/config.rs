//! What a node is told: the TOML file, the command line over it, and the checks that turn both into settings.
//! The words are the same in both (design section 5); an unknown key, a wrong value or a missing one is an error
//! that names the field, the value and the remedy. Called by `cli` and `daemon`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::protocol::ar::{PeerPolicy, ReverseTunnelEnd};
use crate::protocol::input::is_routable_unicast;

/// Where control sockets and journals live unless told otherwise.
pub const RUN_DIRECTORY: &str = "/run/mga-node";
/// What a responder asks for unless told otherwise, in seconds: the longest that return routability bindings live.
const DEFAULT_LIFETIME: u32 = 420;
/// The longest lifetime a Binding Update can ask for: 65535 units of 4 seconds (RFC 3775 6.1.7).
const LONGEST_LIFETIME: u32 = 65_535 * 4;
const DEFAULT_MAX_BINDINGS: usize = 100_000;

/// MinMobPfxAdvInterval and MaxMobPfxAdvInterval of RFC 3775 section 13, in seconds.
const PREFIX_INTERVALS: (u32, u32) = (600, 86_400);

/// What a node is (thesis table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Home anycast agent (Mobile IPv6: home agent).
    Haa,
    /// Anycast responder (mobile node).
    Ar,
    /// Anycast initiator (correspondent node).
    Ai,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Haa => "haa",
            Role::Ar => "ar",
            Role::Ai => "ai",
        })
    }
}

/// How Binding Updates between responder and agent are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Authentication {
    /// Not at all; it must be said in so many words.
    None,
}

/// Thesis 4.1: which model an anycast address follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// RFC 3775 as it is: one responder at a time, the last Binding Update wins.
    #[default]
    Basic,
}

/// Who carries the rewrites out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// The best this build and kernel can do.
    #[default]
    Auto,
    /// User space, which works everywhere.
    User,
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forwarding::Auto => "auto",
            Forwarding::User => "user",
        })
    }
}

/// One `[[anycast]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AnycastEntry {
    pub address: Ipv6Addr,
    #[serde(default)]
    pub model: Model,
    /// ar: overrides the node's `agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Ipv6Addr>,
    /// ar: overrides the node's `lifetime`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u32>,
    /// ar: overrides the node's `initial-sequence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_sequence: Option<u16>,
}

/// The file as it stands, and equally the command line: everything may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Given {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Ipv6Addr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anycast: Vec<AnycastEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub care_of: Option<Ipv6Addr>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_sequence: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home_prefix: Vec<Ipv6Net>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_prefix_length: Option<u8>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bindings: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_address_detection: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preference: Option<i16>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_advice: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mobile_prefix_advertisements: Option<bool>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_prefix_interval: Option<u32>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_prefix_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_optimisation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_tunnel_end: Option<ReverseTunnelEnd>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route_optimisation_peers: Vec<PeerPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_optimisation: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_agents: Vec<Ipv6Addr>,
}

/// A configuration that cannot be used; the text names the field, the value and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Malformed { path: PathBuf, line: usize, column: usize, message: String },
    #[error("{field} is missing: {remedy}")]
    Missing { field: &'static str, remedy: &'static str },
    #[error("{field} = {value}: {remedy}")]
    Wrong { field: &'static str, value: String, remedy: String },
    #[error("{field} means nothing to role {role}: leave it out")]
    NotForRole { field: &'static str, role: Role },
}

/// Settings that every role has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub interface: String,
    pub control: PathBuf,
    pub forwarding: Forwarding,
    pub role: RoleSettings,
}

/// Settings of one role; addresses that the interface can tell are still open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RoleSettings {
    Haa {
        agent: Option<Ipv6Addr>,
        anycast: Vec<Ipv6Addr>,
        home_prefixes: Vec<Ipv6Net>,
        max_lifetime: u32,
        max_bindings: usize,
        duplicate_address_detection: bool,
        home_link: HomeLinkSettings,
    },
    Ar {
        care_of: Option<Ipv6Addr>,
        anycast: Vec<AnycastEntry>,
        agent: Ipv6Addr,
        lifetime: u32,
        initial_sequence: Option<u16>,
        home_prefix_length: u8,
        route_optimisation: bool,
        reverse_tunnel_end: ReverseTunnelEnd,
        route_optimisation_peers: Vec<PeerPolicy>,
        acknowledged_optimisation: bool,
        other_agents: Vec<Ipv6Addr>,
    },
    Ai {
        max_bindings: usize,
        route_optimisation: bool,
    },
}

/// An agent's part among the agents and prefixes of its home link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HomeLinkSettings {
    pub preference: i16,
    /// Seconds.
    pub refresh_advice: Option<u32>,
    pub mobile_prefix_advertisements: bool,
    /// Seconds.
    pub min_prefix_interval: u32,
    /// Seconds.
    pub max_prefix_interval: u32,
}

impl Settings {
    /// The settings in the words of a configuration file, every default spelled out; [`Given::settle`] of the
    /// result is these settings again.
    pub fn words(&self) -> Given {
        let given = Given {
            role: Some(self.role.role()),
            interface: Some(self.interface.clone()),
            control: Some(self.control.clone()),
            forwarding: Some(self.forwarding),
            ..Given::default()
        };
        match self.role.clone() {
            RoleSettings::Haa {
                agent,
                anycast,
                home_prefixes,
                max_lifetime,
                max_bindings,
                duplicate_address_detection,
                home_link,
            } => Given {
                agent,
                anycast: anycast.into_iter().map(AnycastEntry::of).collect(),
                authentication: Some(Authentication::None),
                home_prefix: home_prefixes,
                max_lifetime: Some(max_lifetime),
                max_bindings: Some(max_bindings),
                duplicate_address_detection: Some(duplicate_address_detection),
                preference: Some(home_link.preference),
                refresh_advice: home_link.refresh_advice,
                mobile_prefix_advertisements: Some(home_link.mobile_prefix_advertisements),
                min_prefix_interval: Some(home_link.min_prefix_interval),
                max_prefix_interval: Some(home_link.max_prefix_interval),
                ..given
            },
            RoleSettings::Ar {
                care_of,
                anycast,
                agent,
                lifetime,
                initial_sequence,
                home_prefix_length,
                route_optimisation,
                reverse_tunnel_end,
                route_optimisation_peers,
                acknowledged_optimisation,
                other_agents,
            } => Given {
                care_of,
                anycast,
                agent: Some(agent),
                lifetime: Some(lifetime),
                initial_sequence,
                authentication: Some(Authentication::None),
                home_prefix_length: Some(home_prefix_length),
                route_optimisation: Some(route_optimisation),
                reverse_tunnel_end: Some(reverse_tunnel_end),
                route_optimisation_peers,
                acknowledged_optimisation: Some(acknowledged_optimisation),
                other_agents,
                ..given
            },
            RoleSettings::Ai { max_bindings, route_optimisation } => Given {
                max_bindings: Some(max_bindings),
                route_optimisation: Some(route_optimisation),
                ..given
            },
        }
    }
}

impl AnycastEntry {
    /// An entry that overrides nothing.
    pub fn of(address: Ipv6Addr) -> Self {
        Self { address, model: Model::default(), agent: None, lifetime: None, initial_sequence: None }
    }
}

impl RoleSettings {
    /// Which role these are for.
    pub fn role(&self) -> Role {
        match self {
            RoleSettings::Haa { .. } => Role::Haa,
            RoleSettings::Ar { .. } => Role::Ar,
            RoleSettings::Ai { .. } => Role::Ai,
        }
    }
}

impl Given {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or with line and column of what is not understood.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..offset).unwrap_or(&text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            ConfigError::Malformed {
                path: path.to_owned(),
                line,
                column,
                message: error.message().to_owned(),
            }
        })
    }

    /// What `self` (the command line) says, and where it is silent, what `file` says.
    pub fn over(self, file: Self) -> Self {
        let or_file =
            |mine: Vec<AnycastEntry>, theirs: Vec<AnycastEntry>| if mine.is_empty() { theirs } else { mine };
        Self {
            role: self.role.or(file.role),
            interface: self.interface.or(file.interface),
            agent: self.agent.or(file.agent),
            anycast: or_file(self.anycast, file.anycast),
            care_of: self.care_of.or(file.care_of),
            lifetime: self.lifetime.or(file.lifetime),
            initial_sequence: self.initial_sequence.or(file.initial_sequence),
            authentication: self.authentication.or(file.authentication),
            control: self.control.or(file.control),
            forwarding: self.forwarding.or(file.forwarding),
            home_prefix: if self.home_prefix.is_empty() { file.home_prefix } else { self.home_prefix },
            home_prefix_length: self.home_prefix_length.or(file.home_prefix_length),
            max_lifetime: self.max_lifetime.or(file.max_lifetime),
            max_bindings: self.max_bindings.or(file.max_bindings),
            duplicate_address_detection: self
                .duplicate_address_detection
                .or(file.duplicate_address_detection),
            preference: self.preference.or(file.preference),
            refresh_advice: self.refresh_advice.or(file.refresh_advice),
            mobile_prefix_advertisements: self
                .mobile_prefix_advertisements
                .or(file.mobile_prefix_advertisements),
            min_prefix_interval: self.min_prefix_interval.or(file.min_prefix_interval),
            max_prefix_interval: self.max_prefix_interval.or(file.max_prefix_interval),
            route_optimisation: self.route_optimisation.or(file.route_optimisation),
            reverse_tunnel_end: self.reverse_tunnel_end.or(file.reverse_tunnel_end),
            route_optimisation_peers: if self.route_optimisation_peers.is_empty() {
                file.route_optimisation_peers
            } else {
                self.route_optimisation_peers
            },
            acknowledged_optimisation: self.acknowledged_optimisation.or(file.acknowledged_optimisation),
            other_agents: if self.other_agents.is_empty() { file.other_agents } else { self.other_agents },
        }
    }

    /// The settings these words amount to.
    ///
    /// # Errors
    /// For the first word that is missing, wrong or meaningless to the role.
    pub fn settle(self) -> Result<Settings, ConfigError> {
        let role =
            self.role.ok_or(ConfigError::Missing { field: "role", remedy: "say --role haa, ar or ai" })?;
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
        if matches!(role, Role::Haa | Role::Ar) && self.authentication.is_none() {
            return Err(ConfigError::Missing {
                field: "authentication",
                remedy: "Binding Updates are not protected by keys in this version; say --authentication none \
                         to run without, on a network where nobody forges them",
            });
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
            Role::Haa => self.settle_haa()?,
            Role::Ar => self.settle_ar()?,
            Role::Ai => RoleSettings::Ai {
                max_bindings: self.max_bindings.unwrap_or(DEFAULT_MAX_BINDINGS),
                route_optimisation: self.route_optimisation.unwrap_or(true),
            },
        };
        Ok(Settings { interface, control, forwarding, role })
    }

    fn settle_haa(self) -> Result<RoleSettings, ConfigError> {
        if let Some(agent) = self.agent {
            wrong_unless(is_routable_unicast(&agent), "agent", agent, "give the agent's own global address")?;
        }
        let max_lifetime = self.max_lifetime.unwrap_or(LONGEST_LIFETIME);
        check_lifetime("max-lifetime", max_lifetime)?;
        let home_link = self.settle_home_link()?;
        Ok(RoleSettings::Haa {
            agent: self.agent,
            anycast: self.anycast.iter().map(|entry| entry.address).collect(),
            home_prefixes: self.home_prefix,
            max_lifetime,
            max_bindings: self.max_bindings.unwrap_or(DEFAULT_MAX_BINDINGS),
            duplicate_address_detection: self.duplicate_address_detection.unwrap_or(true),
            home_link,
        })
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
            preference: self.preference.unwrap_or(0),
            refresh_advice: self.refresh_advice,
            mobile_prefix_advertisements: self.mobile_prefix_advertisements.unwrap_or(true),
            min_prefix_interval: least,
            max_prefix_interval: most,
        })
    }

    fn settle_ar(self) -> Result<RoleSettings, ConfigError> {
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
        let home_prefix_length = self.home_prefix_length.unwrap_or(64);
        wrong_unless(
            home_prefix_length <= 120,
            "home-prefix-length",
            home_prefix_length,
            "give the length of the home link's prefix, usually 64",
        )?;
        Ok(RoleSettings::Ar {
            care_of: self.care_of,
            anycast: self.anycast,
            agent,
            lifetime,
            initial_sequence: self.initial_sequence,
            home_prefix_length,
            route_optimisation: self.route_optimisation.unwrap_or(true),
            reverse_tunnel_end: self.reverse_tunnel_end.unwrap_or_default(),
            route_optimisation_peers: self.route_optimisation_peers,
            acknowledged_optimisation: self.acknowledged_optimisation.unwrap_or(false),
            other_agents: self.other_agents,
        })
    }

    /// A word that a role would silently ignore is a mistake somebody must hear of.
    fn refuse_meaningless(&self, role: Role) -> Result<(), ConfigError> {
        let haa = role == Role::Haa;
        let ar = role == Role::Ar;
        let per_anycast = self.anycast.iter().any(|entry| {
            entry.agent.is_some() || entry.lifetime.is_some() || entry.initial_sequence.is_some()
        });
        let words = [
            ("agent", self.agent.is_some(), haa || ar),
            ("anycast", !self.anycast.is_empty(), haa || ar),
            ("anycast.agent, anycast.lifetime or anycast.initial-sequence", per_anycast, ar),
            ("care-of", self.care_of.is_some(), ar),
            ("lifetime", self.lifetime.is_some(), ar),
            ("initial-sequence", self.initial_sequence.is_some(), ar),
            ("home-prefix", !self.home_prefix.is_empty(), haa),
            ("home-prefix-length", self.home_prefix_length.is_some(), ar),
            ("max-lifetime", self.max_lifetime.is_some(), haa),
            ("max-bindings", self.max_bindings.is_some(), !ar),
            ("duplicate-address-detection", self.duplicate_address_detection.is_some(), haa),
            ("preference", self.preference.is_some(), haa),
            ("refresh-advice", self.refresh_advice.is_some(), haa),
            ("mobile-prefix-advertisements", self.mobile_prefix_advertisements.is_some(), haa),
            ("min-prefix-interval", self.min_prefix_interval.is_some(), haa),
            ("max-prefix-interval", self.max_prefix_interval.is_some(), haa),
            ("route-optimisation", self.route_optimisation.is_some(), !haa),
            ("route-optimisation-peers", !self.route_optimisation_peers.is_empty(), ar),
            ("acknowledged-optimisation", self.acknowledged_optimisation.is_some(), ar),
            ("other-agents", !self.other_agents.is_empty(), ar),
            ("reverse-tunnel-end", self.reverse_tunnel_end.is_some(), ar),
            ("authentication", self.authentication.is_some(), haa || ar),
        ];
        match words.into_iter().find(|(_, given, meant)| *given && !*meant) {
            Some((field, ..)) => Err(ConfigError::NotForRole { field, role }),
            None => Ok(()),
        }
    }
}

fn wrong_unless(
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
    fn an_unknown_key_is_an_error_with_line_and_column() {
        let path = std::env::temp_dir().join(format!("mga-node-config-{}.toml", std::process::id()));
        std::fs::write(&path, "role = 'ai'\ninterfaec = 'eth0'\n").expect("a scratch file");
        let message = Given::read(&path).expect_err("the key is unknown").to_string();
        std::fs::remove_file(&path).expect("the scratch file goes");
        assert!(message.contains(":2:1: unknown field `interfaec`"), "{message}");
    }

    #[test]
    fn an_agents_part_on_the_home_link_is_settled_and_said_again() {
        let agent = "role = 'haa'\ninterface = 'eth0'\nauthentication = 'none'\n";
        let settings =
            given(&format!("{agent}preference = -5\nrefresh-advice = 96\nmax-prefix-interval = 300"))
                .settle()
                .expect("good settings");
        let RoleSettings::Haa { home_link, .. } = &settings.role else { panic!("an agent's") };
        let expected = HomeLinkSettings {
            preference: -5,
            refresh_advice: Some(96),
            mobile_prefix_advertisements: true,
            min_prefix_interval: 300,
            max_prefix_interval: 300,
        };
        assert_eq!(*home_link, expected);
        assert_eq!(settings.words().settle().expect("good settings"), settings);
        assert!(error(&format!("{agent}refresh-advice = 97")).starts_with("refresh-advice = 97:"));
        let message = error(&format!("{agent}min-prefix-interval = 9\nmax-prefix-interval = 8"));
        assert!(message.starts_with("min-prefix-interval = 9:"), "{message}");
    }

    #[test]
    fn n076_peers_are_allowed_or_not_by_prefix() {
        let text = "role='ar'\ninterface='e'\nagent='::'\nauthentication='none'\n\
                    route-optimisation-peers = [{ prefix = '2001:db8:7::/48', allow = false }]\n\
                    [[anycast]]\naddress='2001:db8::a'";
        let settings = given(text).settle().expect("good settings");
        let RoleSettings::Ar { route_optimisation_peers, .. } = settings.role.clone() else {
            panic!("not a responder");
        };
        let prefix = "2001:db8:7::/48".parse().expect("a prefix");
        assert_eq!(route_optimisation_peers, [PeerPolicy { prefix, allow: false }]);
        assert_eq!(settings.words().settle().expect("the same again"), settings);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = given("role = 'ai'\ninterface = 'eth0'\nmax-bindings = 7");
        let line = Given { interface: Some("eth1".into()), ..Given::default() };
        let settings = line.over(file).settle().expect("good settings");
        assert_eq!(settings.interface, "eth1");
        assert_eq!(settings.role, RoleSettings::Ai { max_bindings: 7, route_optimisation: true });
        assert_eq!(settings.control, Path::new("/run/mga-node/ai-eth1.sock"));
    }
}
