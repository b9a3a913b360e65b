//! What a node changes in a FreeBSD system and how each change is taken back: the words of the undo journal.
//! Design section 3: nothing of ours may survive the node; no RFC is concerned.
//! Called by `platform::changes`, which makes and takes back, and by the rest of `platform::freebsd`.

use super::{
    super::{
        changes::{self, Parameter, unless_gone},
        error::{Error, Trying},
    },
    divert,
    interfaces::Interfaces,
    routing::Routing,
    sys,
};
use serde::{Deserialize, Serialize};
use std::{io, net::Ipv6Addr};

/// The changes of a FreeBSD system that are in force.
pub type Changes = changes::Changes<Undo>;

/// How one change is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Restore a kernel parameter.
    Parameter(Parameter),
    /// Remove our tunnel device, and with it its addresses and the routes into it.
    Device(String),
    /// Stop answering Neighbor Solicitations.
    Proxied { interface: u32, address: Ipv6Addr },
    /// Remove our ipfw rules of this number.
    Rules(u16),
}

/// What changes are made with.
pub struct Kernel {
    pub interfaces: Interfaces,
    pub routing: Routing,
}

impl changes::Undo for Undo {
    type Kernel = Kernel;

    fn perform(&self, kernel: &mut Kernel) -> Result<(), Error> {
        let (result, what) = match self {
            Undo::Parameter(parameter) => return parameter.restore::<Self>(),
            Undo::Device(name) => (kernel.interfaces.destroy(name), format!("remove the device {name}")),
            Undo::Proxied { interface, address } => {
                (kernel.routing.remove_proxied(*address, *interface), format!("stop answering for {address}"))
            }
            Undo::Rules(number) => return divert::remove_rules(*number),
        };
        unless_gone(result).trying(|| what)
    }

    fn of_parameter(parameter: Parameter) -> Self {
        Self::Parameter(parameter)
    }

    fn parameter(key: &str) -> io::Result<String> {
        sys::parameter(key)
    }

    fn write_parameter(key: &str, value: &str) -> io::Result<()> {
        sys::write_parameter(key, value)
    }

    fn realm() -> Result<String, Error> {
        // Kernels before the random identifier of the boot have its time, which moves when the clock is set: what was
        // left is then found by its marks only.
        let boot = sys::parameter_octets("kern.boot_id").or_else(|_| sys::parameter_octets("kern.boottime"));
        let boot = boot.trying(|| "identify the boot".to_owned())?;
        Ok(boot.iter().map(|octet| format!("{octet:02x}")).collect())
    }
}
