//! `mga-node --role ...`: the words of the command line over those of the file, the log, and a node in the foreground.
//! docs/configuration.md explains every word.
//! Called by `cli` when there is no subcommand.

use std::io::{self, IsTerminal};
use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use ipnet::Ipv6Net;
use mga_node::daemon;
use mga_node::daemon::config::{AnycastEntry, Authentication, Forwarding, Given, Model, Role};
use mga_node::protocol::ar::ReverseTunnelEnd;

use super::{Failure, NEGATIVE, USAGE};

#[derive(Args)]
pub(super) struct RunArguments {
    /// What this node is: home or midway anycast agent, anycast responder or anycast initiator
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// TOML file with the same words; the command line wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The link
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// haa, maa: own agent address; ar: the agent to register with (`::` discovers one)
    #[arg(long, value_name = "ADDR")]
    agent: Option<Ipv6Addr>,
    /// An anycast address; repeatable
    #[arg(long, value_name = "ADDR")]
    anycast: Vec<Ipv6Addr>,
    /// ar: this host's unicast address; default: the interface's first global address
    #[arg(long, value_name = "ADDR")]
    care_of: Option<Ipv6Addr>,
    /// The model of the anycast addresses on this command line
    #[arg(long, value_enum)]
    model: Option<Model>,
    /// ar: lifetime to ask for, a multiple of 4 seconds
    #[arg(long, value_name = "SECONDS")]
    lifetime: Option<u32>,
    /// ar: first sequence number; default random
    #[arg(long, value_name = "N")]
    initial_sequence: Option<u16>,
    /// haa, maa, ar: how Binding Updates are authenticated; must be said
    #[arg(long, value_enum)]
    authentication: Option<Authentication>,
    /// ar: the name under which the agents know this responder, as user@realm
    #[arg(long, value_name = "IDENTIFIER")]
    identifier: Option<String>,
    /// ar: the number of its key
    #[arg(long, value_name = "N")]
    spi: Option<u32>,
    /// ar: the file with its key, 32 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Control socket; default /run/mga-node/ROLE-INTERFACE.sock
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Who carries the packet rewrites out
    #[arg(long, value_enum)]
    forwarding: Option<Forwarding>,
    /// haa, maa: a home prefix; repeatable; default of haa: the interface's prefixes, of maa: the anycast addresses
    #[arg(long, value_name = "PREFIX")]
    home_prefix: Vec<Ipv6Net>,
    /// ar: length of the home prefix, for agent discovery
    #[arg(long, value_name = "LENGTH")]
    home_prefix_length: Option<u8>,
    /// haa, maa: longest lifetime granted
    #[arg(long, value_name = "SECONDS")]
    max_lifetime: Option<u32>,
    /// haa, maa, ai: bindings held at most
    #[arg(long, value_name = "N")]
    max_bindings: Option<usize>,
    /// maa: protocol number of the routes that a routing daemon is to pass on; default 77
    #[arg(long, value_name = "N")]
    route_protocol: Option<u8>,
    /// haa: acknowledge first registrations without probing the home link for the address
    #[arg(long)]
    no_duplicate_address_detection: bool,
    /// haa: own place in discovery replies, as in the Home Agent Information that the host advertises
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    preference: Option<i16>,
    /// haa: the refresh interval advised in acknowledgements
    #[arg(long, value_name = "SECONDS")]
    refresh_advice: Option<u32>,
    /// haa: tell no prefixes of the home link
    #[arg(long)]
    no_mobile_prefix_advertisements: bool,
    /// ar: keep to the tunnel; ai: answer Mobile IPv6 like a host that does not know it
    #[arg(long)]
    no_route_optimisation: bool,
    /// ar: where reverse-tunnelled packets are sent
    #[arg(long, value_name = "agent|anycast", value_parser = reverse_tunnel_end)]
    reverse_tunnel_end: Option<ReverseTunnelEnd>,
    /// More log; twice for everything
    #[arg(long, short, action = ArgAction::Count)]
    verbose: u8,
}

fn reverse_tunnel_end(word: &str) -> Result<ReverseTunnelEnd, String> {
    match word {
        "agent" => Ok(ReverseTunnelEnd::Agent),
        "anycast" => Ok(ReverseTunnelEnd::Anycast),
        _ => Err("say agent (RFC 3775 10.4.5) or anycast (thesis 4.2.1)".to_owned()),
    }
}

impl RunArguments {
    fn given(self) -> Given {
        let model = self.model.unwrap_or_default();
        let entry = |address| AnycastEntry { model, ..AnycastEntry::of(address) };
        Given {
            role: self.role,
            interface: self.interface,
            agent: self.agent,
            anycast: self.anycast.into_iter().map(entry).collect(),
            care_of: self.care_of,
            lifetime: self.lifetime,
            initial_sequence: self.initial_sequence,
            authentication: self.authentication,
            identifier: self.identifier,
            spi: self.spi,
            key_file: self.key_file,
            control: self.control,
            forwarding: self.forwarding,
            home_prefix: self.home_prefix,
            home_prefix_length: self.home_prefix_length,
            max_lifetime: self.max_lifetime,
            max_bindings: self.max_bindings,
            route_protocol: self.route_protocol,
            duplicate_address_detection: self.no_duplicate_address_detection.then_some(false),
            preference: self.preference,
            refresh_advice: self.refresh_advice,
            mobile_prefix_advertisements: self.no_mobile_prefix_advertisements.then_some(false),
            route_optimisation: self.no_route_optimisation.then_some(false),
            reverse_tunnel_end: self.reverse_tunnel_end,
            ..Given::default()
        }
    }
}

pub(super) fn run(mut arguments: RunArguments) -> Result<(), Failure> {
    let verbose = arguments.verbose;
    let usage = |error: &dyn std::error::Error| Failure::new(USAGE, error);
    let file = match arguments.config.take() {
        Some(path) => Given::read(&path).map_err(|error| usage(&error))?,
        None => Given::default(),
    };
    let settings = arguments.given().over(file).settle().map_err(|error| usage(&error))?;
    start_log(verbose);
    daemon::run(settings)
        .map_err(|error| Failure::new(if error.ended_a_running_node() { NEGATIVE } else { USAGE }, error))
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // Fails only when a log exists already, which is then the one to use.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .try_init();
}
