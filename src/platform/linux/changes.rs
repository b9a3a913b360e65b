//! Every change of the system that outlives a killed process, made only after its undoing was written down.
//! Design section 3: nothing of ours may survive the node; no RFC is concerned.
//! Called by `platform::linux::Host`, which never changes the system past this file.

use super::{
    super::{
        error::{Error, Trying},
        journal::Journal,
    },
    filter,
    netlink::{Netlink, Rule},
};
use serde::{Deserialize, Serialize};
use std::{fs, io, net::Ipv6Addr, path::Path};

/// How one change is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Write `before` into a kernel parameter; when `ours` is given, only if that is still its value.
    Parameter { key: String, ours: Option<String>, before: String },
    /// Remove a policy rule.
    Rule(Rule),
    /// Stop answering Neighbor Solicitations.
    Proxied { interface: u32, address: Ipv6Addr },
    /// Remove our packet filter table.
    FilterTable(String),
}

/// The changes in force, with the means to take them back.
pub struct Changes {
    pub netlink: Netlink,
    journal: Option<Journal<Undo>>,
}

impl Changes {
    /// Locks the journal and takes back whatever a killed run left.
    pub fn open(journal: &Path, netlink: Netlink) -> Result<Self, Error> {
        let journal = Journal::open(journal, &realm()?)?;
        let mut changes = Self { netlink, journal: Some(journal) };
        changes.undo_all()?;
        Ok(changes)
    }

    /// Fails when a living process holds this journal, and says which; changes nothing.
    pub fn refuse_busy(journal: &Path) -> Result<(), Error> {
        if journal.exists() {
            Journal::<Undo>::open(journal, &realm()?)?;
        }
        Ok(())
    }

    /// Makes one change: first notes `undo`, then runs `change`; forgets the note when the change fails.
    pub fn make(
        &mut self,
        undo: Undo,
        change: impl FnOnce(&mut Netlink) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.note(undo.clone())?;
        let result = change(&mut self.netlink);
        if result.is_err() {
            journal.forget(&undo)?;
        }
        result
    }

    /// Sets a kernel parameter below `/proc/sys` unless it has that value already.
    pub fn set_parameter(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let before = parameter(key).trying(|| format!("read the kernel parameter {key}"))?;
        if before == value {
            return Ok(());
        }
        let undo = Undo::Parameter { key: key.to_owned(), ours: Some(value.to_owned()), before };
        self.make(undo, |_| write_parameter(key, value).trying(|| format!("set the kernel parameter {key}")))
    }

    /// Takes one change back, if it is in force.
    pub fn undo(&mut self, undo: &Undo) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if !journal.pending().any(|step| step == undo) {
            return Ok(());
        }
        perform(&mut self.netlink, undo)?;
        journal.forget(undo)
    }

    /// True when the change that `undo` takes back is in force.
    pub fn in_force(&self, undo: &Undo) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.pending().any(|step| step == undo))
    }

    /// Takes everything back, newest first; goes on after a failure and returns the first one.
    fn undo_all(&mut self) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let mut outcome = Ok(());
        let steps: Vec<Undo> = journal.pending().rev().cloned().collect();
        for step in steps {
            let result = perform(&mut self.netlink, &step).and_then(|()| journal.forget(&step));
            outcome = outcome.and(result);
        }
        outcome
    }

    /// Takes everything back and removes the journal. What could not be taken back stays in the journal
    /// for the next run.
    pub fn close(&mut self) -> Result<(), Error> {
        self.undo_all()?;
        self.journal.take().map_or(Ok(()), Journal::remove)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "a change of the system could not be taken back");
        }
    }
}

/// Takes one change back; an object that is gone already is fine.
fn perform(netlink: &mut Netlink, undo: &Undo) -> Result<(), Error> {
    let (result, what) = match undo {
        Undo::Parameter { key, ours, before } => {
            let result = match parameter(key) {
                Ok(now) if ours.as_ref().is_none_or(|ours| *ours == now) => write_parameter(key, before),
                // Somebody else has set it since: it is not ours to restore.
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            (result, format!("restore the kernel parameter {key}"))
        }
        Undo::Rule(rule) => (netlink.remove_rule(rule), "remove a policy rule".to_owned()),
        Undo::Proxied { interface, address } => {
            (netlink.remove_proxied(*interface, *address), format!("stop answering for {address}"))
        }
        Undo::FilterTable(table) => return filter::remove_table(table),
    };
    match result {
        Err(error) if !is_gone(&error) => Err(Error::io(what, error)),
        _ => Ok(()),
    }
}

/// The kernel's ways to say that the object does not exist.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ESRCH | libc::EADDRNOTAVAIL)
    )
}

/// A kernel parameter's value; `key` is its path below `/proc/sys`.
pub fn parameter(key: &str) -> io::Result<String> {
    Ok(fs::read_to_string(Path::new("/proc/sys").join(key))?.trim_end().to_owned())
}

/// Sets a kernel parameter; only for those that vanish with an object of ours is this right to call.
pub fn write_parameter(key: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys").join(key), value)
}

/// Names this boot and this network namespace: changes journaled in another one are gone with it.
fn realm() -> Result<String, Error> {
    let boot = parameter("kernel/random/boot_id").trying(|| "read the boot identifier".to_owned())?;
    let cookie = super::sys::namespace_cookie().trying(|| "identify the network namespace".to_owned())?;
    Ok(format!("{boot} {cookie}"))
}
