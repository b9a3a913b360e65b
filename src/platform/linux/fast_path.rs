//! What a host does for programs of ours in the kernel's data path: it stands behind them with its own intake, tells
//! them the way to an address and when that may have changed, and keeps what they need when this process is killed. Two
//! executors of one set of rules (design section 3) need it; no RFC does. Called by `daemon` when it has a fast path.

use super::{
    super::{
        changes::unless_gone,
        error::{Error, Trying},
        interface::{Interface, NextHop},
    },
    Changes, Host, Netlink, Rule, Tunnel, Undo,
    filter::{self, DropAt},
    netlink::RouteEvents,
    sender::MARK,
    sys,
};
use std::{io, net::Ipv6Addr, path::Path};

/// What the tunnel device of the node `name` is called besides.
fn alias(name: &str) -> String {
    format!("mga-node {name}")
}

/// Whether programs of a killed run with these settings are still at work.
pub fn is_left(changes: &Changes, settings: Option<&str>) -> bool {
    let Some(wanted) = settings else { return false };
    changes.steps().any(|step| match step {
        Undo::Pinned { folder, settings } => settings == wanted && folder.is_dir(),
        _ => false,
    })
}

/// The tunnel device of the node `name`: the one that a killed run left, or a new one.
pub fn tunnel(changes: &mut Changes, name: &str, mtu: u32) -> Result<Tunnel, Error> {
    let alias = alias(name);
    let left = changes.steps().find_map(|step| match step {
        Undo::Device { index, name, .. } => Some((*index, name.clone())),
        _ => None,
    });
    if let Some((index, device)) = left {
        match Tunnel::take_over(&mut changes.kernel, (index, &device), &alias, mtu) {
            Ok(tunnel) => return Ok(tunnel),
            Err(error) => tracing::warn!(%error, %device, "what a killed run left is of no use"),
        }
        changes.undo_but(|_| false)?;
    }
    Tunnel::create(&mut changes.kernel, &alias, mtu)
}

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

    /// From now on a kill leaves `folder`, by which programs stay in the kernel: noted before it is made.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn leave_pinned(&mut self, folder: &Path) -> Result<(), Error> {
        let undo = Undo::Pinned { folder: folder.to_owned(), settings: self.settings.clone() };
        if self.changes.in_force(&undo) {
            return Ok(());
        }
        self.changes.make(undo, |_| Ok(()))
    }

    /// From now on a kill leaves the tunnel device too, with its addresses and routes.
    ///
    /// # Errors
    /// When the journal cannot be written; what the kernel says.
    pub fn leave_tunnel(&mut self) -> Result<(), Error> {
        let undo = self.device();
        if self.changes.in_force(&undo) {
            return Ok(());
        }
        let tunnel = &self.tunnel;
        let what = || format!("have {} stay", tunnel.name());
        self.changes.make(undo, |_| tunnel.set_persistent(true).trying(what))
    }

    /// A kill leaves nothing that forwards any more.
    ///
    /// # Errors
    /// When the journal cannot be written; what the kernel says.
    pub fn leave_nothing(&mut self) -> Result<(), Error> {
        let undo = self.device();
        if self.changes.in_force(&undo) {
            let what = || format!("have {} not stay", self.tunnel.name());
            self.tunnel.set_persistent(false).trying(what)?;
            self.changes.forget(&undo)?;
        }
        let pinned = |step: &&Undo| matches!(step, Undo::Pinned { .. });
        let pinned = self.changes.steps().find(pinned).cloned();
        pinned.map_or(Ok(()), |undo| self.changes.undo(&undo))
    }

    /// Takes back what a killed run left and this one has not taken up.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn end_taking_over(&mut self) -> Result<(), Error> {
        let assigned = self.assigned.iter().map(|address| self.rule(Some(*address), None));
        let redirected = self.redirected.keys().map(|address| self.rule(None, Some(*address)));
        let ours: Vec<Rule> = assigned.chain(redirected).collect();
        let left = self.changes.steps().filter_map(|step| match step {
            Undo::Rule(rule) if !ours.contains(rule) => Some(rule.clone()),
            _ => None,
        });
        for rule in left.collect::<Vec<_>>() {
            self.changes.undo(&Undo::Rule(rule.clone()))?;
            if rule.destination.is_some() {
                let route = self.table_route(rule.destination, None);
                let gone: io::Result<()> = unless_gone(self.changes.kernel.remove_route(&route));
                gone.trying(|| "remove a route".to_owned())?;
            }
        }
        Ok(())
    }

    /// Takes back what a killed node with this journal left for the kernel to go on with, if it is not alive again.
    ///
    /// # Errors
    /// What the kernel or the file system says.
    pub fn take_back(journal: &Path) -> Result<(), Error> {
        if !Changes::peek(journal)?.iter().any(|step| matches!(step, Undo::Pinned { .. })) {
            return Ok(());
        }
        let netlink = Netlink::open().trying(|| "talk to the kernel by netlink".to_owned())?;
        match Changes::open(journal, netlink) {
            Err(Error::Busy { .. }) => Ok(()),
            changes => changes?.close(),
        }
    }

    fn device(&self) -> Undo {
        let (index, name) = (self.tunnel.index(), self.tunnel.name().to_owned());
        Undo::Device { index, name, alias: alias(&self.name) }
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
