//! The one loop of a node: wait for a packet, a deadline, a command or a signal; let forwarding and role decide;
//! carry out what they say. Also how a node ends without leaving anything behind.
//! Called by `cli` through [`run`].

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::config::{
    ArSettings, CaptureSettings, Forwarding, HaaSettings, MemberEntry, Role, RoleSettings, Settings,
};
use super::control::{Control, ControlDirectory, Request, Respond};
use super::data_path::DataPath;
use super::error::Error;
use super::event_log::EventLog;
use super::groups;
use super::keys;
use super::node::{Node, NodeCommand};
use super::polling::{Polling, Purpose, Reading};
use super::start::{
    Own, ask_applications, at_home, prepare, resolve_in_time, take_in_for_initiator, take_in_for_responder,
    usable,
};
use crate::forwarding::user::{Direction, Fate};
use crate::platform::{
    self, Host, Intake, InterfaceAddress, Options, ROUTE_PROTOCOL, Received, signals::Signals,
};
use crate::protocol::action::{Action, Observation, Rule, RuleKey, RuleKind};
use crate::protocol::ar::ArCommand;
use crate::protocol::auth::members::MemberChange;
use crate::protocol::clock::Instant;
use crate::protocol::haa::HaaCommand;
use crate::protocol::report::Report;
use crate::wire::PacketBuffer;

/// Rounds of packets handled before timers, commands and signals are looked at again.
const ROUNDS: usize = 16;

/// Runs a node until a signal ends it.
///
/// # Errors
/// When it cannot start; whatever it had changed is undone.
pub fn run(mut settings: Settings) -> Result<(), Error> {
    // Before anything is changed: a signal in the middle of the start must undo what was done so far.
    let mut signals = Signals::catch().map_err(Error::Loop)?;
    let path = settings.control.display().to_string();
    let unusable = |source| Error::Control { path: path.clone(), source };
    // Dropped last, when the files in it are gone.
    let _directory = ControlDirectory::make(&settings.control).map_err(unusable)?;
    let role = settings.role.role();
    let options = Options {
        interface: settings.interface.clone(),
        journal: settings.control.with_extension("undo"),
        name: format!("{role}-{}", settings.interface),
        // Only a kernel that forwards has anything to go on with.
        settings: (cfg!(mga_ebpf) && settings.forwarding != Forwarding::User)
            .then(|| json!(settings.words()).to_string()),
    };
    take_back_others(&settings);
    let mut host = Host::open(&options)?;
    let chosen = matches!(settings.role, RoleSettings::Ar(ArSettings { care_of: Some(_), .. }));
    let addresses = resolve_in_time(&host, &mut settings, &mut signals)?;
    let (node, mut own) = prepare(&mut host, &settings, &addresses)?;
    if let Own::CareOf { follow, .. } = &mut own {
        *follow = !chosen;
    }
    let control = Control::listen(&settings.control).map_err(unusable)?;
    let polling = ask_applications(&settings).map_err(Error::Loop)?;
    let started = std::time::Instant::now();
    let sources = fixed_sources(&settings);
    let data_path = DataPath::start(settings.forwarding, role, sources, started, &mut host)?;
    tracing::info!(
        role = %role, interface = %host.interface().name, device = %host.tunnel_name(),
        control = %settings.control.display(), "node started"
    );
    let mut daemon = Daemon {
        settings: &settings,
        host,
        node,
        own,
        data_path,
        control,
        polling,
        log: EventLog::default(),
        started,
        sending: Vec::new(),
        delivering: Vec::new(),
        seen: Vec::new(),
        ending: false,
        send_failures: 0,
        delivery_failures: 0,
    };
    let result = daemon.run(signals);
    let Daemon { host, control, polling, data_path, .. } = daemon;
    drop(polling);
    drop(control);
    drop(data_path);
    let closed = host.close();
    result?;
    closed?;
    tracing::info!("node ended; the system is as it was");
    Ok(())
}

