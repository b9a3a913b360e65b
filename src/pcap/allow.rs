//! Differences that are allowed: a TOML file of named entries, each with the clause that demands the difference.
//! An entry says which packets and which field it is about (RFC 3775 names as in the field trees) and why.
//! The comparison of captures asks it about every outcome, and reports entries that matched nothing.

use std::net::Ipv6Addr;
use std::path::Path;

use serde::Deserialize;

use super::diff::{Difference, Outcome, Packet};
use super::tree::{Tree, Value};

/// The list of allowed differences.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// The entries, written `[[allow]]`.
    #[serde(default, rename = "allow")]
    pub entries: Vec<Entry>,
    #[serde(skip)]
    matched: Vec<u64>,
}

/// One allowed difference. What is not said matches everything.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name, unique in the file.
    pub name: String,
    /// The clause that demands or permits the actual behaviour, such as `RFC 3775 9.5.1`.
    pub clause: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Which outcome it is about.
    #[serde(rename = "where", default)]
    pub place: Place,
}

/// Which differences an entry is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Place {
    /// `different`, `missing` or `extra`.
    pub what: Option<What>,
    /// The message's name, such as `Binding Update` or `tunnel[Echo Request]`.
    pub message: Option<String>,
    /// The field's path, such as `ipv6.mobility.sequence`; a `*` at the end matches any rest. Only for `different`.
    pub field: Option<String>,
    /// The status of a Binding Acknowledgement or Binding Error, in either capture.
    pub status: Option<u64>,
    /// Source or home address, in the expected capture if it has the packet.
    pub from: Option<Ipv6Addr>,
    /// Destination or home address likewise.
    pub to: Option<Ipv6Addr>,
    /// Words in the field's value of the expected capture, as the report tells it.
    pub expected: Option<String>,
    /// Words in the field's value of the actual capture.
    pub actual: Option<String>,
}

/// The ways to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Both have the packet, with other fields.
    Different,
    /// Only the expected capture has it.
    Missing,
    /// Only the actual capture has it.
    Extra,
}

/// A file of allowed differences cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// It is not what it should be; the message has line and column.
    #[error("{0}: {1}")]
    Toml(String, toml::de::Error),
    /// Two entries of one name.
    #[error("{0}: two entries are called `{1}`")]
    Twice(String, String),
}

impl Allowed {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error`], with the file's name.
    pub fn open(path: &Path) -> Result<Allowed, Error> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::File(name.clone(), error))?;
        let allowed: Allowed = toml::from_str(&text).map_err(|error| Error::Toml(name.clone(), error))?;
        for (at, entry) in allowed.entries.iter().enumerate() {
            if allowed.entries.iter().take(at).any(|other| other.name == entry.name) {
                return Err(Error::Twice(name, entry.name.clone()));
            }
        }
        Ok(allowed)
    }

    /// The names of the entries that together allow an outcome; `None` when something in it is not allowed. Of a
    /// pair, every differing field must be allowed.
    pub fn judge(&mut self, outcome: &Outcome) -> Option<Vec<String>> {
        self.matched.resize(self.entries.len(), 0);
        let found = match outcome {
            Outcome::Same { .. } => return None,
            Outcome::Missing(packet) => vec![self.find(What::Missing, packet, None, None)?],
            Outcome::Extra(packet) => vec![self.find(What::Extra, packet, None, None)?],
            Outcome::Different { expected, actual, fields } => fields
                .iter()
                .map(|field| self.find(What::Different, expected, Some(actual), Some(field)))
                .collect::<Option<Vec<usize>>>()?,
        };
        let mut names = Vec::new();
        for index in found {
            if let (Some(count), Some(entry)) = (self.matched.get_mut(index), self.entries.get(index)) {
                *count += 1;
                if !names.contains(&entry.name) {
                    names.push(entry.name.clone());
                }
            }
        }
        Some(names)
    }

    /// The entries, each with how much it allowed so far.
    pub fn counts(&self) -> impl Iterator<Item = (&Entry, u64)> {
        let count = |at| self.matched.get(at).copied().unwrap_or(0);
        self.entries.iter().enumerate().map(move |(at, entry)| (entry, count(at)))
    }

    /// The entries that allowed nothing so far.
    pub fn unmatched(&self) -> impl Iterator<Item = &Entry> {
        self.counts().filter(|(_, count)| *count == 0).map(|(entry, _)| entry)
    }

    fn find(
        &self,
        what: What,
        packet: &Packet,
        partner: Option<&Packet>,
        field: Option<&Difference>,
    ) -> Option<usize> {
        self.entries.iter().position(|entry| entry.place.matches(what, packet, partner, field))
    }
}

impl Place {
    fn matches(
        &self,
        what: What,
        packet: &Packet,
        partner: Option<&Packet>,
        field: Option<&Difference>,
    ) -> bool {
        if self.what.is_some_and(|wanted| wanted != what) {
            return false;
        }
        if self.message.as_ref().is_some_and(|wanted| *wanted != packet.message()) {
            return false;
        }
        let says = |wanted: &Option<String>, value: Option<&String>| match wanted {
            None => true,
            Some(wanted) => value.is_some_and(|value| value.contains(wanted.as_str())),
        };
        let field_fits = match &self.field {
            None => true,
            Some(wanted) => field.is_some_and(|field| match wanted.strip_suffix('*') {
                Some(beginning) => field.field.starts_with(beginning),
                None => field.field == *wanted,
            }),
        };
        if !field_fits
            || !says(&self.expected, field.and_then(|field| field.expected.as_ref()))
            || !says(&self.actual, field.and_then(|field| field.actual.as_ref()))
        {
            return false;
        }
        if self.status.is_none() && self.from.is_none() && self.to.is_none() {
            return true;
        }
        let tree = packet.tree();
        let summary = &tree.summary;
        let is = |wanted: Option<Ipv6Addr>, addresses: [Ipv6Addr; 2]| {
            wanted.is_none_or(|wanted| addresses.contains(&wanted))
        };
        is(self.from, [summary.source, summary.final_source])
            && is(self.to, [summary.destination, summary.final_destination])
            && self.status.is_none_or(|wanted| {
                let partner = partner.map(Packet::tree);
                [Some(&tree), partner.as_ref()].into_iter().flatten().any(|tree| status(tree) == Some(wanted))
            })
    }
}

fn status(tree: &Tree) -> Option<u64> {
    match tree.fields.iter().rev().find(|field| field.name == "status" && !field.quoted)?.value {
        Value::Number(status) => Some(status),
        _ => None,
    }
}
