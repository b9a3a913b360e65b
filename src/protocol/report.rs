//! What a role tells its operator: one value per thing that happened, with the peer, the addresses, the sequence
//! number and, for a refusal, the RFC clause. It is what `watch` prints and the log records.
//! Produced by the roles, carried by [`Action::Report`](super::action::Action), rendered by `daemon`.

use std::fmt;
use std::net::Ipv6Addr;

use serde::Serialize;

/// How much an operator should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Routine detail.
    Debug,
    /// Something changed as intended.
    Info,
    /// Something was refused or failed; service may be affected.
    Warning,
}

/// One event. Absent fields do not apply; lifetimes are seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub severity: Severity,
    /// A stable word for programs, e.g. `binding-accepted`.
    pub event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anycast: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub care_of: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<usize>,
    /// A responder's own measure, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Why, for people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    /// The clause that decided, e.g. `RFC 3775 9.5.1`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub clause: &'static str,
}

impl Report {
    fn new(severity: Severity, event: &'static str) -> Self {
        Self {
            severity,
            event,
            anycast: None,
            care_of: None,
            peer: None,
            sequence: None,
            status: None,
            lifetime: None,
            sources: None,
            metric: None,
            reason: "",
            clause: "",
        }
    }

    /// A routine detail.
    pub fn debug(event: &'static str) -> Self {
        Self::new(Severity::Debug, event)
    }

    /// A change that was intended.
    pub fn info(event: &'static str) -> Self {
        Self::new(Severity::Info, event)
    }

    /// A refusal or failure.
    pub fn warning(event: &'static str) -> Self {
        Self::new(Severity::Warning, event)
    }

    /// Names the anycast address.
    pub fn anycast(mut self, address: Ipv6Addr) -> Self {
        self.anycast = Some(address);
        self
    }

    /// Names the care-of address.
    pub fn care_of(mut self, address: Ipv6Addr) -> Self {
        self.care_of = Some(address);
        self
    }

    /// Names the other node.
    pub fn peer(mut self, address: Ipv6Addr) -> Self {
        self.peer = Some(address);
        self
    }

    /// Names the sequence number.
    pub fn sequence(mut self, number: u16) -> Self {
        self.sequence = Some(number);
        self
    }

    /// Names a metric in thousandths.
    pub fn metric(mut self, thousandths: u32) -> Self {
        self.metric = Some(thousandths);
        self
    }

    /// Names the status of RFC 3775 6.1.8 or 6.1.9.
    pub fn status(mut self, status: u8) -> Self {
        self.status = Some(status);
        self
    }

    /// Names the lifetime in seconds.
    pub fn lifetime(mut self, seconds: u32) -> Self {
        self.lifetime = Some(seconds);
        self
    }

    /// Names a number of sources.
    pub fn sources(mut self, count: usize) -> Self {
        self.sources = Some(count);
        self
    }

    /// Says why, and which clause wants it.
    pub fn because(mut self, reason: &'static str, clause: &'static str) -> Self {
        self.reason = reason;
        self.clause = clause;
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.event)?;
        if let Some(address) = self.anycast {
            write!(f, " anycast {address}")?;
        }
        if let Some(address) = self.care_of {
            write!(f, " care-of {address}")?;
        }
        if let Some(address) = self.peer {
            write!(f, " peer {address}")?;
        }
        if let Some(number) = self.sequence {
            write!(f, " sequence {number}")?;
        }
        if let Some(status) = self.status {
            write!(f, " status {status}")?;
        }
        if let Some(seconds) = self.lifetime {
            write!(f, " lifetime {seconds}s")?;
        }
        if let Some(thousandths) = self.metric {
            write!(f, " metric {thousandths}")?;
        }
        if let Some(count) = self.sources {
            write!(f, " sources {count}")?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        if !self.clause.is_empty() {
            write!(f, " ({})", self.clause)?;
        }
        Ok(())
    }
}
