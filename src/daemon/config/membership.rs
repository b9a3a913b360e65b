//! Who is a member, in words (RFC 4283, RFC 4285; docs/membership.md): an agent's `[[member]]` tables, a responder's
//! identifier, SPI and key file, and the checks on them. Keys themselves are not here, only the files they are in.
//! Part of the words, the settings and the checks.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::checks::wrong_unless;
use super::words::{Authentication, Given};
use crate::protocol::input::is_routable_unicast;

/// How far a timestamp may be from the agent's clock unless told otherwise, in seconds (RFC 4285 6).
const CLOSE_ENOUGH: u32 = 7;
/// The longest Network Access Identifier (RFC 4282 2.2), in octets.
const LONGEST_IDENTIFIER: usize = 253;
/// Smaller ones are reserved (RFC 4285 5.1).
const SMALLEST_SPI: u32 = 256;

/// One `[[member]]` table of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MemberEntry {
    pub identifier: String,
    pub spi: u32,
    pub key_file: PathBuf,
    /// What it may serve; empty: everything that the agent serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anycast: Vec<Ipv6Addr>,
    /// Where it may be; empty: anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub care_of: Vec<Ipv6Net>,
    /// What it says of its weight counts no more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_weight: Option<u16>,
    /// What it says of its metric counts no less than this, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_metric: Option<u32>,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(enabled: &bool) -> bool {
    *enabled
}

/// The members of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersSettings {
    pub members: Vec<MemberEntry>,
    /// Seconds.
    pub clock_tolerance: u32,
}

/// Who a responder is to its agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    pub identifier: String,
    pub spi: u32,
    pub key_file: PathBuf,
}

impl MemberEntry {
    /// Whether this can be a member at all.
    ///
    /// # Errors
    /// For the first word that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_identity(&self.identifier, self.spi)?;
        for address in &self.anycast {
            wrong_unless(
                is_routable_unicast(address),
                "member.anycast",
                address,
                "give a global unicast address of the home prefix",
            )?;
        }
        Ok(())
    }
}

impl MembersSettings {
    pub(super) fn words(self) -> Given {
        Given {
            authentication: Some(Authentication::Rfc4285),
            member: self.members,
            clock_tolerance: Some(self.clock_tolerance),
            ..Given::default()
        }
    }
}

impl IdentitySettings {
    pub(super) fn words(self) -> Given {
        Given {
            authentication: Some(Authentication::Rfc4285),
            identifier: Some(self.identifier),
            spi: Some(self.spi),
            key_file: Some(self.key_file),
            ..Given::default()
        }
    }
}

/// The words of a node without keys.
pub(super) fn no_keys() -> Given {
    Given { authentication: Some(Authentication::None), ..Given::default() }
}

impl Given {
    /// Keys, or the word that there are none (design section 4.9).
    fn has_keys(&self) -> Result<bool, ConfigError> {
        let authentication = self.authentication.ok_or(ConfigError::Missing {
            field: "authentication",
            remedy: "say rfc4285 with the members' keys, or none to run without, on a network where nobody forges \
                     Binding Updates",
        })?;
        let keys = authentication == Authentication::Rfc4285;
        let words = [
            ("member", !self.member.is_empty()),
            ("clock-tolerance", self.clock_tolerance.is_some()),
            ("identifier", self.identifier.is_some()),
            ("spi", self.spi.is_some()),
            ("key-file", self.key_file.is_some()),
        ];
        match words.into_iter().find(|(_, said)| *said && !keys) {
            Some((field, _)) => Err(ConfigError::NotWithoutKeys { field }),
            None => Ok(keys),
        }
    }

    /// The members of an agent; `None` without keys.
    pub(super) fn settle_members(&self) -> Result<Option<MembersSettings>, ConfigError> {
        if !self.has_keys()? {
            return Ok(None);
        }
        for member in &self.member {
            member.check()?;
            wrong_unless(
                self.member.iter().filter(|other| other.identifier == member.identifier).count() == 1,
                "member.identifier",
                &member.identifier,
                "give every member once",
            )?;
        }
        let clock_tolerance = self.clock_tolerance.unwrap_or(CLOSE_ENOUGH);
        wrong_unless(
            (4..=3600).contains(&clock_tolerance),
            "clock-tolerance",
            clock_tolerance,
            "give seconds from 4 to 3600 (RFC 4285 6)",
        )?;
        Ok(Some(MembersSettings { members: self.member.clone(), clock_tolerance }))
    }

    /// Who a responder is; `None` without keys.
    pub(super) fn settle_identity(&self) -> Result<Option<IdentitySettings>, ConfigError> {
        if !self.has_keys()? {
            return Ok(None);
        }
        let missing = |field, remedy| ConfigError::Missing { field, remedy };
        let remedy =
            "authentication rfc4285 needs the name under which the agents know this responder, as user@realm";
        let identifier = self.identifier.clone().ok_or(missing("identifier", remedy))?;
        let remedy = "authentication rfc4285 needs the number of the key, the same as at the agents";
        let spi = self.spi.ok_or(missing("spi", remedy))?;
        let remedy =
            "authentication rfc4285 needs the file with the key that this responder shares with its agents";
        let key_file = self.key_file.clone().ok_or(missing("key-file", remedy))?;
        check_identity(&identifier, spi)?;
        Ok(Some(IdentitySettings { identifier, spi, key_file }))
    }
}

