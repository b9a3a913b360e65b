//! The program `mga-node`: everything is in the library and in `cli`.
//! Design section 5 describes the command line.
//! Called by people and by service managers.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