/// What a killed node of another role still has the kernel do on this interface, at control sockets of the usual names, is
/// over: the interface has this role now. A node that lives is left alone.
fn take_back_others(settings: &Settings) {
    for role in Role::ALL.into_iter().filter(|role| *role != settings.role.role()) {
        let journal = settings.control.with_file_name(format!("{role}-{}.undo", settings.interface));
        if let Err(error) = Host::take_back(&journal) {
            tracing::warn!(%error, %role, "what a killed node left could not be taken back");
        }
    }
}

/// How many sources an agent's groups hold fixed at most.
fn fixed_sources(settings: &Settings) -> usize {
    let RoleSettings::Haa(HaaSettings { groups, .. }) = &settings.role else { return 0 };
    groups.values().filter_map(|group| group.affinity).map(|affinity| affinity.capacity).sum()
}

struct Daemon<'a> {
    settings: &'a Settings,
    host: Host,
    node: Node,
    own: Own,
    data_path: DataPath,
    control: Control,
    polling: Polling,
    log: EventLog,
    started: std::time::Instant,
    sending: Vec<PacketBuffer>,
    delivering: Vec<PacketBuffer>,
    seen: Vec<Observation>,
    ending: bool,
    send_failures: u64,
    delivery_failures: u64,
}

impl Daemon<'_> {
    fn now(&self) -> Instant {
        Instant::from_start(self.started.elapsed())
    }

    fn run(&mut self, mut signals: Signals) -> Result<(), Error> {
        let mut received = Vec::new();
        self.adopt();
        loop {
            self.act();
            if self.ending && self.node.is_finished() {
                self.log.sum_up();
                return Ok(());
            }
            self.wait(&signals)?;
            if signals.take() {
                self.end();
            }
            if signals.take_check() {
                self.polling.ask_now();
            }
            self.take_readings();
            for _ in 0..ROUNDS {
                let count = self.host.receive(&mut received).map_err(Error::Loop)?;
                if count == 0 {
                    break;
                }
                self.take_packets(&mut received);
                self.act();
            }
            if self.host.take_changes() {
                self.addresses_changed()?;
            }
            let now = self.now();
            self.data_path.look(now, &self.node, &mut self.host, &mut self.seen);
            self.disown(now);
            self.tell_role(now);
            if self.node.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.node.handle_timeout(now);
            }
            self.log.summarise(now);
            self.serve_operators();
        }
    }

    /// Sleeps until something is to be done.
    fn wait(&self, signals: &Signals) -> Result<(), Error> {
        let deadlines = [
            self.node.poll_timeout().map(|(at, _)| at),
            self.log.poll_timeout(),
            self.data_path.poll_timeout(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(at) => {
                let wait = at.saturating_since(self.now());
                // Rounded up, or the loop would spin through the last millisecond.
                let wait = if wait.is_zero() { wait } else { wait + Duration::from_millis(1) };
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
            }
        };
        let waking = [signals.poll_fd(), signals.check_fd(), self.polling.poll_fd()];
        let descriptors = self.host.poll_fds().into_iter().chain(waking).chain(self.data_path.poll_fd());
        let mut fds: Vec<_> = descriptors.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        fds.extend(self.control.poll_fds());
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(Error::Loop(errno.into())),
        }
    }

    /// Hands the role what applications have said, and asks what it wants to know of a drain.
    fn take_readings(&mut self) {
        for Reading { anycast, purpose, answer } in self.polling.take() {
            let now = self.now();
            if let Err(error) = &answer
                && self.log.allows(now, "application")
            {
                tracing::warn!(%anycast, ?purpose, %error, "the application gave no good answer");
            }
            let command = match (purpose, answer) {
                (Purpose::Metric, Ok(Some(value))) => ArCommand::Measured { anycast, value },
                // The metric stays what it was.
                (Purpose::Metric, _) => continue,
                (Purpose::Health, answer) => ArCommand::Checked { anycast, well: answer.is_ok() },
                // Exact: it was counted.
                (Purpose::Drain, answer) => {
                    let count = answer.ok().flatten().map(|count| count as u64);
                    ArCommand::Established { anycast, count }
                }
            };
            if let Err(error) = self.node.handle_command(now, NodeCommand::Responder(command)) {
                tracing::debug!(error, "an answer of an application");
            }
        }
        if let Err(error) = self.polling.count_connections(&self.node.draining())
            && self.log.allows(self.now(), "application")
        {
            tracing::warn!(%error, "connections cannot be counted");
        }
    }

    /// Lets forwarding and role decide about a batch.
    fn take_packets(&mut self, received: &mut Vec<Received>) {
        let now = self.now();
        for Received { mut packet, intake } in received.drain(..) {
            let fate = match intake {
                Intake::Own => self.data_path.forward(now, Direction::Outbound, &mut packet, &mut self.seen),
                Intake::Steal => self.data_path.forward(now, Direction::Inbound, &mut packet, &mut self.seen),
                Intake::Tap => Fate::Role,
            };
            match fate {
                Fate::Send => self.sending.push(packet),
                Fate::Deliver => self.delivering.push(packet),
                Fate::Role => {
                    self.node.handle_packet(now, packet.as_slice());
                    self.carry_out_all();
                    self.host.recycle(packet);
                }
                Fate::DeliverAndRole => {
                    self.node.handle_packet(now, packet.as_slice());
                    self.carry_out_all();
                    self.delivering.push(packet);
                }
                Fate::Drop(_) => self.host.recycle(packet),
            }
        }
        self.tell_role(now);
    }

    /// Tells the role what the data path has seen.
    fn tell_role(&mut self, now: Instant) {
        for observation in self.seen.drain(..) {
            self.node.handle_observation(now, observation);
        }
    }

    /// Carries out everything the role has asked for, then moves packets.
    fn act(&mut self) {
        self.carry_out_all();
        self.flush();
    }

    /// Carries out everything the role has asked for. The next packet of a batch must find the rules that the one
    /// before it has brought: data follows an update at once.
    fn carry_out_all(&mut self) {
        while let Some(action) = self.node.poll_action() {
            if let Err(error) = self.carry_out(action)
                && self.log.allows(self.now(), "system-refusal")
            {
                tracing::error!(%error, "the system refused what the protocol needs");
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Result<(), platform::Error> {
        match action {
            Action::Send(packet) => self.sending.push(PacketBuffer::new(&packet)),
            Action::Deliver(packet) => self.delivering.push(PacketBuffer::new(&packet)),
            Action::InstallRule(rule) => {
                let until = self.node.holds_until(&rule.key());
                self.data_path.install(self.now(), rule, until, &mut self.host);
                if let Rule::RoutingHeaderOut { anycast, own, .. } = rule {
                    self.host.redirect(anycast, own)?;
                }
            }
            Action::RemoveRule(key) => {
                if self.data_path.remove(&key, &mut self.host).is_some()
                    && key.kind == RuleKind::RoutingHeaderOut
                {
                    self.unredirect(key)?;
                }
            }
            Action::InstallGroup(group) => {
                let now = self.now();
                self.data_path.install_group(now, group, &mut self.host, &mut self.seen);
                self.tell_role(now);
            }
            Action::RemoveGroup(anycast) => {
                let now = self.now();
                self.data_path.remove_group(now, &anycast, &mut self.host, &mut self.seen);
                self.tell_role(now);
            }
            Action::CountSources(anycast) => {
                let now = self.now();
                let of = self.data_path.sources_per_member(now, &anycast);
                self.seen.push(Observation::Sources { anycast, of });
                self.tell_role(now);
            }
            Action::SendToGroup(packet) => {
                let mut packet = PacketBuffer::new(&packet);
                if self.data_path.send_to_group(self.now(), &mut packet) == Fate::Send {
                    self.sending.push(packet);
                }
            }
            Action::CaptureAddress(address) => self.host.own(address)?,
            // What a killed run left goes on, and is ended by `disown`.
            Action::ReleaseAddress(address) | Action::UnrouteAddress(address)
                if self.data_path.left().contains(&address) => {}
            Action::ReleaseAddress(address) => self.host.disown(address)?,
            Action::RouteAddress(address) => self.host.route(address, self.route_protocol())?,
            Action::UnrouteAddress(address) => self.host.unroute(address)?,
            Action::Report(report) => self.tell(&report),
        }
        Ok(())
    }

    /// Goes on drawing packets for what a killed run left in service, and takes back the rest of what it left.
    fn adopt(&mut self) {
        let agent = matches!(self.node, Node::Haa(_));
        let adopted = self.data_path.adopted();
        let served = adopted.iter().map(|rule| rule.key().anycast).filter(|_| agent);
        let served: BTreeSet<_> = served.chain(self.data_path.left()).collect();
        for anycast in served {
            let drawn = match self.draws_by_route() {
                true => self.host.route(anycast, self.route_protocol()),
                false => self.host.own(anycast),
            };
            if let Err(error) = drawn {
                tracing::warn!(%anycast, %error, "packets are not drawn for an address in service");
            }
        }
        for rule in adopted {
            if let Rule::RoutingHeaderOut { anycast, own, .. } = rule
                && let Err(error) = self.host.redirect(anycast, own)
            {
                tracing::warn!(%anycast, %error, "packets do not go directly any more");
            }
        }
        if let Err(error) = self.host.end_taking_over() {
            tracing::warn!(%error, "what a killed run left could not be taken back");
        }
    }

    /// Bindings that a killed run knew and that nobody has renewed are over; of members it is only known that none lasts
    /// longer than the longest lifetime there is.
    fn disown(&mut self, now: Instant) {
        if let RoleSettings::Haa(HaaSettings { max_lifetime, .. }) = &self.settings.role
            && now >= Instant::START + Duration::from_secs(u64::from(*max_lifetime))
        {
            for anycast in self.data_path.disown_members(now, &mut self.host, &mut self.seen) {
                let released = match self.draws_by_route() {
                    _ if self.data_path.serves(anycast) => Ok(()),
                    true => self.host.unroute(anycast),
                    false => self.host.disown(anycast),
                };
                if let Err(error) = released {
                    tracing::warn!(%anycast, %error, "packets are still drawn for an address");
                }
            }
        }
        for key in self.data_path.disown(now, &mut self.host) {
            let agent = matches!(self.node, Node::Haa(_));
            let released = match key.kind {
                RuleKind::RoutingHeaderOut => self.unredirect(key),
                _ if !agent || self.data_path.serves(key.anycast) => Ok(()),
                _ if self.draws_by_route() => self.host.unroute(key.anycast),
                _ => self.host.disown(key.anycast),
            };
            if let Err(error) = released {
                tracing::warn!(anycast = %key.anycast, %error, "packets are still drawn for an address");
            }
        }
    }

    fn draws_by_route(&self) -> bool {
        matches!(
            &self.settings.role,
            RoleSettings::Haa(HaaSettings { capture: CaptureSettings::Route { .. }, .. })
        )
    }

    /// The number of the routes that draw packets here.
    fn route_protocol(&self) -> u8 {
        match &self.settings.role {
            RoleSettings::Haa(HaaSettings { capture: CaptureSettings::Route { protocol }, .. }) => *protocol,
            _ => ROUTE_PROTOCOL,
        }
    }

    /// The address stays redirected while another own address has a binding for it.
    fn unredirect(&mut self, gone: RuleKey) -> Result<(), platform::Error> {
        let other = self.data_path.rules().into_iter().find_map(|installed| match installed.rule {
            Rule::RoutingHeaderOut { anycast, own, .. } if anycast == gone.anycast => Some(own),
            _ => None,
        });
        match other {
            Some(own) => self.host.redirect(gone.anycast, own),
            None => self.host.unredirect(gone.anycast),
        }
    }

    fn flush(&mut self) {
        if !self.delivering.is_empty()
            && let Err(error) = self.host.deliver(&mut self.delivering)
        {
            self.delivery_failures += 1;
            tracing::debug!(%error, "the host's stack refused packets");
            self.delivering.clear();
        }
        if self.sending.is_empty() {
            return;
        }
        let report = self.host.send(&mut self.sending);
        for (packet, error) in report.failed {
            if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) {
                self.answer_too_big(&packet);
            } else {
                self.send_failures += 1;
                tracing::debug!(%error, "a packet could not be sent");
            }
            self.host.recycle(packet);
        }
    }

    /// The rewritten packet does not fit its path: its sender learns the size that does (RFC 2473 7.1).
    fn answer_too_big(&mut self, packet: &PacketBuffer) {
        let header = packet.as_slice();
        let address = |at: usize| {
            let octets: Option<[u8; 16]> = header.get(at..at + 16).and_then(|octets| octets.try_into().ok());
            octets.map(Ipv6Addr::from)
        };
        let (Some(from), Some(destination)) = (address(8), address(24)) else { return };
        let mtu = match self.host.route_mtu(destination) {
            Ok(mtu) => mtu,
            Err(error) => return tracing::debug!(%error, "no path MTU"),
        };
        let Some(error) = self.data_path.too_big(packet, mtu, &from) else { return };
        // An agent's inner sender is elsewhere and is reached by forwarding; a responder's or initiator's is this
        // host. Handing the error to the own stack serves both.
        let mut packets = vec![PacketBuffer::new(&error)];
        if let Err(error) = self.host.deliver(&mut packets) {
            tracing::debug!(%error, "the host's stack refused a Packet Too Big");
        }
    }

    fn tell(&mut self, report: &Report) {
        self.log.report(self.now(), report);
        if self.control.watchers() > 0 {
            let mut event = json!(report);
            event["at"] = json!(self.started.elapsed().as_secs_f64());
            self.control.publish(&event);
        }
    }

    fn end(&mut self) {
        if self.ending {
            return;
        }
        self.ending = true;
        tracing::info!("ending: asked to by a signal");
        let now = self.now();
        if let Err(error) = self.node.handle_command(now, NodeCommand::Shutdown) {
            tracing::debug!(error, "shutdown");
        }
    }

    /// The interface's addresses changed: an initiator answers on whatever it has now.
    fn addresses_changed(&mut self) -> Result<(), Error> {
        let interface = self.host.interface();
        if nix::net::if_::if_nametoindex(interface.name.as_str()) != Ok(interface.index) {
            return Err(Error::InterfaceGone(interface.name.clone()));
        }
        let usable = usable(self.host.addresses()?);
        let current: Vec<_> = usable.iter().map(|a| a.address).collect();
        match &mut self.own {
            Own::CareOf { .. } => self.care_of_changed(&usable)?,
            Own::Fixed(address) if !current.contains(address) => {
                tracing::warn!(%address, "the interface lost the address this node speaks from");
            }
            Own::Fixed(_) => {}
            Own::Interface(own) if *own != current => {
                take_in_for_initiator(&mut self.host, &current)?;
                *own = current;
            }
            Own::Interface(_) => {}
        }
        Ok(())
    }

    /// A responder is where its interface is (RFC 3775 11.5): another care-of address when the one in use is gone, and
    /// home when a home prefix is there that was not.
    fn care_of_changed(&mut self, usable: &[InterfaceAddress]) -> Result<(), Error> {
        let (Own::CareOf { address, follow, home }, RoleSettings::Ar(settings)) =
            (&mut self.own, &self.settings.role)
        else {
            return Ok(());
        };
        let served: BTreeSet<_> = settings.anycast.iter().map(|entry| entry.address).collect();
        let now_home = at_home(settings.basic(), settings.home_prefix_length, usable);
        let left = home.difference(&now_home).next().is_some();
        let gone = !usable.iter().any(|a| a.address == *address);
        let other = usable.iter().find(|a| !a.deprecated && !served.contains(&a.address)).map(|a| a.address);
        let to = match other.filter(|_| gone) {
            Some(other) if *follow => Some(other),
            _ if gone => {
                tracing::warn!(%address, "the interface lost the address this node speaks from");
                None
            }
            _ => left.then_some(*address),
        };
        *home = now_home.clone();
        let link_address = self.host.interface().link_address;
        // Who is home with every anycast address needs no care-of address.
        if let Some(to) = to.filter(|_| now_home.len() < served.len()) {
            self.move_to(to)?;
        }
        // Those that were home before are not told anew, unless the move has taken them from there.
        for anycast in now_home {
            let Some(link_address) = link_address else { continue };
            let command = NodeCommand::ReturnHome { anycast, link_address };
            if let Err(error) = self.node.handle_command(self.now(), command) {
                tracing::warn!(error, "cannot return home");
            }
        }
        self.take_in_care_of()
    }

    fn move_to(&mut self, to: Ipv6Addr) -> Result<(), Error> {
        if let Own::CareOf { address, .. } = &mut self.own {
            *address = to;
        }
        let now = self.now();
        if let Err(error) = self.node.handle_command(now, NodeCommand::Move(to)) {
            tracing::warn!(error, "cannot move");
        }
        self.take_in_care_of()
    }

    fn take_in_care_of(&mut self) -> Result<(), Error> {
        let now = self.now();
        if let (Node::Ar(node), Own::CareOf { home, .. }) = (&self.node, &self.own) {
            take_in_for_responder(&mut self.host, &node.care_of_addresses(now), home)?;
        }
        Ok(())
    }

    /// An operator's move: only to an address that packets can come to.
    fn move_by_order(&mut self, to: Ipv6Addr) -> Result<Value, String> {
        let known = self.host.addresses().map_err(|error| error.to_string())?;
        if !matches!(self.own, Own::CareOf { .. }) {
            return Err("only a responder (role ar) knows this command".to_owned());
        }
        if !known.iter().any(|a| a.address == to && !a.tentative) {
            return Err(format!("{to} is not an address of {}", self.settings.interface));
        }
        self.move_to(to).map_err(|error| error.to_string())?;
        Ok(json!({ "done": true }))
    }

    fn serve_operators(&mut self) {
        for (client, request) in self.control.take_requests() {
            let answer = match request {
                Ok(request) => self.answer(request),
                Err(message) => Respond::Error(message),
            };
            self.control.respond(client, &answer);
        }
        self.control.flush();
    }

    fn answer(&mut self, request: Request) -> Respond {
        let now = self.now();
        let told = match request {
            Request::Watch => return Respond::Watch,
            Request::ShowBindings => self.node.bindings(now),
            Request::ShowUpdates => self.node.updates(now),
            Request::ShowMembers => groups::members(&self.node, &mut self.data_path, now),
            Request::ShowAffinity { most } => groups::affinity(&self.node, &mut self.data_path, now, most),
            Request::Explain { source, destination } => {
                Ok(groups::explain(&self.node, &mut self.data_path, now, source, destination))
            }
            Request::ShowRules => Ok(groups::rules(&mut self.data_path, now)),
            Request::ShowKernelRules => self.data_path.in_kernel(),
            Request::ShowStats => Ok(self.stats()),
            Request::ShowTimers => Ok(self.timers(now)),
            Request::ShowConfig => Ok(self.config()),
            Request::Register { anycast } => self.command(now, NodeCommand::Register(anycast)),
            Request::Deregister { anycast } => self.command(now, NodeCommand::Deregister(anycast)),
            Request::Move { care_of } => self.move_by_order(care_of),
            Request::AddMember { member } => self.add_member(now, &member),
            Request::DisableMember { identifier } => {
                self.change_member(now, MemberChange::Disable(identifier))
            }
            Request::EnableMember { identifier } => self.change_member(now, MemberChange::Enable(identifier)),
            Request::RemoveMember { identifier } => self.change_member(now, MemberChange::Remove(identifier)),
            Request::DrainMember { anycast, care_of } => {
                self.command(now, NodeCommand::Agent(HaaCommand::Drain { anycast, care_of }))
            }
            Request::UndrainMember { anycast, care_of } => {
                self.command(now, NodeCommand::Agent(HaaCommand::Undrain { anycast, care_of }))
            }
            // At an agent the peers that are remembered are fixed sources.
            Request::FlushPeers { peer } if matches!(self.node, Node::Haa(_)) => {
                groups::forget(&mut self.data_path, peer)
            }
            Request::FlushPeers { peer } => self.command(now, NodeCommand::FlushPeers(peer)),
            Request::Drain { anycast, deadline } => {
                let within = deadline.map(Duration::from_secs);
                self.command(now, NodeCommand::Responder(ArCommand::Drain { anycast, within }))
            }
            Request::Undrain { anycast } => {
                self.command(now, NodeCommand::Responder(ArCommand::Undrain(anycast)))
            }
            Request::Metric { anycast, metric } => {
                self.command(now, NodeCommand::Responder(ArCommand::Metric { anycast, metric }))
            }
            Request::Weight { anycast, weight } => {
                self.command(now, NodeCommand::Responder(ArCommand::Weight { anycast, weight }))
            }
        };
        match told {
            Ok(value) => Respond::Value(value),
            Err(message) => Respond::Error(message),
        }
    }

    fn command(&mut self, now: Instant, command: NodeCommand) -> Result<Value, String> {
        self.node.handle_command(now, command).map(|()| json!({ "done": true }))
    }

    fn add_member(&mut self, now: Instant, entry: &MemberEntry) -> Result<Value, String> {
        entry.check().map_err(|error| error.to_string())?;
        let member = keys::member(entry).map_err(|error| error.to_string())?;
        self.change_member(now, MemberChange::Add(member))
    }

    fn change_member(&mut self, now: Instant, change: MemberChange) -> Result<Value, String> {
        self.node.change_member(now, change).map(|()| json!({ "done": true }))
    }

    fn stats(&self) -> Value {
        let protocol: serde_json::Map<_, _> =
            self.node.counters().iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let mut dropped: serde_json::Map<_, _> =
            self.data_path.drops().iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        dropped.insert("unsendable".to_owned(), json!(self.send_failures));
        dropped.insert("undeliverable-batches".to_owned(), json!(self.delivery_failures));
        dropped.insert("malformed-frames".to_owned(), json!(self.host.malformed()));
        json!({ "protocol": protocol, "dropped": dropped })
    }

    /// What the node waits for next, and the lifetimes it watches over, soonest first.
    fn timers(&self, now: Instant) -> Value {
        let mut timers: Vec<Value> = self
            .node
            .poll_timeout()
            .map(|(at, reason)| json!({ "timer": reason, "in": at.saturating_since(now).as_secs_f64(), "next": true }))
            .into_iter()
            .collect();
        timers.extend(self.node.lifetimes(now));
        json!(timers)
    }

    fn config(&self) -> Value {
        let addresses = match &self.own {
            Own::Fixed(address) | Own::CareOf { address, .. } => vec![*address],
            Own::Interface(addresses) => addresses.clone(),
        };
        json!({
            "config": self.settings.words(),
            "running": {
                "device": self.host.tunnel_name(),
                "addresses": addresses,
                "forwarding": self.data_path.name(),
                "watchers": self.control.watchers(),
                "pid": std::process::id(),
                "version": env!("CARGO_PKG_VERSION"),
            },
        })
    }
}
