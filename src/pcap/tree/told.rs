//! How a tree is told: as text, a line per field, and as JSON; values in the form that a person or a program wants them.
//! What a number stands for beside itself (RFC 3775 6.1.7: units of 4 seconds) is a note.
//! Asked by `decode` and by the comparison of captures.

use std::fmt::{self, Write};

use serde_json::{Value as Json, json};

use super::{Field, Tree, Unit, Value};
use crate::wire::mobility::Lifetime;

impl Tree {
    /// The tree as text, a line per field, two blanks per depth.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for field in &self.fields {
            let indent = usize::from(field.depth) * 2 + 2;
            let _ = match &field.value {
                // Writing to a string cannot fail.
                Value::Group if field.name == "frame" => writeln!(text, "{:indent$}{}", "", field.name),
                Value::Group => writeln!(text, "{:indent$}{} @{}", "", field.name, field.offset),
                _ => writeln!(text, "{:indent$}{}: {field}", "", field.name),
            };
        }
        text
    }

    /// The tree as JSON: an array of objects with `name`, `offset`, and `value` or `fields`.
    pub fn json(&self) -> Json {
        fn children(fields: &[Field], at: &mut usize, depth: u8) -> Vec<Json> {
            let mut list = Vec::new();
            while let Some(field) = fields.get(*at).filter(|field| field.depth >= depth) {
                *at += 1;
                let mut object = json!({ "name": field.name, "offset": field.offset });
                match field.json() {
                    None => object["fields"] = Json::Array(children(fields, at, field.depth + 1)),
                    Some(value) => object["value"] = value,
                }
                if let Some(note) = field.note() {
                    object["note"] = Json::String(note);
                }
                list.push(object);
            }
            list
        }
        Json::Array(children(&self.fields, &mut 0, 0))
    }
}

impl Field {
    /// The value as JSON; `None` for a group.
    pub fn json(&self) -> Option<Json> {
        Some(match &self.value {
            Value::Group => return None,
            // JSON readers commonly keep 53 bits only, too few for cookies and tokens.
            Value::Bits(bits, 9..) => json!(format!("0x{bits:016x}")),
            Value::Number(number) | Value::Bits(number, _) | Value::Flags(number, ..) => json!(number),
            Value::Missing(number) => json!(number),
            Value::Checksum(sum, _) => json!(sum),
            Value::Address(address) => json!(address.to_string()),
            Value::Octets(octets) => json!(hex(octets)),
            Value::Malformed(kind) => json!(kind.to_string()),
        })
    }

    /// What a person wants to know beside the value: seconds, a name, the letters of flags, a wrong checksum.
    pub fn note(&self) -> Option<String> {
        match (&self.value, self.unit) {
            (Value::Number(units), Unit::FourSeconds) => {
                Some(format!("{} s", units * u64::from(Lifetime::UNIT)))
            }
            (Value::Number(_), Unit::Seconds) => Some("s".to_owned()),
            (Value::Number(_), Unit::Milliseconds) => Some("ms".to_owned()),
            (Value::Number(_), Unit::Named(name)) => Some(name.to_owned()),
            (Value::Flags(bits, _, letters), _) => {
                let set: String =
                    letters.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect();
                (!set.is_empty()).then_some(set)
            }
            (Value::Checksum(_, Some(true)), _) => Some("right".to_owned()),
            (Value::Checksum(_, Some(false)), _) => Some("WRONG".to_owned()),
            _ => None,
        }
    }
}

/// The value, as [`Tree::text`] shows it behind the name.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Group => f.write_str("present"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Bits(bits, digits) | Value::Flags(bits, digits, _) => {
                write!(f, "0x{bits:0width$x}", width = usize::from(*digits))
            }
            Value::Checksum(sum, _) => write!(f, "0x{sum:04x}"),
            Value::Address(address) => write!(f, "{address}"),
            Value::Octets(octets) if octets.is_empty() => f.write_str("(no octets)"),
            Value::Octets(octets) if octets.len() > 64 => {
                write!(f, "{}... ({} octets)", hex(octets.get(..64).unwrap_or_default()), octets.len())
            }
            Value::Octets(octets) => f.write_str(&hex(octets)),
            Value::Malformed(kind) => write!(f, "{kind} at octet {}", self.offset),
            Value::Missing(count) => write!(f, "{count} octets"),
        }?;
        match self.note() {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}
