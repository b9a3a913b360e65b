//! What a node needs of a Linux host before anything can be tried: privileges, nftables, a tunnel device, IPv6; and the
//! scratch Ethernet, a TAP in a network namespace of its own, for the trial (`platform::doctor`), which calls this.
//! Thesis section 4 by way of the design's data path.

use std::{
    fs::{self, File},
    io,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
};
use std::os::fd::AsFd;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{
    super::{
        doctor::{Check, HOST, PEER, Part, addressed},
        error::{Error, Trying},
        interface::ROUTE_PROTOCOL,
    },
    MAIN_TABLE,
    changes::{parameter, write_parameter},
    netlink::{Netlink, Route, RouteKind},
    usable, wait_until_local,
};

/// Capabilities by their bit (linux/capability.h).
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

/// Octets of an Ethernet frame at most.
const FRAME: usize = 2048;

/// Looks at what can be seen without touching anything.
pub fn circumstances(interface: Option<&str>, parts: &[Part], say: &mut dyn FnMut(Check)) {
    say(privileges());
    say(nftables());
    say(tunnel_device());
    say(ipv6_is_on());
    if let Some(name) = interface {
        say(link(name, parts));
    }
}

fn privileges() -> Check {
    const NAME: &str = "privileges";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = field.and_then(|word| u64::from_str_radix(word.trim(), 16).ok()).unwrap_or(0);
    let lacking: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if lacking.is_empty() {
        return Check::good(NAME, "CAP_NET_ADMIN and CAP_NET_RAW");
    }
    let remedy =
        "run as root, or give the process both (systemd: AmbientCapabilities=; containers: --cap-add)";
    Check::bad(NAME, format!("{} lacking", lacking.join(" and ")), remedy)
}

fn nftables() -> Check {
    const NAME: &str = "nftables";
    let output = Command::new("nft").arg("--version").stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            Check::good(NAME, String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Check::bad(NAME, format!("nft fails: {said}"), "repair the package nftables")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Check::bad(NAME, "the program nft is missing", "install the package nftables")
        }
        Err(error) => Check::bad(NAME, format!("nft cannot be run: {error}"), "repair the package nftables"),
    }
}

fn tunnel_device() -> Check {
    const NAME: &str = "tunnel-device";
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Check::good(NAME, "/dev/net/tun"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Check::bad(
            NAME,
            "/dev/net/tun may not be opened",
            "let the process use it (systemd: DeviceAllow=/dev/net/tun rw; containers: --device /dev/net/tun)",
        ),
        Err(error) => Check::bad(
            NAME,
            format!("/dev/net/tun cannot be opened: {error}"),
            "modprobe tun; in a container --device /dev/net/tun",
        ),
    }
}

fn ipv6_is_on() -> Check {
    const NAME: &str = "ipv6";
    match parameter("net/ipv6/conf/all/disable_ipv6") {
        Ok(off) if off == "0" => Check::good(NAME, "on"),
        Ok(_) => Check::bad(NAME, "IPv6 is off", "sysctl net.ipv6.conf.all.disable_ipv6=0"),
        Err(_) => Check::bad(
            NAME,
            "the kernel has no IPv6",
            "start it without ipv6.disable=1, or load the module ipv6",
        ),
    }
}

/// The interface a node shall run on.
fn link(name: &str, parts: &[Part]) -> Check {
    const NAME: &str = "interface";
    let unlisted = |error: io::Error| {
        Check::bad(NAME, format!("the interfaces cannot be listed: {error}"), "run as root")
    };
    let listed = Netlink::open().and_then(|mut netlink| Ok((netlink.links()?, netlink)));
    let (links, mut netlink) = match listed {
        Ok(listed) => listed,
        Err(error) => return unlisted(error),
    };
    let Some(found) = links.iter().find(|link| link.name == name) else {
        let known: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        return Check::bad(
            NAME,
            format!("there is no interface {name}"),
            format!("one of {}", known.join(", ")),
        );
    };
    let addresses = match netlink.addresses(found.index) {
        Ok(addresses) => addresses,
        Err(error) => return unlisted(error),
    };
    let interface = match usable(found) {
        Ok((interface, _)) => interface,
        Err(error) => return Check::refused(NAME, &error),
    };
    if parts.contains(&Part::Agent) && parts.len() == 1 && interface.link_address.is_none() {
        return Check::bad(NAME, format!("{name} has no link-layer address"), "an agent needs an Ethernet");
    }
    if parameter(&format!("net/ipv6/conf/{name}/disable_ipv6")).is_ok_and(|off| off != "0") {
        return Check::bad(
            NAME,
            format!("IPv6 is off on {name}"),
            format!("sysctl net.ipv6.conf.{name}.disable_ipv6=0"),
        );
    }
    let remedy = format!("ip -6 addr add ADDRESS/64 dev {name}, or a router that advertises a prefix");
    addressed(NAME, &interface, &addresses, remedy)
}

/// Runs `work` in a network namespace of its own.
///
/// # Errors
/// Why there is none to be had.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| {
                format!(
                    "a network namespace of its own cannot be made ({error}): run as root to try things out"
                )
            })?;
            Ok(work())
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// An Ethernet with this host and whoever writes to it; it vanishes when this is dropped.
pub struct ScratchLink {
    device: SyncDevice,
    name: String,
}

impl ScratchLink {
    /// Makes it in the calling thread's network namespace, gives this host [`HOST`] on it and the way to [`PEER`].
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make() -> Result<Self, Error> {
        let what = || "make a scratch interface".to_owned();
        let device = DeviceBuilder::new()
            .name("mgatry%d")
            .layer(Layer::L2)
            .with(|options| {
                options.packet_information(false);
            })
            .inherit_enable_state()
            .build_sync()
            .trying(what)?;
        device.set_nonblocking(true).trying(what)?;
        let name = device.name().trying(what)?;
        let index = device.if_index().trying(what)?;
        for (key, value) in [("router_solicitations", "0"), ("accept_ra", "0"), ("accept_dad", "0")] {
            write_parameter(&format!("net/ipv6/conf/{name}/{key}"), value).trying(what)?;
        }
        let mut netlink = Netlink::open().trying(what)?;
        netlink.bring_up(index, 1500).trying(what)?;
        netlink.add_address(index, HOST).trying(what)?;
        wait_until_local(HOST).trying(what)?;
        let route = Route {
            table: MAIN_TABLE,
            destination: Some(PEER),
            device: index,
            preferred_source: None,
            kind: RouteKind::Redistributed(ROUTE_PROTOCOL),
        };
        netlink.add_route(&route).trying(what)?;
        Ok(Self { device, name })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has the host receive an Ethernet frame.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.device.send(frame).map(drop)
    }

    /// The next frame the host sends, if it does within `patience`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut readable = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        if poll(&mut readable, timeout)? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; FRAME];
        match self.device.recv(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::Interrupted.into()),
            Err(error) => Err(error),
        }
    }
}
