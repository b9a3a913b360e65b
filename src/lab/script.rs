//! What a lab is made of: its steps, what is done in each and what is claimed of the captures. Thesis section 5, Figure 10
//! and the advanced model are each one [`Lab`]. Played by `lab::run`.

use super::{Error, MissingProgram, stage::Stage, topology::Plan};
use crate::pcap::{passage::Trace, report::Finding, view::View};

/// A lab: what it shows, and in which steps.
pub struct Lab {
    /// The report's heading.
    pub title: &'static str,
    /// The report's first paragraph.
    pub summary: &'static str,
    /// Programs it drives beside those that every lab does.
    pub programs: &'static [MissingProgram],
    /// The steps in order.
    pub scripts: Vec<Script>,
    /// Which packets the ladder diagrams show.
    pub drawn: fn(&View) -> bool,
    /// What was measured in the steps together: name and value.
    pub measured: Box<dyn Fn() -> Vec<(String, String)>>,
}

/// Judges the captures of a step.
pub type Judging = Box<dyn Fn(&Trace) -> Vec<Finding>>;

/// One step of a lab.
pub struct Script {
    /// A short name, which its directory has too.
    pub name: String,
    /// What it shows.
    pub title: &'static str,
    /// On which networks.
    pub plan: fn() -> Plan,
    /// Does what is to be done.
    pub play: fn(&mut Stage<'_>) -> Result<(), Error>,
    /// Judges the captures of it.
    pub judge: Judging,
}
