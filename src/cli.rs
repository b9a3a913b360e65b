//! The command line (design section 5): turns words into settings or requests, and results into text and exit codes
//! (0 good, 1 a negative answer, 2 usage or configuration, 3 no running node). Called by `main`.

use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use ipnet::Ipv6Net;
use serde_json::Value;

use mga_node::daemon::config::{AnycastEntry, Authentication, Forwarding, Given, MemberEntry, Model, Role};
use mga_node::daemon::control::{ClientError, Connection, Request};
use mga_node::daemon::doctor::{self, Examination};
use mga_node::daemon::{self, keys, show};
#[cfg(lab)]
use mga_node::lab::{self, LabOptions, load::Load};
use mga_node::pcap::allow::Allowed;
use mga_node::pcap::capture::Capture;
use mga_node::pcap::comparison;
use mga_node::pcap::decode::{self, Filter, Form, Stop};
use mga_node::pcap::diff::Options;
use mga_node::pcap::normalise::{AddressMap, Normalisation, Strict};
use mga_node::protocol::ar::ReverseTunnelEnd;

const NEGATIVE: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// A Mobile IPv6 node that gives hosts anywhere one anycast address.
///
/// With --role it runs a node in the foreground until Ctrl-C; the subcommands talk to a running node.
#[derive(Parser)]
#[command(name = "mga-node", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    run: RunArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct RunArguments {
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

/// In thousandths, as it goes over the wire; `None` for the measured one.
#[derive(Clone, Copy)]
struct OrderedMetric(Option<u32>);

fn ordered_metric(word: &str) -> Result<OrderedMetric, String> {
    if word == "measured" {
        return Ok(OrderedMetric(None));
    }
    let most = f64::from(u32::MAX - 1) / 1000.0;
    match word.parse::<f64>() {
        // In range, as just checked.
        Ok(number) if (0.0..=most).contains(&number) => {
            Ok(OrderedMetric(Some((number * 1000.0).round() as u32)))
        }
        _ => Err(format!("say a number from 0 to {most}, or measured")),
    }
}

