//! What a host does for programs of ours in the kernel's data path: it stands behind them with its own intake, tells
//! them the way to an address, and tells when that may have changed. Two executors of one set
//! of rules (design section 3) need it; no RFC does. Called by `daemon` when it has a fast path.

use super::{
    super::{
        error::{Error, Trying},
        interface::{Interface, NextHop},
    },
    Host, Netlink, Undo,
    filter::{self, DropAt},
    netlink::RouteEvents,
    sender::MARK,
    sys,
};
use std::net::Ipv6Addr;

impl Host {
    /// The tunnel device.
    pub fn tunnel(&self) -> Interface {
        Interface {
            index: self.tunnel.index(),
            name: self.tunnel.name().to_owned(),
            mtu: self.interface.tunnel_mtu(),
            link_address: None,
            is_software: true,
        }
    }

    /// Names this node among all of this machine and of this boot.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn identity(&self) -> Result<String, Error> {
        let namespace = sys::namespace_cookie().trying(|| "identify the network namespace".to_owned())?;
        Ok(format!("{} {} {namespace}", self.name, self.interface.index))
    }

    /// Takes from the link only what the device's traffic control lets through, and watches the routes; or does neither
    /// any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stand_behind_classifiers(&mut self, behind: bool) -> Result<(), Error> {
        self.route_events = match behind {
            true => Some(RouteEvents::open().trying(|| "watch the routes".to_owned())?),
            false => None,
        };
        self.drop_at = if behind { DropAt::Prerouting } else { DropAt::Ingress };
        self.link.stand_behind_classifiers(behind).trying(|| "bind the packet socket anew".to_owned())?;
        let table = filter::table_name(&self.name);
        if self.changes.in_force(&Undo::FilterTable(table.clone())) {
            self.filter.install_table(&table, &self.interface.name, self.drop_at)?;
        }
        Ok(())
    }

    /// Where packets of ours to `destination` go next; `None` when there is no route.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_hop(&self, destination: Ipv6Addr) -> Result<Option<NextHop>, Error> {
        let way = Netlink::open()
            .and_then(|mut netlink| netlink.next_hop(destination, MARK))
            .trying(|| format!("find the route to {destination}"))?;
        let Some((device, neighbour)) = way else { return Ok(None) };
        Ok(Some(NextHop { device, neighbour, mtu: self.route_mtu(destination)? }))
    }

    /// True when a route or a neighbour may have changed since the last call.
    pub fn take_route_changes(&mut self) -> bool {
        self.route_events.as_mut().is_some_and(RouteEvents::take)
    }
}
