//! Network namespaces with wires between them: the hosts and links of the lab.
//! They carry Figure 11 of the thesis on one machine; a namespace made here is also `ip netns exec`able.
//! Called by `lab` and by the tests of `platform`.

use super::{
    super::error::{Error, Trying},
    changes,
};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::{self, File},
    io,
    net::Ipv6Addr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// A network namespace known by name.
#[derive(Debug)]
pub struct NetworkNamespace {
    name: String,
    file: File,
    ours: bool,
}

impl NetworkNamespace {
    /// Makes a namespace; it is deleted when this value is dropped.
    ///
    /// # Errors
    /// When the name is taken, or without privilege.
    pub fn create(name: &str) -> Result<Self, Error> {
        ip(&["netns", "add", name])?;
        let mut namespace = Self::open(name)?;
        namespace.ours = true;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Opens a namespace that exists; it stays when this value is dropped.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn open(name: &str) -> Result<Self, Error> {
        let path = Path::new(NAMES).join(name);
        let file = File::open(path).trying(|| format!("open the network namespace {name}"))?;
        Ok(Self { name: name.to_owned(), file, ours: false })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` in a thread of its own inside the namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let what = || format!("enter the network namespace {}", self.name);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
                Ok(work())
            });
            match thread.join() {
                Ok(result) => result.trying(what),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs `ip -n NAME` with these arguments and returns what it prints.
    ///
    /// # Errors
    /// [`Error::ProgramFailed`] with what `ip` says.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut all = vec!["-n", &self.name];
        all.extend_from_slice(arguments);
        ip(&all)
    }

    /// Sets a kernel parameter in the namespace; `key` is its path below `/proc/sys`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_parameter(&self, key: &str, value: &str) -> Result<(), Error> {
        self.run(|| changes::write_parameter(key, value))?.trying(|| format!("set {key} in {}", self.name))
    }

    /// Gives an interface, which must be up, an address without duplicate address detection; packets to it
    /// are accepted from now on.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add_address(&self, interface: &str, address: Ipv6Addr, prefix_length: u8) -> Result<(), Error> {
        let with_length = format!("{address}/{prefix_length}");
        self.ip(&["addr", "add", &with_length, "dev", interface, "nodad"])?;
        // The kernel acknowledges before a worker of its own has made the address local.
        self.run(|| super::wait_until_local(address))?
            .trying(|| format!("make {address} an address of {}", self.name))
    }

    /// Sets the default route.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn set_default_route(&self, gateway: Ipv6Addr) -> Result<(), Error> {
        self.ip(&["-6", "route", "replace", "default", "via", &gateway.to_string()]).map(drop)
    }

    /// Makes the namespace forward IPv6 packets.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_forwarding(&self) -> Result<(), Error> {
        self.set_parameter("net/ipv6/conf/all/forwarding", "1")
    }

    /// A second handle on the namespace, which stays when that is dropped.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn handle(&self) -> Result<Self, Error> {
        let file = self.file.try_clone().trying(|| format!("open {} again", self.name))?;
        Ok(Self { name: self.name.clone(), file, ours: false })
    }

    /// Deletes the namespace; processes in it keep it alive without a name.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn delete(mut self) -> Result<(), Error> {
        self.ours = false;
        ip(&["netns", "del", &self.name]).map(drop)
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = ip(&["netns", "del", &self.name])
        {
            tracing::warn!(%error, name = self.name, "a network namespace could not be deleted");
        }
    }
}

/// One end of a wire.
#[derive(Clone, Copy, Debug)]
pub struct WireEnd<'a> {
    /// The namespace the end is in.
    pub namespace: &'a NetworkNamespace,
    /// The interface's name there.
    pub interface: &'a str,
    /// Its Ethernet address.
    pub link_address: [u8; 6],
}

impl WireEnd<'_> {
    /// Brings the interface up; its link-local address is usable at once.
    ///
    /// # Errors
    /// What `ip` or the kernel says.
    pub fn bring_up(&self) -> Result<(), Error> {
        self.namespace.set_parameter(&format!("net/ipv6/conf/{}/accept_dad", self.interface), "0")?;
        self.namespace.ip(&["link", "set", self.interface, "up"]).map(drop)
    }
}

/// Lays a wire (a veth pair) between two namespaces; both ends are up, and their link-local addresses are
/// usable at once.
///
/// # Errors
/// What `ip` or the kernel says.
pub fn connect(left: WireEnd<'_>, right: WireEnd<'_>) -> Result<(), Error> {
    let mac = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
    ip(&[
        "link",
        "add",
        left.interface,
        "netns",
        left.namespace.name(),
        "address",
        &mac(left.link_address),
        "type",
        "veth",
        "peer",
        "name",
        right.interface,
        "netns",
        right.namespace.name(),
        "address",
        &mac(right.link_address),
    ])?;
    [left, right].iter().try_for_each(WireEnd::bring_up)
}

/// Has `command` run inside the namespace.
pub fn in_namespace<'a>(
    command: &'a mut Command,
    namespace: &NetworkNamespace,
) -> Result<&'a mut Command, Error> {
    let file = namespace.file.try_clone().trying(|| format!("open {} again", namespace.name))?;
    // SAFETY: between fork and exec only setns is called, which is a bare system call: no allocation
    // happens and no lock is taken.
    unsafe {
        command.pre_exec(move || setns(&file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
    }
    Ok(command)
}

/// What this kernel has of Mobile IPv6 and tunnels; `None` where it cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// Whether it was built with Mobile IPv6 (`CONFIG_IPV6_MIP6`).
    pub mobile_ipv6: Option<bool>,
    /// Whether it was built with IPv6 tunnels (`CONFIG_IPV6_TUNNEL`).
    pub ipv6_tunnel: Option<bool>,
}

/// Looks at the running kernel.
pub fn facts() -> KernelFacts {
    let release = changes::parameter("kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned());
    let configuration = kernel_configuration(&release);
    let has = |option: &str, module: &str| {
        if Path::new("/sys/module").join(module).exists() {
            return Some(true);
        }
        let configuration = configuration.as_deref()?;
        let set = [format!("{option}=y"), format!("{option}=m")];
        Some(configuration.lines().any(|line| set.iter().any(|wanted| wanted == line)))
    };
    KernelFacts {
        mobile_ipv6: has("CONFIG_IPV6_MIP6", "mip6"),
        ipv6_tunnel: has("CONFIG_IPV6_TUNNEL", "ip6_tunnel"),
        release,
    }
}

/// The configuration the kernel was built with, from itself or from the distribution.
fn kernel_configuration(release: &str) -> Option<String> {
    let unpacked = Command::new("zcat").arg("/proc/config.gz").stderr(Stdio::null()).output();
    if let Ok(output) = unpacked
        && output.status.success()
    {
        return String::from_utf8(output.stdout).ok();
    }
    [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
}

/// Runs `ip` and returns what it prints.
fn ip(arguments: &[&str]) -> Result<String, Error> {
    let output = match Command::new("ip").args(arguments).stdin(Stdio::null()).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::MissingProgram { program: "ip", remedy: "install the package iproute2" });
        }
        output => output.trying(|| "run ip".to_owned())?,
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Err(Error::ProgramFailed { program: "ip", message: message.replace('\n', "; ") })
}
