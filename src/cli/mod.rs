//! The command line (design section 5): turns words into settings or requests, and results into text and exit codes
//! (0 good, 1 a negative answer, 2 usage or configuration, 3 no running node). Called by `main`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mga_node::daemon::config::{Given, Role};
use mga_node::daemon::control::ClientError;
use mga_node::daemon::doctor::{self, Examination};
use mga_node::daemon::keys;

use captures::{DecodeArguments, PcapDiffArguments};
use node::RunArguments;
use orders::Order;

mod captures;
#[cfg(lab)]
mod lab;
mod node;
mod orders;

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

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Order(Order),
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
        scenario: lab::Scenario,
    },
    /// Show the IPv6 packets of a capture (pcap or pcapng), a line each
    Decode(DecodeArguments),
    /// Compare two captures as protocols, not octets: 0 the same, 1 different, 2 trouble
    PcapDiff(PcapDiffArguments),
}

/// Parses the process's arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        None => node::run(cli.run),
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

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Order(order) => orders::carry_out(order),
        Command::Decode(arguments) => captures::decode(&arguments),
        Command::PcapDiff(arguments) => captures::pcap_diff(&arguments),
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
        Command::Lab { scenario } => lab::play(scenario),
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