#[derive(Args)]
struct Target {
    /// Control socket of the node; default: the only one on this host
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a running node holds in memory
    Show {
        #[arg(value_enum)]
        what: What,
        /// rules: what the kernel holds against what the node believes; exit code 1 when they differ
        #[arg(long)]
        kernel: bool,
        /// One JSON value instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Follow a running node, one line per event
    Watch {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Make a responder register now
    Register {
        /// Only this anycast address
        #[arg(long, value_name = "ADDR")]
        anycast: Option<Ipv6Addr>,
        #[command(flatten)]
        target: Target,
    },
    /// Make a responder leave its agent, or an agent or initiator remove a binding
    Deregister {
        /// Only this anycast address
        #[arg(long, value_name = "ADDR")]
        anycast: Option<Ipv6Addr>,
        #[command(flatten)]
        target: Target,
    },
    /// Make a responder take no new sources, and leave its agents when the last one is gone; or make an agent give one
    /// of its members no new sources
    Drain {
        /// At an agent: the member at this care-of address
        #[arg(long, value_name = "CARE-OF", conflicts_with_all = ["deadline", "wait"])]
        member: Option<Ipv6Addr>,
        /// Only this anycast address
        #[arg(value_name = "ADDR")]
        anycast: Option<Ipv6Addr>,
        /// Leave after this time at the latest
        #[arg(long, value_name = "SECONDS")]
        deadline: Option<u64>,
        /// Return when it has left
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Make a responder take new sources again, or register again after a drain; or make an agent give one of its
    /// members new sources again
    Undrain {
        /// At an agent: the member at this care-of address
        #[arg(long, value_name = "CARE-OF")]
        member: Option<Ipv6Addr>,
        /// Only this anycast address
        #[arg(value_name = "ADDR")]
        anycast: Option<Ipv6Addr>,
        #[command(flatten)]
        target: Target,
    },
    /// Give a responder a metric of the operator's, whatever its application says; less is better
    Metric {
        /// A number, or `measured` to let the application speak again
        #[arg(value_name = "NUMBER|measured", value_parser = ordered_metric)]
        metric: OrderedMetric,
        /// Only this anycast address
        #[arg(long, value_name = "ADDR")]
        anycast: Option<Ipv6Addr>,
        #[command(flatten)]
        target: Target,
    },
    /// Give a responder another weight
    Weight {
        #[arg(value_name = "N")]
        weight: u16,
        /// Only this anycast address
        #[arg(long, value_name = "ADDR")]
        anycast: Option<Ipv6Addr>,
        #[command(flatten)]
        target: Target,
    },
    /// Tell where a packet between two addresses would go from this node, and why
    Explain {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        /// One JSON value
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Make a responder forget which initiators do not speak Mobile IPv6; or make an agent forget which responder a
    /// source is fixed to
    Flush {
        /// Only this initiator
        #[arg(long, value_name = "ADDR")]
        peer: Option<Ipv6Addr>,
        #[command(flatten)]
        target: Target,
    },
    /// Give a responder another care-of address, one that its interface has
    Move {
        #[arg(value_name = "ADDR")]
        care_of: Ipv6Addr,
        #[command(flatten)]
        target: Target,
    },
    /// Change who is a member of a running agent, until its next start
    Member {
        #[command(subcommand)]
        change: MemberChange,
    },
    /// Check a configuration file and the key files it names
    Check { file: PathBuf },
    /// Find out whether a node will run on this host, by doing on a scratch interface what a node does
    Doctor {
        /// The interface a node shall run on; it is looked at, not touched
        #[arg(long, value_name = "IF")]
        interface: Option<String>,
        /// What the node shall be; default: everything
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Replay the thesis's experiments on this machine
    #[cfg(lab)]
    Lab {
        #[command(subcommand)]
        scenario: Scenario,
    },
    /// Show the IPv6 packets of a capture (pcap or pcapng), a line each
    Decode(DecodeArguments),
    /// Compare two captures as protocols, not octets: 0 the same, 1 different, 2 trouble
    PcapDiff(PcapDiffArguments),
}

#[cfg(lab)]
#[derive(Subcommand)]
enum Scenario {
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

#[cfg(lab)]
#[derive(Args)]
struct LoadArguments {
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

#[cfg(lab)]
#[derive(Args)]
struct LabArguments {
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

#[derive(Subcommand)]
enum MemberChange {
    /// Let somebody be a member
    Add {
        #[command(flatten)]
        member: MemberArguments,
        #[command(flatten)]
        target: Target,
    },
    /// Refuse a member's messages and end its bindings, but keep it
    Disable {
        #[command(flatten)]
        named: Named,
    },
    /// Take a member's messages again
    Enable {
        #[command(flatten)]
        named: Named,
    },
    /// Forget a member, and end its bindings
    Remove {
        #[command(flatten)]
        named: Named,
    },
}

#[derive(Args)]
struct Named {
    /// Who, as user@realm
    #[arg(value_name = "IDENTIFIER")]
    identifier: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
struct MemberArguments {
    /// Who, as user@realm
    #[arg(value_name = "IDENTIFIER")]
    identifier: String,
    /// The number of the key, 256 or more
    #[arg(long, value_name = "N")]
    spi: u32,
    /// A file on the agent's host with 32 hexadecimal digits that only its owner can read
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// An anycast address it may serve; repeatable; default: all that the agent serves
    #[arg(long, value_name = "ADDR")]
    anycast: Vec<Ipv6Addr>,
    /// A prefix that its care-of address must be in; repeatable; default: anywhere
    #[arg(long, value_name = "PREFIX")]
    care_of: Vec<Ipv6Net>,
    /// What it says of its weight counts no more than this
    #[arg(long, value_name = "N")]
    max_weight: Option<u16>,
    /// What it says of its metric counts no less than this, in thousandths
    #[arg(long, value_name = "N")]
    min_metric: Option<u32>,
}

impl MemberArguments {
    /// The request; the agent's working directory is another one than ours.
    fn request(self) -> Result<Request, Failure> {
        let Self { identifier, spi, key_file, anycast, care_of, max_weight, min_metric } = self;
        let key_file = std::path::absolute(key_file).map_err(|error| Failure::new(USAGE, error))?;
        let member = MemberEntry {
            identifier,
            spi,
            key_file,
            anycast,
            care_of,
            max_weight,
            min_metric,
            enabled: true,
        };
        Ok(Request::AddMember { member })
    }
}

#[derive(Args)]
struct PcapDiffArguments {
    /// The capture that is right; - for standard input
    #[arg(required_unless_present = "list_normalisations")]
    expected: Option<PathBuf>,
    /// The capture to be judged
    #[arg(required_unless_present = "list_normalisations")]
    actual: Option<PathBuf>,
    /// Do not apply this normalisation (`all`: none of them); repeatable
    #[arg(long, value_name = "NAME")]
    strict: Vec<Strict>,
    /// Tell what may differ between two runs, and end
    #[arg(long)]
    list_normalisations: bool,
    /// Address or prefix A of the expected capture is B in the actual one; repeatable
    #[arg(long, value_name = "A=B")]
    map: Vec<AddressMap>,
    /// TOML file of differences that are allowed, each with its clause
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// Compare what has nothing to do with Mobile IPv6 too
    #[arg(long)]
    all: bool,
    /// Leave unanswered messages that were sent again out of both captures
    #[arg(long)]
    tolerate_retransmissions: bool,
    /// Packets per conversation that are aligned at once
    #[arg(long, value_name = "PACKETS", default_value_t = 512, value_parser = clap::value_parser!(u16).range(2..=4096))]
    window: u16,
    /// One JSON object per difference, and one for the whole
    #[arg(long)]
    json: bool,
    /// Nothing on standard output; the exit code says it
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Write a page with both captures' ladders side by side
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Args)]
struct DecodeArguments {
    /// The capture; - for standard input
    file: PathBuf,
    /// Every field of every packet
    #[arg(long, conflicts_with = "json")]
    tree: bool,
    /// One JSON object per packet
    #[arg(long)]
    json: bool,
    /// Only such packets: mobility, related, icmpv6, tunnelled, malformed, brr, hoti, coti, hot, cot, bu, ba, be or
    /// an address; repeatable, all must hold
    #[arg(long, value_name = "WORD")]
    filter: Vec<Filter>,
}

/// So many fixed sources of an anycast address are shown.
const MOST_SOURCES: usize = 100;

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// haa, ai: the binding cache
    Bindings,
    /// ar: the binding update list
    Updates,
    /// haa, maa: who may be a member, and who is one of which anycast address
    Members,
    /// haa, maa: which source is fixed to which member
    Affinity,
    /// The packet rewrites in force, with counters
    Rules,
    /// Counters
    Stats,
    /// What the node waits for
    Timers,
    /// What the node runs with
    Config,
}

impl What {
    fn request(self) -> (&'static str, Request) {
        match self {
            What::Bindings => ("bindings", Request::ShowBindings),
            What::Updates => ("updates", Request::ShowUpdates),
            What::Members => ("members", Request::ShowMembers),
            What::Affinity => ("affinity", Request::ShowAffinity { most: MOST_SOURCES }),
            What::Rules => ("rules", Request::ShowRules),
            What::Stats => ("stats", Request::ShowStats),
            What::Timers => ("timers", Request::ShowTimers),
            What::Config => ("config", Request::ShowConfig),
        }
    }
}

/// Parses the process's arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        None => run(cli.run),
        Some(command) => carry_out(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                eprintln!("mga-node: {}", lines.join("; "));
            }
            ExitCode::from(code)
        }
    }
}

/// Help and version are answers; everything else that clap says becomes one line on standard error.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that went away is not an error.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(USAGE)
        }
        _ => {
            let text = error.render().to_string();
            let lines = text.lines().map(str::trim).filter(|line| {
                !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more information")
            });
            let message = lines.collect::<Vec<_>>().join("; ");
            eprintln!("mga-node: {}", message.strip_prefix("error: ").unwrap_or(&message));
            ExitCode::from(USAGE)
        }
    }
}

struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::Ambiguous(_) => USAGE,
            ClientError::Refused(_) => NEGATIVE,
            ClientError::Unreachable { .. } | ClientError::NoSocket | ClientError::Gone => UNREACHABLE,
        };
        Self::new(code, error)
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

