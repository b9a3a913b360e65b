//! What a node changes in a Linux system and how each change is taken back: the words of the undo journal.
//! Design section 3: nothing of ours may survive the node; no RFC is concerned.
//! Called by `platform::changes`, which makes and takes back, and by the rest of `platform::linux`.

use super::{
    super::{
        changes::{self, Parameter, unless_gone},
        error::{Error, Trying},
    },
    filter,
    netlink::{Netlink, Rule},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

/// The changes of a Linux system that are in force.
pub type Changes = changes::Changes<Undo>;

/// How one change is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Restore a kernel parameter.
    Parameter(Parameter),
    /// Remove a policy rule.
    Rule(Rule),
    /// Stop answering Neighbor Solicitations.
    Proxied { interface: u32, address: Ipv6Addr },
    /// Remove our packet filter table.
    FilterTable(String),
    /// Remove the folder by which programs of ours stay in the kernel. Whoever starts with the same settings goes on
    /// with them instead.
    Pinned { folder: PathBuf, settings: String },
    /// Remove a tunnel device that outlives us, with its addresses and routes.
    Device { index: u32, name: String, alias: String },
}

impl Undo {
    /// True for what the kernel needs in order to go on forwarding for a killed node.
    pub fn outlives(&self) -> bool {
        match self {
            Undo::Pinned { .. } | Undo::Device { .. } | Undo::Rule(_) | Undo::FilterTable(_) => true,
            Undo::Parameter(_) | Undo::Proxied { .. } => false,
        }
    }
}

impl changes::Undo for Undo {
    type Kernel = Netlink;

    fn perform(&self, netlink: &mut Netlink) -> Result<(), Error> {
        let (result, what) = match self {
            Undo::Parameter(parameter) => return parameter.restore::<Self>(),
            Undo::Rule(rule) => (netlink.remove_rule(rule), "remove a policy rule".to_owned()),
            Undo::Proxied { interface, address } => {
                (netlink.remove_proxied(*interface, *address), format!("stop answering for {address}"))
            }
            Undo::FilterTable(table) => return filter::remove_table(table),
            Undo::Pinned { folder, .. } => {
                (fs::remove_dir_all(folder), format!("remove {}", folder.display()))
            }
            Undo::Device { index, name, alias } => {
                (remove_device(netlink, *index, name, alias), format!("remove the device {name}"))
            }
        };
        unless_gone(result).trying(|| what)
    }

    fn of_parameter(parameter: Parameter) -> Self {
        Self::Parameter(parameter)
    }

    fn parameter(key: &str) -> io::Result<String> {
        parameter(key)
    }

    fn write_parameter(key: &str, value: &str) -> io::Result<()> {
        write_parameter(key, value)
    }

    fn realm() -> Result<String, Error> {
        let boot = parameter("kernel/random/boot_id").trying(|| "read the boot identifier".to_owned())?;
        let cookie = super::sys::namespace_cookie().trying(|| "identify the network namespace".to_owned())?;
        Ok(format!("{boot} {cookie}"))
    }
}

/// Removes a device if it is still the one that was ours.
fn remove_device(netlink: &mut Netlink, index: u32, name: &str, alias: &str) -> io::Result<()> {
    let links = netlink.links()?;
    match links.iter().any(|link| link.index == index && link.name == name && link.alias == alias) {
        true => netlink.remove_link(index),
        false => Ok(()),
    }
}

/// A kernel parameter's value; `key` is its path below `/proc/sys`.
pub fn parameter(key: &str) -> io::Result<String> {
    Ok(fs::read_to_string(Path::new("/proc/sys").join(key))?.trim_end().to_owned())
}

/// Sets a kernel parameter; only for those that vanish with an object of ours is this right to call.
pub fn write_parameter(key: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys").join(key), value)
}
