//! What of a node stays in the kernel when its process is killed: its programs' attachments and their maps, by name in
//! a bpffs (design section 3: a restarted node adopts them and goes on; one that ends takes them away). Called by
//! `loader`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::statfs::{FsType, statfs};

/// Where distributions mount a bpffs, and where this program does when there is none (`ip netns exec` hides /sys).
const USUAL: &str = "/sys/fs/bpf";
const OWN: &str = "/run/mga-node/bpf";
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// The pins of which every node has one, by role: its program at the ingress of the link.
pub const ATTACHED: [&str; 3] = ["agent_tc", "responder_in", "initiator_in"];

/// The folder of one node; removed with everything in it when this is dropped, but not by a kill.
#[derive(Debug)]
pub struct Pins {
    node: PathBuf,
    folder: PathBuf,
}

fn is_bpffs(path: &Path) -> bool {
    // The type of the magic number differs between architectures.
    statfs(path).is_ok_and(|found| found.filesystem_type() == FsType(BPF_FS_MAGIC as _))
}

/// A bpffs that all network namespaces see alike.
fn root() -> io::Result<PathBuf> {
    let own = Path::new(OWN);
    if is_bpffs(own) {
        return Ok(own.to_owned());
    }
    let usual = Path::new(USUAL);
    if is_bpffs(usual) {
        return Ok(usual.join("mga-node"));
    }
    fs::create_dir_all(own)?;
    mount(Some("mga-node"), own, Some("bpf"), MsFlags::empty(), None::<&str>)?;
    Ok(own.to_owned())
}

/// The system call bpf(2) with the words of its argument; no crate of ours wraps the two commands used here.
fn bpf(command: libc::c_long, argument: &mut [u64; 2]) -> libc::c_long {
    // SAFETY: the argument lives during the call, and its callers see to what it points at.
    unsafe { libc::syscall(libc::SYS_bpf, command, argument.as_mut_ptr(), size_of_val(argument)) }
}

/// True for the pin of an attachment to traffic control whose interface is gone, for good.
fn leads_nowhere(pin: &Path) -> bool {
    const OBJ_GET: libc::c_long = 7;
    const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
    // `struct bpf_link_info`: the type and, behind three more words, the interface.
    const TCX: u32 = 11;
    const DEVICE: usize = 4;
    let Ok(path) = CString::new(pin.as_os_str().as_bytes()) else { return false };
    let Ok(fd) = i32::try_from(bpf(OBJ_GET, &mut [path.as_ptr() as u64, 0])) else { return false };
    if fd < 0 {
        return false;
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = [0_u32; 16];
    let head = u64::from(link.as_raw_fd().unsigned_abs());
    let length = (size_of_val(&info) as u64) << 32;
    // On a machine whose words begin at the other end, the two halves would be swapped.
    let head = if cfg!(target_endian = "little") { head | length } else { head << 32 | length >> 32 };
    bpf(OBJ_GET_INFO_BY_FD, &mut [head, info.as_mut_ptr() as u64]) == 0 && info[0] == TCX && info[DEVICE] == 0
}

/// Takes away what killed nodes left in network namespaces that are no more.
fn sweep(root: &Path) -> io::Result<()> {
    for node in
        fs::read_dir(root)?.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir())
    {
        let is_dead = |folder: &PathBuf| ATTACHED.iter().any(|pin| leads_nowhere(&folder.join(pin)));
        // What somebody else takes away at the same time is as gone.
        let folders =
            fs::read_dir(&node).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        if folders.collect::<Vec<_>>().iter().any(is_dead) {
            let _ = fs::remove_dir_all(&node);
        }
    }
    Ok(())
}

/// The folder of the node with this identity, whether it is there or not.
///
/// # Errors
/// What the system says against a bpffs.
pub fn folder(identity: &str) -> io::Result<PathBuf> {
    // A bpffs takes no dots.
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    Ok(root()?.join(identity.chars().map(letter).collect::<String>()))
}

impl Pins {
    /// The folder of the node with this identity for this object of programs. What an earlier version of the programs
    /// left is taken away: it cannot be gone on with.
    ///
    /// # Errors
    /// What the system says against a bpffs.
    pub fn open(identity: &str, object: &[u8]) -> io::Result<Self> {
        let _alone = alone()?;
        let root = root()?;
        fs::create_dir_all(&root)?;
        sweep(&root)?;
        let node = folder(identity)?;
        let version = object.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
            (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
        });
        let folder = node.join(format!("{version:016x}"));
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&node)? {
            let path = entry?.path();
            if path != folder {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(Self { node, folder })
    }

    /// The path of the pin with this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Forgets a pin that leads nowhere.
    pub fn remove(&self, name: &str) {
        // When it stays, pinning anew says so.
        let _ = fs::remove_file(self.path(name));
    }
}

/// Takes the bpffs away that a node mounted, this one or one that was killed, when nothing is pinned in it any more.
fn unmount() -> io::Result<()> {
    let own = Path::new(OWN);
    // Mount point, options, and behind a dash the type and what the mount says of itself.
    let ours = format!(" {OWN} ");
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let is_ours = mounts.lines().any(|line| line.contains(&ours) && line.contains(" - bpf mga-node "));
    // The kernel may put files of its own in, nodes have folders.
    let is_empty = !fs::read_dir(own)?.filter_map(Result::ok).any(|entry| entry.path().is_dir());
    if is_ours && is_empty {
        umount(own)?;
        fs::remove_dir(own)?;
    }
    Ok(())
}

/// Keeps other nodes from looking for a bpffs while one is made or taken away.
fn alone() -> io::Result<Flock<fs::File>> {
    let folder = Path::new(OWN).parent().unwrap_or(Path::new("/run"));
    fs::create_dir_all(folder)?;
    Flock::lock(fs::File::open(folder)?, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _alone = alone();
        if let Err(error) = fs::remove_dir_all(&self.node) {
            tracing::warn!(%error, folder = %self.node.display(), "what is pinned could not be removed");
        }
        if let Err(error) = unmount() {
            tracing::debug!(%error, "the bpffs stays mounted");
        }
    }
}