fn run(mut arguments: RunArguments) -> Result<(), Failure> {
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

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Show { what, kernel, json, target } => {
            let (name, request) = match (what, kernel) {
                (What::Rules, true) => ("kernel rules", Request::ShowKernelRules),
                (_, true) => return Err(Failure::new(USAGE, "--kernel is for show rules")),
                _ => what.request(),
            };
            let answer = Connection::open(target.control.as_deref())?.ask(&request)?;
            print(&if json { answer.to_string() + "\n" } else { show::text(name, &answer) })?;
            let differs = |row: &Value| row.get("kernel").is_some_and(|state| state != "same");
            let rows = answer.get("rules").filter(|_| kernel).and_then(Value::as_array);
            let differ = rows.is_some_and(|rows| rows.iter().any(differs));
            if differ {
                Err(Failure::new(NEGATIVE, "the kernel does not hold what the node believes"))
            } else {
                Ok(())
            }
        }
        Command::Watch { json, target } => {
            let mut connection = Connection::open(target.control.as_deref())?;
            connection.ask(&Request::Watch)?;
            while let Some(event) = connection.next_line()? {
                print(&(if json { event.to_string() } else { show::event(&event) } + "\n"))?;
            }
            Ok(())
        }
        Command::Register { anycast, target } => order(&target, &Request::Register { anycast }),
        Command::Deregister { anycast, target } => order(&target, &Request::Deregister { anycast }),
        Command::Move { care_of, target } => order(&target, &Request::Move { care_of }),
        Command::Drain { member: Some(care_of), anycast, target, .. } => {
            order(&target, &Request::DrainMember { anycast, care_of })
        }
        Command::Undrain { member: Some(care_of), anycast, target } => {
            order(&target, &Request::UndrainMember { anycast, care_of })
        }
        Command::Explain { source, destination, json, target } => {
            let request = Request::Explain { source, destination };
            let answer = Connection::open(target.control.as_deref())?.ask(&request)?;
            print(&if json { format!("{answer}\n") } else { show::text("explain", &answer) })
        }
        Command::Drain { anycast, deadline, wait, target, .. } => {
            order(&target, &Request::Drain { anycast, deadline })?;
            if wait { wait_for_drain(&target, anycast) } else { Ok(()) }
        }
        Command::Undrain { anycast, target, .. } => order(&target, &Request::Undrain { anycast }),
        Command::Metric { metric, anycast, target } => {
            order(&target, &Request::Metric { anycast, metric: metric.0 })
        }
        Command::Weight { weight, anycast, target } => order(&target, &Request::Weight { anycast, weight }),
        Command::Flush { peer, target } => order(&target, &Request::FlushPeers { peer }),
        Command::Member { change } => match change {
            MemberChange::Add { member, target } => order(&target, &member.request()?),
            MemberChange::Disable { named: Named { identifier, target } } => {
                order(&target, &Request::DisableMember { identifier })
            }
            MemberChange::Enable { named: Named { identifier, target } } => {
                order(&target, &Request::EnableMember { identifier })
            }
            MemberChange::Remove { named: Named { identifier, target } } => {
                order(&target, &Request::RemoveMember { identifier })
            }
        },
        Command::Decode(arguments) => decode(&arguments),
        Command::PcapDiff(arguments) => pcap_diff(&arguments),
        Command::Check { file } => {
            // A file that cannot be used is the negative answer of a check.
            let checked = Given::read(&file).and_then(Given::settle);
            let settings = checked.map_err(|error| Failure::new(NEGATIVE, error))?;
            keys::check(&settings).map_err(|error| Failure::new(NEGATIVE, error))?;
            print(&format!("{}: a good configuration for role {}\n", file.display(), settings.role.role()))
        }
        Command::Doctor { interface, role, json } => {
            let examination = Examination { interface, role, json };
            match doctor::run(&examination, &mut io::stdout()) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failure::new(NEGATIVE, "")),
                // Whoever closed the pipe has read enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                Err(error) => Err(Failure::new(NEGATIVE, format!("standard output: {error}"))),
            }
        }
        #[cfg(lab)]
        Command::Lab { scenario } => match scenario {
            Scenario::Section5 { lab, hosts } => play("section5", lab, hosts, lab::section5),
            Scenario::Figure10(arguments) => play("figure10", arguments, None, lab::figure10),
            Scenario::Advanced { lab, rounds } => play("advanced", lab, None, |options| match rounds {
                Some(rounds) => lab::rounds(options, rounds),
                None => lab::advanced(options),
            }),
            Scenario::Load(LoadArguments { anycast, first, sources, fresh, rate, count }) => {
                // Unlike that of a load before, whose answers may still be on their way.
                let identifier = (std::process::id() & 0xffff) as u16;
                let load = Load { anycast, first, sources, fresh, rate, count, identifier };
                load.send().map_err(|error| Failure::new(USAGE, format!("cannot send: {error}")))
            }
        },
    }
}

