//! The words of a configuration (design section 5), all of which may be left unsaid: the TOML file as it stands, and
//! equally the command line. Each word is declared once, with the roles that heed it.
//! Made by `cli`; turned into settings by `checks`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::application::ApplicationWords;
use super::group::AffinityWord;
use super::membership::MemberEntry;
use crate::protocol::ar::{PeerPolicy, ReverseTunnelEnd};
use crate::protocol::select::Criterion;

/// What a node is (thesis table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Home anycast agent (Mobile IPv6: home agent).
    Haa,
    /// Midway anycast agent (thesis 4.3.3; Mobile IPv6 has none).
    Maa,
    /// Anycast responder (mobile node).
    Ar,
    /// Anycast initiator (correspondent node).
    Ai,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Haa, Self::Maa, Self::Ar, Self::Ai];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Haa => "haa",
            Role::Maa => "maa",
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
    /// By a key of each responder (RFC 4285).
    Rfc4285,
}

/// Thesis 4.1: which model an anycast address follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// RFC 3775 as it is: one responder at a time, the last Binding Update wins.
    #[default]
    Basic,
    /// Several responders at once (thesis 4.3).
    Advanced,
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
    /// The kernel, by eBPF, or nobody.
    Ebpf,
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forwarding::Auto => "auto",
            Forwarding::User => "user",
            Forwarding::Ebpf => "ebpf",
        })
    }
}

/// One `[[anycast]]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// ar, advanced model: share of new sources against the other responders'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// ar, advanced model: sources served at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,
    /// Advanced model; ar: midway agents to register with, haa: those that responders are told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub midway_agents: Vec<Ipv6Addr>,
    /// haa and maa, advanced model, like all that follow up to `probe-rise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<Criterion>,
    /// Care-of addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<Ipv6Addr>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<AffinityWord>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_sources: Option<usize>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_fall: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_rise: Option<u32>,
    /// ar, advanced model: where the metric comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<ApplicationWords>,
    /// ar: what tells whether the application is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<ApplicationWords>,
}

impl AnycastEntry {
    /// An entry that overrides nothing.
    pub fn of(address: Ipv6Addr) -> Self {
        Self {
            address,
            model: Model::default(),
            agent: None,
            lifetime: None,
            initial_sequence: None,
            weight: None,
            capacity: None,
            midway_agents: Vec::new(),
            selection: None,
            prefer: Vec::new(),
            margin: None,
            affinity: None,
            affinity_interval: None,
            affinity_sources: None,
            probe_interval: None,
            probe_fall: None,
            probe_rise: None,
            metric: None,
            health: None,
        }
    }

    /// The first word said that only a responder heeds.
    pub(super) fn responders_alone(&self) -> Option<&'static str> {
        let words = [
            ("anycast.agent", self.agent.is_some()),
            ("anycast.lifetime", self.lifetime.is_some()),
            ("anycast.initial-sequence", self.initial_sequence.is_some()),
            ("anycast.weight", self.weight.is_some()),
            ("anycast.capacity", self.capacity.is_some()),
            ("anycast.metric", self.metric.is_some()),
            ("anycast.health", self.health.is_some()),
        ];
        words.into_iter().find(|(_, said)| *said).map(|(word, _)| word)
    }
}

/// Something that may be left unsaid.
trait Word {
    fn is_unsaid(&self) -> bool;
}

impl<T> Word for Option<T> {
    fn is_unsaid(&self) -> bool {
        self.is_none()
    }
}

impl<T> Word for Vec<T> {
    fn is_unsaid(&self) -> bool {
        self.is_empty()
    }
}

