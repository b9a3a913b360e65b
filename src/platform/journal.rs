//! The undo journal: how to take back every change of the system, written before the change is made.
//! Section 3 of the design asks that nothing of ours survives, not even a kill -9; no RFC is concerned.
//! Called by the systems below `platform`, which say what one undo step is; shared by all of them.

use super::error::{Error, Trying};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

/// So many taken-back steps may stay in the file before it is written anew.
const DEAD_STEPS: usize = 512;

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<U> {
    /// Which boot and which network the following lines belong to.
    Realm(String),
    /// A change is about to be made; this undoes it.
    Change { id: u64, undo: U },
    /// The change was undone.
    Undone { id: u64 },
}

/// The open journal of a running node; holding it is holding the node's lock.
#[derive(Debug)]
pub struct Journal<U> {
    path: PathBuf,
    realm: String,
    file: File,
    lock_path: PathBuf,
    _lock: Flock<File>,
    next_id: u64,
    steps: Vec<(u64, U)>,
    dead: usize,
}

impl<U: Serialize + DeserializeOwned + Clone + PartialEq> Journal<U> {
    /// Locks `path` and opens it. What an earlier run left for the same `realm` is returned by
    /// [`Journal::pending`]; what it left for another realm (another boot or network namespace, where the
    /// objects cannot exist any more) is forgotten.
    ///
    /// # Errors
    /// [`Error::Busy`] when a living process holds the lock, else what the file system says.
    pub fn open(path: &Path, realm: &str) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).trying(|| format!("create {}", parent.display()))?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let lock = lock(&lock_path, path)?;

        let steps = left(path, realm);
        let next_id = steps.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
        let file = write_anew(path, realm, &steps).trying(|| format!("write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            realm: realm.to_owned(),
            file,
            lock_path,
            _lock: lock,
            next_id,
            steps,
            dead: 0,
        })
    }

    /// What a run left for this realm in the journal at `path`, oldest first; the file and its lock stay as they are.
    #[cfg(target_os = "linux")]
    pub fn peek(path: &Path, realm: &str) -> Vec<U> {
        left(path, realm).into_iter().map(|(_, undo)| undo).collect()
    }

    /// The steps not yet undone, oldest first.
    pub fn pending(&self) -> impl DoubleEndedIterator<Item = &U> {
        self.steps.iter().map(|(_, undo)| undo)
    }

    /// Notes how to undo a change that is made next.
    ///
    /// # Errors
    /// When the journal cannot be written; the change must not be made then.
    pub fn note(&mut self, undo: U) -> Result<(), Error> {
        let id = self.next_id;
        let line = Line::Change { id, undo };
        self.append(&line)?;
        self.next_id += 1;
        if let Line::Change { undo, .. } = line {
            self.steps.push((id, undo));
        }
        Ok(())
    }

    /// Forgets the newest step equal to `undo`, because it has been undone (or was never needed).
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn forget(&mut self, undo: &U) -> Result<(), Error> {
        let Some(position) = self.steps.iter().rposition(|(_, step)| step == undo) else { return Ok(()) };
        let (id, _) = self.steps.remove(position);
        self.append(&Line::Undone { id })?;
        self.dead += 1;
        if self.dead >= DEAD_STEPS && self.dead > self.steps.len() {
            self.file = write_anew(&self.path, &self.realm, &self.steps)
                .trying(|| format!("write {}", self.path.display()))?;
            self.dead = 0;
        }
        Ok(())
    }

    /// Removes the files; to be called when nothing is pending.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path).trying(|| format!("remove {}", self.path.display()))?;
        // Whoever waits for the lock checks that the file it locked is still the file at this path.
        fs::remove_file(&self.lock_path).trying(|| format!("remove {}", self.lock_path.display()))
    }

    fn append(&mut self, line: &Line<U>) -> Result<(), Error> {
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            self.file.write_all(&text)
        });
        written.trying(|| format!("write {}", self.path.display()))
    }
}

/// A file that one living process can hold; it is gone when this value is dropped.
#[cfg(target_os = "freebsd")]
#[derive(Debug)]
pub struct NameLock {
    path: PathBuf,
    _lock: Flock<File>,
}

#[cfg(target_os = "freebsd")]
impl NameLock {
    /// Takes the file at `path`.
    ///
    /// # Errors
    /// [`Error::Busy`] when a living process holds it, else what the file system says.
    pub fn take(path: &Path) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).trying(|| format!("create {}", parent.display()))?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock(path, path)? })
    }
}