#[cfg(lab)]
fn play(
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

fn decode(arguments: &DecodeArguments) -> Result<(), Failure> {
    let form = match (arguments.tree, arguments.json) {
        (true, _) => Form::Tree,
        (_, true) => Form::Json,
        _ => Form::Line,
    };
    let name = arguments.file.display().to_string();
    let trouble = |error: &dyn std::error::Error| Failure::new(USAGE, format!("{name}: {error}"));
    let frames = capture(&arguments.file)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = decode::decode(frames, form, &arguments.filter, &mut out);
    let done = done.and_then(|_| Ok(out.flush()?));
    match done {
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(trouble(&error)),
        Ok(()) => Ok(()),
    }
}

fn pcap_diff(arguments: &PcapDiffArguments) -> Result<(), Failure> {
    if arguments.list_normalisations {
        let line = |normalisation: Normalisation| format!("{normalisation:<26}{}\n", normalisation.meaning());
        return print(&Normalisation::ALL.map(line).concat());
    }
    let (Some(expected), Some(actual)) = (&arguments.expected, &arguments.actual) else {
        return Err(Failure::new(USAGE, "name two captures"));
    };
    let names = [expected.display().to_string(), actual.display().to_string()];
    let mut allowed = match &arguments.allow {
        Some(file) => Allowed::open(file).map_err(|error| Failure::new(USAGE, error))?,
        None => Allowed::default(),
    };
    let options = Options {
        strict: arguments.strict.iter().fold(Strict::default(), |all, one| all.and(*one)),
        maps: arguments.map.clone(),
        all: arguments.all,
        tolerate_retransmissions: arguments.tolerate_retransmissions,
        window: arguments.window.into(),
        ..Options::default()
    };
    let form = match (arguments.json, arguments.quiet) {
        (true, _) => comparison::Form::Json,
        (_, true) => comparison::Form::Quiet,
        _ => comparison::Form::Text,
    };
    let (expected, actual) = (capture(expected)?, capture(actual)?);
    let captures = comparison::Captures { expected, actual, names: [&names[0], &names[1]] };
    let mut out = BufWriter::new(io::stdout().lock());
    let html = arguments.html.is_some();
    let done = comparison::run(captures, &options, &mut allowed, form, html, &mut out);
    let done = done.and_then(|verdict| out.flush().map(|()| verdict).map_err(comparison::Stop::Output));
    let verdict = match done {
        Err(comparison::Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            // Whoever closed the pipe knows already that there is a difference.
            return Err(Failure::new(NEGATIVE, ""));
        }
        done => done.map_err(|error| Failure::new(USAGE, error))?,
    };
    if let (Some(file), Some(page)) = (&arguments.html, &verdict.html) {
        std::fs::write(file, page)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", file.display())))?;
    }
    if verdict.is_same() { Ok(()) } else { Err(Failure::new(NEGATIVE, "")) }
}

/// A capture file, or standard input for `-`.
fn capture(file: &Path) -> Result<Capture<Box<dyn io::Read + Send>>, Failure> {
    let reader: Box<dyn io::Read + Send> = if file == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = std::fs::File::open(file)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", file.display())))?;
        Box::new(BufReader::with_capacity(1 << 18, opened))
    };
    Capture::new(reader).map_err(|error| Failure::new(USAGE, format!("{}: {error}", file.display())))
}