fn check_identity(identifier: &str, spi: u32) -> Result<(), ConfigError> {
    let parts = identifier.split_once('@').filter(|(user, realm)| !user.is_empty() && !realm.is_empty());
    wrong_unless(
        parts.is_some()
            && identifier.len() <= LONGEST_IDENTIFIER
            && identifier.bytes().all(|octet| octet.is_ascii_graphic()),
        "identifier",
        identifier,
        "give a Network Access Identifier, user@realm, of at most 253 printable ASCII characters",
    )?;
    wrong_unless(
        spi >= SMALLEST_SPI,
        "spi",
        spi,
        "give a number from 256 on; smaller ones are reserved (RFC 4285 5.1)",
    )
}

#[cfg(test)]
mod tests {
    use super::super::{RoleSettings, Settings};
    use super::*;

    const AGENT: &str = "role = 'haa'\ninterface = 'e'\nauthentication = 'rfc4285'\n";
    const RESPONDER: &str = "role = 'ar'\ninterface = 'e'\nagent = '::'\nauthentication = 'rfc4285'\n";

    fn settle(text: &str) -> Result<Settings, ConfigError> {
        toml::from_str::<Given>(text).expect("the test's file parses").settle()
    }

    fn error(text: &str) -> String {
        settle(text).expect_err("the test's settings are wrong").to_string()
    }

    #[test]
    fn members_are_settled_and_said_again() {
        let text = format!(
            "{AGENT}clock-tolerance = 10\n[[member]]\nidentifier = 'ar1@example.net'\nspi = 256\nkey-file = '/k/1'\n\
             anycast = ['2001:db8::a']\ncare-of = ['2001:db8:4::/64']\nmax-weight = 5\nmin-metric = 100\n\
             [[member]]\nidentifier = 'ar2@example.net'\nspi = 256\nkey-file = '/k/2'\nenabled = false\n"
        );
        let settings = settle(&text).expect("good settings");
        let RoleSettings::Haa(haa) = &settings.role else { panic!("an agent's") };
        let members = haa.members.as_ref().expect("members");
        assert_eq!((members.members.len(), members.clock_tolerance), (2, 10));
        assert_eq!(members.members.iter().map(|member| member.enabled).collect::<Vec<_>>(), [true, false]);
        assert_eq!(settings.words().settle().expect("good settings"), settings);
        let words = toml::to_string(&settings.words()).expect("words");
        assert_eq!(settle(&words).expect("good settings"), settings);
    }

    #[test]
    fn a_responder_says_who_it_is() {
        let anycast = "[[anycast]]\naddress = '2001:db8::a'\n";
        let identity = "identifier = 'ar1@example.net'\nspi = 300\nkey-file = '/k/1'\n";
        let settings = settle(&format!("{RESPONDER}{identity}{anycast}")).expect("good settings");
        assert_eq!(settings.words().settle().expect("good settings"), settings);
        for (left_out, field) in [(0, "identifier"), (1, "spi"), (2, "key-file")] {
            let lines: Vec<_> = identity.lines().enumerate().filter(|(at, _)| *at != left_out).collect();
            let lines: String = lines.into_iter().map(|(_, line)| format!("{line}\n")).collect();
            let message = error(&format!("{RESPONDER}{lines}{anycast}"));
            assert!(message.starts_with(&format!("{field} is missing: ")), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_a_member_is_told_by_field_and_value() {
        let member = |identifier: &str, spi: u32| {
            format!("{AGENT}[[member]]\nidentifier = '{identifier}'\nspi = {spi}\nkey-file = '/k'\n")
        };
        for wrong in ["ar1", "@example.net", "ar1@", "a r@example.net", "är@example.net"] {
            let message = error(&member(wrong, 256));
            assert!(message.starts_with(&format!("identifier = {wrong}: ")), "{message}");
        }
        assert!(error(&member("a@b", 255)).starts_with("spi = 255: "));
        let twice = member("a@b", 256) + "[[member]]\nidentifier = 'a@b'\nspi = 257\nkey-file = '/k'\n";
        assert!(error(&twice).starts_with("member.identifier = a@b: "));
        assert!(error(&format!("{AGENT}clock-tolerance = 3")).starts_with("clock-tolerance = 3: "));
    }

    #[test]
    fn words_about_keys_are_refused_where_nobody_has_any() {
        let message = error("role = 'haa'\ninterface = 'e'\nauthentication = 'none'\nclock-tolerance = 7");
        assert_eq!(
            message,
            "clock-tolerance means nothing with authentication = \"none\": leave it out, or say rfc4285"
        );
    }
}
