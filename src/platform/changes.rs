//! Every change of the system that outlives a killed process, made only after its undoing was written down.
//! Design section 3: nothing of ours may survive the node; no RFC is concerned.
//! Called by the `Host` of each system below `platform`, which never changes the system past this file.

use super::{
    error::{Error, Trying},
    journal::Journal,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{io, path::Path};

/// What a system says about taking back: its own kinds of changes, and its kernel parameters.
pub trait Undo: Serialize + DeserializeOwned + Clone + PartialEq {
    /// What changes are made with.
    type Kernel;

    /// Takes one change back; an object that is gone already is fine.
    ///
    /// # Errors
    /// What the kernel says.
    fn perform(&self, kernel: &mut Self::Kernel) -> Result<(), Error>;

    /// The change that setting a kernel parameter is.
    fn of_parameter(parameter: Parameter) -> Self;

    /// A kernel parameter's value.
    ///
    /// # Errors
    /// What the kernel says.
    fn parameter(key: &str) -> io::Result<String>;

    /// Sets a kernel parameter; only for those that vanish with an object of ours is this right to call.
    ///
    /// # Errors
    /// What the kernel says.
    fn write_parameter(key: &str, value: &str) -> io::Result<()>;

    /// Names this boot and this network: changes journaled in another one are gone with it.
    ///
    /// # Errors
    /// What the kernel says.
    fn realm() -> Result<String, Error>;
}

/// A kernel parameter that was set: write `before` into it; when `ours` is given, only if that is still its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    pub key: String,
    pub ours: Option<String>,
    pub before: String,
}

impl Parameter {
    /// Restores the parameter, unless somebody else has set it since: then it is not ours to restore.
    pub fn restore<U: Undo>(&self) -> Result<(), Error> {
        let Self { key, ours, before } = self;
        let result = match U::parameter(key) {
            Ok(now) if ours.as_ref().is_none_or(|ours| *ours == now) => U::write_parameter(key, before),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        unless_gone(result).trying(|| format!("restore the kernel parameter {key}"))
    }
}

/// The changes in force, with the means to take them back.
pub struct Changes<U: Undo> {
    pub kernel: U::Kernel,
    journal: Option<Journal<U>>,
}

impl<U: Undo> Changes<U> {
    /// Locks the journal and takes back whatever a killed run left.
    pub fn open(journal: &Path, kernel: U::Kernel) -> Result<Self, Error> {
        let mut changes = Self::go_on(journal, kernel)?;
        changes.undo_all()?;
        Ok(changes)
    }

    /// Locks the journal; what a killed run left is in force as if this one had made it.
    pub fn go_on(journal: &Path, kernel: U::Kernel) -> Result<Self, Error> {
        let journal = Journal::open(journal, &U::realm()?)?;
        Ok(Self { kernel, journal: Some(journal) })
    }

    /// The changes in force, oldest first, as they are taken back.
    pub fn steps(&self) -> impl Iterator<Item = &U> {
        self.journal.iter().flat_map(Journal::pending)
    }

    /// What a run left in the journal, which stays as it is.
    #[cfg(target_os = "linux")]
    pub fn peek(journal: &Path) -> Result<Vec<U>, Error> {
        Ok(Journal::peek(journal, &U::realm()?))
    }

    /// Fails when a living process holds this journal, and says which; changes nothing.
    pub fn refuse_busy(journal: &Path) -> Result<(), Error> {
        if journal.exists() {
            Journal::<U>::open(journal, &U::realm()?)?;
        }
        Ok(())
    }

    /// Makes one change: first notes `undo`, then runs `change`; forgets the note when the change fails.
    pub fn make(
        &mut self,
        undo: U,
        change: impl FnOnce(&mut U::Kernel) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.note(undo.clone())?;
        let result = change(&mut self.kernel);
        if result.is_err() {
            journal.forget(&undo)?;
        }
        result
    }

    /// Sets a kernel parameter unless it has that value already.
    pub fn set_parameter(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let before = U::parameter(key).trying(|| format!("read the kernel parameter {key}"))?;
        if before == value {
            return Ok(());
        }
        let parameter = Parameter { key: key.to_owned(), ours: Some(value.to_owned()), before };
        self.make(U::of_parameter(parameter), |_| {
            U::write_parameter(key, value).trying(|| format!("set the kernel parameter {key}"))
        })
    }

    /// Takes one change back, if it is in force.
    pub fn undo(&mut self, undo: &U) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if !journal.pending().any(|step| step == undo) {
            return Ok(());
        }
        undo.perform(&mut self.kernel)?;
        journal.forget(undo)
    }

    /// True when the change that `undo` takes back is in force.
    pub fn in_force(&self, undo: &U) -> bool {
        self.steps().any(|step| step == undo)
    }

    /// Forgets a change that nobody has to take back any more.
    #[cfg(target_os = "linux")]
    pub fn forget(&mut self, undo: &U) -> Result<(), Error> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.forget(undo))
    }

    fn undo_all(&mut self) -> Result<(), Error> {
        self.undo_but(|_| false)
    }

    /// Takes everything back but what is to be kept, newest first; goes on after a failure and returns the first one.
    pub fn undo_but(&mut self, keep: impl Fn(&U) -> bool) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let mut outcome = Ok(());
        let steps: Vec<U> = journal.pending().rev().filter(|step| !keep(step)).cloned().collect();
        for step in steps {
            let result = step.perform(&mut self.kernel).and_then(|()| journal.forget(&step));
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

impl<U: Undo> Drop for Changes<U> {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "a change of the system could not be taken back");
        }
    }
}

/// The kernel's ways to say that the object does not exist.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ESRCH | libc::EADDRNOTAVAIL)
    )
}

/// Takes "it does not exist" for success.
pub fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_gone(&error) => Ok(()),
        result => result,
    }
}
