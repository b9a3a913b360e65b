//! The subcommands that talk to a running node by its control socket: what it shows, what it is told to do.
//! Exit code 3 means that no node is running.
//! Called by `cli`.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::Ipv6Net;
use mga_node::daemon::config::MemberEntry;
use mga_node::daemon::control::{ClientError, Connection, Request};
use mga_node::daemon::show;
use serde_json::Value;

use super::{Failure, NEGATIVE, USAGE, print};

#[derive(Subcommand)]
pub(super) enum Order {
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
}

#[derive(Args)]
pub(super) struct Target {
    /// Control socket of the node; default: the only one on this host
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// In thousandths, as it goes over the wire; `None` for the measured one.
#[derive(Clone, Copy)]
pub(super) struct OrderedMetric(Option<u32>);

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

#[derive(Subcommand)]
pub(super) enum MemberChange {
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
pub(super) struct Named {
    /// Who, as user@realm
    #[arg(value_name = "IDENTIFIER")]
    identifier: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
pub(super) struct MemberArguments {
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

/// So many fixed sources of an anycast address are shown.
const MOST_SOURCES: usize = 100;

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum What {
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

/// Does what was ordered.
pub(super) fn carry_out(order: Order) -> Result<(), Failure> {
    match order {
        Order::Show { what, kernel, json, target } => {
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
        Order::Watch { json, target } => {
            let mut connection = Connection::open(target.control.as_deref())?;
            connection.ask(&Request::Watch)?;
            while let Some(event) = connection.next_line()? {
                print(&(if json { event.to_string() } else { show::event(&event) } + "\n"))?;
            }
            Ok(())
        }
        Order::Register { anycast, target } => tell(&target, &Request::Register { anycast }),
        Order::Deregister { anycast, target } => tell(&target, &Request::Deregister { anycast }),
        Order::Move { care_of, target } => tell(&target, &Request::Move { care_of }),
        Order::Drain { member: Some(care_of), anycast, target, .. } => {
            tell(&target, &Request::DrainMember { anycast, care_of })
        }
        Order::Undrain { member: Some(care_of), anycast, target } => {
            tell(&target, &Request::UndrainMember { anycast, care_of })
        }
        Order::Explain { source, destination, json, target } => {
            let request = Request::Explain { source, destination };
            let answer = Connection::open(target.control.as_deref())?.ask(&request)?;
            print(&if json { format!("{answer}\n") } else { show::text("explain", &answer) })
        }
        Order::Drain { anycast, deadline, wait, target, .. } => {
            tell(&target, &Request::Drain { anycast, deadline })?;
            if wait { wait_for_drain(&target, anycast) } else { Ok(()) }
        }
        Order::Undrain { anycast, target, .. } => tell(&target, &Request::Undrain { anycast }),
        Order::Metric { metric, anycast, target } => {
            tell(&target, &Request::Metric { anycast, metric: metric.0 })
        }
        Order::Weight { weight, anycast, target } => tell(&target, &Request::Weight { anycast, weight }),
        Order::Flush { peer, target } => tell(&target, &Request::FlushPeers { peer }),
        Order::Member { change } => match change {
            MemberChange::Add { member, target } => tell(&target, &member.request()?),
            MemberChange::Disable { named: Named { identifier, target } } => {
                tell(&target, &Request::DisableMember { identifier })
            }
            MemberChange::Enable { named: Named { identifier, target } } => {
                tell(&target, &Request::EnableMember { identifier })
            }
            MemberChange::Remove { named: Named { identifier, target } } => {
                tell(&target, &Request::RemoveMember { identifier })
            }
        },
    }
}

fn tell(target: &Target, request: &Request) -> Result<(), Failure> {
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