/// Declares [`Given`]: every word, its kind, and the roles that heed it.
macro_rules! words {
    ($($(#[$about:meta])* $word:ident: $kind:ty, for $roles:expr;)*) => {
        /// The file as it stands, and equally the command line: everything may be absent.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Given {
            $($(#[$about])* #[serde(default, skip_serializing_if = "Word::is_unsaid")] pub $word: $kind,)*
        }

        impl Given {
            /// What `self` (the command line) says, and where it is silent, what `file` says.
            pub fn over(self, file: Self) -> Self {
                Self { $($word: if self.$word.is_unsaid() { file.$word } else { self.$word },)* }
            }

            /// The first word said that this role would silently ignore, as it is written in a file.
            pub(super) fn meaningless_to(&self, role: Role) -> Option<String> {
                let meaningless = |said: bool, roles: &[Role]| said && !roles.contains(&role);
                $(if meaningless(!self.$word.is_unsaid(), &$roles) {
                    return Some(stringify!($word).replace('_', "-"));
                })*
                None
            }
        }
    };
}

use Role::{Ai, Ar, Haa, Maa};

words! {
    role: Option<Role>, for [Haa, Maa, Ar, Ai];
    interface: Option<String>, for [Haa, Maa, Ar, Ai];
    agent: Option<Ipv6Addr>, for [Haa, Maa, Ar];
    anycast: Vec<AnycastEntry>, for [Haa, Maa, Ar];
    care_of: Option<Ipv6Addr>, for [Ar];
    /// Seconds.
    lifetime: Option<u32>, for [Ar];
    initial_sequence: Option<u16>, for [Ar];
    authentication: Option<Authentication>, for [Haa, Maa, Ar];
    member: Vec<MemberEntry>, for [Haa, Maa];
    /// Seconds.
    clock_tolerance: Option<u32>, for [Haa, Maa];
    identifier: Option<String>, for [Ar];
    spi: Option<u32>, for [Ar];
    key_file: Option<PathBuf>, for [Ar];
    control: Option<PathBuf>, for [Haa, Maa, Ar, Ai];
    forwarding: Option<Forwarding>, for [Haa, Maa, Ar, Ai];
    home_prefix: Vec<Ipv6Net>, for [Haa, Maa];
    home_prefix_length: Option<u8>, for [Ar];
    /// Seconds.
    max_lifetime: Option<u32>, for [Haa, Maa];
    max_bindings: Option<usize>, for [Haa, Maa, Ai];
    route_protocol: Option<u8>, for [Maa];
    duplicate_address_detection: Option<bool>, for [Haa];
    preference: Option<i16>, for [Haa];
    /// Seconds.
    refresh_advice: Option<u32>, for [Haa];
    mobile_prefix_advertisements: Option<bool>, for [Haa];
    /// Seconds.
    min_prefix_interval: Option<u32>, for [Haa];
    /// Seconds.
    max_prefix_interval: Option<u32>, for [Haa];
    route_optimisation: Option<bool>, for [Ar, Ai];
    reverse_tunnel_end: Option<ReverseTunnelEnd>, for [Ar];
    route_optimisation_peers: Vec<PeerPolicy>, for [Ar];
    acknowledged_optimisation: Option<bool>, for [Ar];
    other_agents: Vec<Ipv6Addr>, for [Ar];
    refresh_percent: Option<u8>, for [Ar];
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_with_line_and_column() {
        let path = std::env::temp_dir().join(format!("mga-node-config-{}.toml", std::process::id()));
        std::fs::write(&path, "role = 'ai'\ninterfaec = 'eth0'\n").expect("a scratch file");
        let message = Given::read(&path).expect_err("the key is unknown").to_string();
        std::fs::remove_file(&path).expect("the scratch file goes");
        assert!(message.contains(":2:1: unknown field `interfaec`"), "{message}");
    }

    #[test]
    fn the_command_line_wins_over_the_file_word_by_word() {
        let file = Given {
            interface: Some("eth0".to_owned()),
            max_bindings: Some(7),
            anycast: vec![AnycastEntry::of(Ipv6Addr::LOCALHOST)],
            ..Given::default()
        };
        let line = Given { interface: Some("eth1".to_owned()), ..Given::default() };
        let expected = Given { interface: Some("eth1".to_owned()), ..file.clone() };
        assert_eq!(line.over(file), expected);
    }
}