fn order(target: &Target, request: &Request) -> Result<(), Failure> {
    let answer: Value = Connection::open(target.control.as_deref())?.ask(request)?;
    match answer.get("done") {
        Some(Value::Bool(true)) => Ok(()),
        _ => Err(Failure::new(NEGATIVE, "the node did not do it")),
    }
}

/// Returns when the node drains nothing any more, of `only` or of all it serves; a node that ends has drained too.
fn wait_for_drain(target: &Target, only: Option<Ipv6Addr>) -> Result<(), Failure> {
    let mut connection = Connection::open(target.control.as_deref())?;
    loop {
        let updates = match connection.ask(&Request::ShowUpdates) {
            Err(ClientError::Gone) => return Ok(()),
            updates => updates?,
        };
        let services =
            updates.get("services").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |service: &Value, key: &str| service.get(key).and_then(Value::as_str).map(str::to_owned);
        let is_meant =
            |service: &Value| only.is_none_or(|only| text(service, "anycast") == Some(only.to_string()));
        if !services
            .iter()
            .any(|service| is_meant(service) && text(service, "stage").as_deref() == Some("draining"))
        {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Writes to standard output; a reader that went away is not an error.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Failure { code: 0, message: String::new() })
        }
        Err(error) => Err(Failure::new(NEGATIVE, format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
