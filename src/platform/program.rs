//! Programs of the system that a node runs, because they speak to the kernel where no stable interface does.
//! No RFC is concerned. Called by the packet filters of the systems below `platform` (nft, ipfw).

use super::error::{Error, Trying};
use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

/// A program that must be there, and how to get it.
pub struct Program {
    pub name: &'static str,
    pub remedy: &'static str,
}

impl Program {
    /// Runs the program with `input` as its standard input and returns what it prints.
    ///
    /// # Errors
    /// [`Error::MissingProgram`] when it is not installed, [`Error::ProgramFailed`] with what it says when it refuses.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        let what = || format!("run {}", self.name);
        tracing::trace!(program = self.name, ?arguments, input, "running");
        // In a process group of its own: Ctrl-C must not kill what takes our rules back.
        let spawned = Command::new(self.name)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::MissingProgram { program: self.name, remedy: self.remedy });
            }
            spawned => spawned.trying(what)?,
        };
        if let Some(mut stdin) = child.stdin.take() {
            // A failing program closes its input early; its own message says more than our broken pipe.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().trying(what)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(Error::ProgramFailed { program: self.name, message: lines.join("; ") })
    }
}
