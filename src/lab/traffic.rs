//! The two applications of thesis section 5: ping for one-shot and telnet for continuous communication.
//! Both are the system's own programs, unchanged; telnet is driven like a user types, against a real telnetd.
//! `lab::section5` runs them on the initiators' and responders' machines.

use std::{fs::OpenOptions, path::Path, time::Duration};

use rexpect::{
    reader::Options,
    session::{PtySession, spawn_with_options},
};

use super::{
    Error, Interruption, Trying,
    figure11::ANYCAST,
    machine::{Machine, System, TelnetService},
};

/// How long telnet may take to print what is expected.
const ANSWER: Duration = Duration::from_secs(5);

/// What the shell on a responder prompts with.
const PROMPT: &str = r"AR[12]\$ ";

/// Pings A_Any `count` times, five times a second, and returns how many were answered. The output is added to `log`.
///
/// # Errors
/// When ping cannot be started, or [`Error::Interrupted`].
pub fn ping(
    machine: &dyn Machine,
    count: u16,
    log: &Path,
    interruption: &Interruption,
) -> Result<u16, Error> {
    let what = || format!("write {}", log.display());
    let file = OpenOptions::new().create(true).append(true).open(log).trying(what)?;
    let begin = file.metadata().trying(what)?.len();
    let quiet = OpenOptions::new().write(true).open("/dev/null").trying(|| "open /dev/null".to_owned())?;
    let (count_argument, limit) = (count.to_string(), (count / 5 + 3).to_string());
    // -n: no names; -w: an end in any case.
    let words = match machine.system() {
        System::Linux => {
            vec!["ping", "-6", "-n", "-i", "0.2", "-W", "1", "-c", &count_argument, "-w", &limit]
        }
        System::FreeBsd => vec!["ping6", "-n", "-i", "0.2", "-c", &count_argument],
    };
    let anycast = ANYCAST.to_string();
    let mut ping = machine.start(&[&words[..], &[&anycast]].concat(), file.into(), quiet.into())?;
    let limit = Duration::from_secs(u64::from(count) / 5 + 5);
    let exited = || ping.exited().trying(|| "wait for ping".to_owned());
    match (interruption.wait_for("the end of ping", limit, exited), machine.system()) {
        // FreeBSD's waits ten seconds for answers that are missing: they are counted without it.
        (Ok(_), _) | (Err(Error::Step(_)), System::FreeBsd) => drop(ping),
        (Err(error), _) => return Err(error),
    }
    let output = std::fs::read(log).trying(|| format!("read {}", log.display()))?;
    let output = output.get(usize::try_from(begin).unwrap_or(0)..).unwrap_or_default();
    let answers =
        String::from_utf8_lossy(output).lines().filter(|line| line.contains(" bytes from ")).count();
    Ok(u16::try_from(answers).unwrap_or(u16::MAX))
}

/// Serves telnet on a responder until the value is dropped. In place of the login there is a shell that knows which
/// responder it is on.
///
/// # Errors
/// When the port cannot be had or the shell's script not be written.
pub fn serve_telnet(machine: &dyn Machine) -> Result<Box<dyn TelnetService>, Error> {
    let text = format!("#!/bin/sh\nPS1='{0}$ ' RESPONDER={0} exec /bin/sh -i\n", machine.name());
    let shell = machine.write_script(&format!("shell-{}", machine.file_name()), &text)?;
    machine.serve_telnet(&shell)
}

/// A telnet session with A_Any, as a user at the terminal has it.
pub struct Telnet {
    session: PtySession,
    name: String,
    asked: u32,
}

impl Telnet {
    /// Opens a session and waits for the prompt.
    ///
    /// # Errors
    /// [`Error::Step`] with what telnet printed instead.
    pub fn open(machine: &dyn Machine) -> Result<Telnet, Error> {
        let name = machine.name().to_owned();
        let mut command = machine.terminal(&["telnet", &ANYCAST.to_string()])?;
        command.env("TERM", "dumb");
        let timeout = u64::try_from(ANSWER.as_millis()).ok();
        let options = Options::new().timeout_ms(timeout).strip_ansi_escape_codes(true);
        let mut session = spawn_with_options(command, options).map_err(|error| step(&name, &error))?;
        session.process_mut().set_kill_timeout(Some(500));
        session.exp_regex(PROMPT).map_err(|error| step(&name, &error))?;
        Ok(Telnet { session, name, asked: 0 })
    }

    /// Types a command that no echo can be mistaken for, and returns which responder's shell ran it.
    ///
    /// # Errors
    /// [`Error::Step`] when the answer does not come.
    pub fn ask(&mut self) -> Result<String, Error> {
        self.asked += 1;
        let (typed, expected) = (self.asked + 1000, self.asked + 2000);
        self.session
            .send_line(&format!("echo $(({typed} + 1000)) on $RESPONDER"))
            .map_err(|error| step(&self.name, &error))?;
        let (_, answer) = self
            .session
            .exp_regex(&format!("{expected} on AR[12]"))
            .map_err(|error| step(&self.name, &error))?;
        self.session.exp_regex(PROMPT).map_err(|error| step(&self.name, &error))?;
        Ok(answer.rsplit(' ').next().unwrap_or_default().to_owned())
    }

    /// Types into a session whose responder has changed, and returns what telnet printed at its end.
    ///
    /// # Errors
    /// [`Error::Step`] when the session does not end.
    pub fn type_until_closed(&mut self) -> Result<String, Error> {
        self.session.send_line("echo still there").map_err(|error| step(&self.name, &error))?;
        let rest = self.session.exp_eof().map_err(|error| step(&self.name, &error))?;
        Ok(rest.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("(nothing)").to_owned())
    }

    /// Leaves the shell, which ends the session.
    ///
    /// # Errors
    /// [`Error::Step`] when it does not end.
    pub fn close(mut self) -> Result<(), Error> {
        self.session.send_line("exit").map_err(|error| step(&self.name, &error))?;
        self.session.exp_eof().map(drop).map_err(|error| step(&self.name, &error))
    }
}

fn step(name: &str, error: &rexpect::error::Error) -> Error {
    // The error quotes what was read, line ends and all.
    let words = error.to_string();
    let words: Vec<&str> = words.split_whitespace().collect();
    Error::Step(format!("telnet of {name}: {}", words.join(" ")))
}