#[cfg(target_os = "freebsd")]
impl Drop for NameLock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a lock file could not be removed");
        }
    }
}

/// The steps in the file that are not undone and belong to this realm, oldest first.
fn left<U: DeserializeOwned>(path: &Path, realm: &str) -> Vec<(u64, U)> {
    let mut steps: Vec<(u64, U)> = Vec::new();
    let Ok(left) = File::open(path) else { return steps };
    let mut same_realm = false;
    // A line cut short by the crash was never followed by its change: it is skipped.
    let lines = BufReader::new(left).lines().map_while(Result::ok);
    for line in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
        match line {
            Line::Realm(left) => same_realm = left == realm,
            Line::Change { id, undo } if same_realm => steps.push((id, undo)),
            Line::Undone { id } => steps.retain(|(step, _)| *step != id),
            Line::Change { .. } => {}
        }
    }
    steps
}

/// Replaces the journal in one step by one that holds only what is still pending.
fn write_anew<U: Serialize + Clone>(path: &Path, realm: &str, steps: &[(u64, U)]) -> io::Result<File> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    let mut text = serde_json::to_vec(&Line::<U>::Realm(realm.to_owned()))?;
    text.push(b'\n');
    for (id, undo) in steps {
        serde_json::to_writer(&mut text, &Line::Change { id: *id, undo: undo.clone() })?;
        text.push(b'\n');
    }
    file.write_all(&text)?;
    fs::rename(&fresh, path)?;
    Ok(file)
}

/// Takes the lock file, which says who holds it.
fn lock(lock_path: &Path, journal: &Path) -> Result<Flock<File>, Error> {
    let what = || format!("lock {}", lock_path.display());
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path)
            .trying(what)?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut owner = String::new();
                // Without a readable owner the message is only shorter.
                let owner =
                    file.read_to_string(&mut owner).ok().and_then(|_| owner.trim().parse::<u32>().ok());
                return Err(Error::Busy { journal: journal.to_owned(), owner });
            }
            Err((_, errno)) => return Err(errno.into()).trying(what),
        };
        // The former owner may have removed the file between our opening and our locking it.
        let ours = lock.metadata().trying(what)?;
        match fs::metadata(lock_path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {}
            _ => continue,
        }
        lock.set_len(0).and_then(|()| lock.rewind()).trying(what)?;
        writeln!(lock, "{}", process::id()).trying(what)?;
        return Ok(lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mga-journal-{}-{name}", process::id())).join("node.undo")
    }

    #[test]
    fn a_crashed_run_leaves_its_pending_steps_to_the_same_realm_only() {
        let path = scratch("crash");
        let mut journal = Journal::<String>::open(&path, "boot-a").expect("a fresh journal");
        for step in ["one", "two", "three"] {
            journal.note(step.to_owned()).expect("noted");
        }
        journal.forget(&"two".to_owned()).expect("forgotten");
        drop(journal);
        // A crash in the middle of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"change\":{\"id\":9").unwrap();

        let again = Journal::<String>::open(&path, "boot-a").expect("reopened");
        assert_eq!(again.pending().collect::<Vec<_>>(), ["one", "three"]);
        drop(again);
        let elsewhere = Journal::<String>::open(&path, "boot-b").expect("reopened");
        assert_eq!(elsewhere.pending().count(), 0);
        elsewhere.remove().expect("removed");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_second_opener_is_told_who_is_there() {
        let path = scratch("busy");
        let journal = Journal::<String>::open(&path, "r").expect("a fresh journal");
        match Journal::<String>::open(&path, "r") {
            Err(Error::Busy { owner, .. }) => assert_eq!(owner, Some(process::id())),
            other => panic!("the second opener got {other:?}"),
        }
        journal.remove().expect("removed");
        fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_file_does_not_grow_with_changes_that_were_undone() {
        let path = scratch("growth");
        let mut journal = Journal::<u32>::open(&path, "r").expect("a fresh journal");
        journal.note(7).expect("noted");
        for step in 1000..4000 {
            journal.note(step).expect("noted");
            journal.forget(&step).expect("forgotten");
        }
        assert!(fs::metadata(&path).unwrap().len() < 60_000);
        drop(journal);
        let again = Journal::<u32>::open(&path, "r").expect("reopened");
        assert_eq!(again.pending().copied().collect::<Vec<_>>(), [7]);
        again.remove().expect("removed");
        fs::remove_dir(path.parent().unwrap()).unwrap();
    }
}
