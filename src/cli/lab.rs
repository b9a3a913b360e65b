//! `mga-node lab`: the thesis's experiments on this machine (docs/lab.md), and the load that they have their machines send.
//! Only in builds with labs.
//! Called by `cli`.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mga_node::daemon::config::Forwarding;
use mga_node::lab::{self, LabOptions, load::Load};

use super::{Failure, NEGATIVE, USAGE, print};

#[derive(Subcommand)]
pub(super) enum Scenario {
    /// Section 5: Figures 11 to 14 in network namespaces, with real ping and telnet
    Section5 {
        #[command(flatten)]
        lab: LabArguments,
        /// TOML file of six machines, each with its ssh target, interface and system, in place of network namespaces
        #[arg(long, value_name = "FILE", conflicts_with = "keep")]
        hosts: Option<PathBuf>,
    },
    /// Figure 10: midway agents on networks whose routers run BIRD
    Figure10(LabArguments),
    /// The advanced model: several responders behind one address, chosen, kept, drained, killed
    Advanced {
        #[command(flatten)]
        lab: LabArguments,
        /// Kill a responder and end one under 1,000 requests a second so many times, and tell median and worst
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        rounds: Option<u16>,
    },
    /// Send echo requests from many sources, as the labs have their machines do
    #[command(hide = true)]
    Load(LoadArguments),
}

#[derive(Args)]
pub(super) struct LoadArguments {
    /// Where to
    anycast: Ipv6Addr,
    /// The first source; it and those after it must be routed to this host
    #[arg(long, value_name = "ADDR")]
    first: Ipv6Addr,
    /// So many sources take turns
    #[arg(long, value_name = "N")]
    sources: u16,
    /// Every second request comes from a source that has never sent before
    #[arg(long)]
    fresh: bool,
    /// Requests per second
    #[arg(long, value_name = "N")]
    rate: u32,
    /// Requests in all; default: until ended
    #[arg(long, value_name = "N")]
    count: Option<u32>,
}

#[derive(Args)]
pub(super) struct LabArguments {
    /// Where captures, logs and the report go; default: out/ and the lab's name
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Leave the namespaces for inspection until the next start
    #[arg(long)]
    keep: bool,
    /// Who carries the packet rewrites out in every node
    #[arg(long, value_enum, default_value_t)]
    forwarding: Forwarding,
    /// One JSON value at the end instead of progress
    #[arg(long)]
    json: bool,
}

/// Plays what was asked for.
pub(super) fn play(scenario: Scenario) -> Result<(), Failure> {
    match scenario {
        Scenario::Section5 { lab, hosts } => on_this_machine("section5", lab, hosts, lab::section5),
        Scenario::Figure10(arguments) => on_this_machine("figure10", arguments, None, lab::figure10),
        Scenario::Advanced { lab, rounds } => {
            on_this_machine("advanced", lab, None, |options| match rounds {
                Some(rounds) => lab::rounds(options, rounds),
                None => lab::advanced(options),
            })
        }
        Scenario::Load(LoadArguments { anycast, first, sources, fresh, rate, count }) => {
            // Unlike that of a load before, whose answers may still be on their way.
            let identifier = (std::process::id() & 0xffff) as u16;
            let load = Load { anycast, first, sources, fresh, rate, count, identifier };
            load.send().map_err(|error| Failure::new(USAGE, format!("cannot send: {error}")))
        }
    }
}

fn on_this_machine(
    name: &str,
    arguments: LabArguments,
    hosts: Option<PathBuf>,
    lab: impl FnOnce(&LabOptions) -> Result<lab::Outcome, lab::Error>,
) -> Result<(), Failure> {
    let LabArguments { out, keep, forwarding, json } = arguments;
    let out = out.unwrap_or_else(|| Path::new("out").join(name));
    let options =
        LabOptions { out, keep, forwarding: forwarding.to_string(), program: None, quiet: json, hosts };
    let outcome =
        lab(&options).map_err(|error| Failure { code: error.exit_code(), message: error.to_string() })?;
    if json {
        print(&(serde_json::json!(outcome).to_string() + "\n"))?;
    }
    // What did not hold was said already, claim by claim.
    outcome.held().then_some(()).ok_or(Failure { code: NEGATIVE, message: String::new() })
}
