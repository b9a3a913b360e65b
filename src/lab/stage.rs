//! One step of a lab being played: what can be done on its machines, each action said aloud and waited for in the
//! captures. The scripts of thesis section 5, of Figure 10 and of the advanced model are written in it.
//! Opened and closed by `lab::run`.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    net::Ipv6Addr,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    Error, Trying,
    capturing::{Captures, Recorded},
    machine::{Guest, Machine, Process, TelnetService},
    node::{Launcher, Running},
    say::Say,
    topology::Plan,
    traffic::{self, Telnet},
};
use crate::{
    pcap::{ladder::Mark, view::View},
    wire::mobility::{Experimental, Message, MobilityOption, Offer, Status},
};

/// How long something that packets cause may take to be seen.
const SOON: Duration = Duration::from_secs(5);

/// Asked for by the responders of section 5, in seconds; a multiple of the 4 seconds that lifetimes are counted in on
/// the wire, and what the KAME captures of section 5.3 have.
const LIFETIME: &str = "96";

/// One step being played: its nodes, sessions and captures. Machines go by their names in the plan.
pub struct Stage<'a> {
    /// Starts nodes.
    pub launcher: &'a Launcher<'a>,
    /// What was done, and when since the lab began.
    pub actions: Vec<(Duration, String)>,
    /// Where it is said.
    pub say: Say,
    plan: &'a Plan,
    machines: &'a [Box<dyn Machine>],
    captures: Captures,
    /// In the order in which they were started.
    running: Vec<(&'static str, Running<'a>)>,
    sessions: BTreeMap<&'static str, Telnet>,
    servers: Vec<Box<dyn TelnetService>>,
    marks: Vec<Mark>,
}

impl<'a> Stage<'a> {
    /// Begins to record into `directory`.
    pub(super) fn open(
        launcher: &'a Launcher<'a>,
        plan: &'a Plan,
        machines: &'a [Box<dyn Machine>],
        directory: &Path,
        say: Say,
    ) -> Result<Self, Error> {
        let recorded =
            machines.iter().map(Box::as_ref).filter(|machine| plan.recorded.contains(&machine.name()));
        let captures = Captures::start(recorded, directory)?;
        Ok(Stage {
            launcher,
            actions: Vec::new(),
            say,
            plan,
            machines,
            captures,
            running: Vec::new(),
            sessions: BTreeMap::new(),
            servers: Vec::new(),
            marks: Vec::new(),
        })
    }

    /// The real stacks that stand on machines of the lab.
    pub(super) fn guests(&self) -> Vec<(&'a str, &'a Guest)> {
        self.machines.iter().filter_map(|machine| Some((machine.name(), machine.guest()?))).collect()
    }

    /// Ends the recording, then everything that still runs: what follows from the nodes' ending is no part of the
    /// step. Returns the captures and the headings.
    pub(super) fn close(self) -> Result<(Vec<Recorded>, Vec<Mark>), Error> {
        let recorded = self.captures.stop()?;
        // While there are nodes to carry the end of their connections.
        drop((self.sessions, self.servers));
        // A responder takes its leave of the agent, and waits for the answer.
        let (responders, others): (Vec<_>, Vec<_>) =
            self.running.into_iter().partition(|(name, _)| name.starts_with("AR"));
        for (_, process) in responders.into_iter().chain(others) {
            if let Err(error) = process.end() {
                self.say.line(&error.to_string());
            }
        }
        Ok((recorded, self.marks))
    }

    /// A machine.
    pub fn machine(&self, name: &str) -> Result<&'a dyn Machine, Error> {
        let missing = || Error::Step(format!("there is no machine {name}"));
        self.machines.iter().map(Box::as_ref).find(|machine| machine.name() == name).ok_or_else(missing)
    }

    fn address(&self, name: &str) -> Result<Ipv6Addr, Error> {
        self.plan.address(name).ok_or_else(|| Error::Step(format!("{name} has no address")))
    }

    /// A heading for what follows, here and in the diagrams.
    pub fn figure(&mut self, text: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.marks.push(Mark { at, text: text.to_owned() });
        self.say.line(text);
    }

    /// Says what has been done.
    pub fn done(&mut self, action: String) {
        self.say.line(&format!("  {action}"));
        self.actions.push((self.say.begin.elapsed(), action));
    }

    /// Waits for a packet at a machine, among those it has seen since it had seen `from`.
    pub fn wait_for_packet<T>(
        &self,
        what: &str,
        name: &str,
        from: usize,
        wanted: impl Fn(&View) -> Option<T>,
    ) -> Result<T, Error> {
        self.launcher.interruption.wait_for(what, SOON, || Ok(self.captures.find(name, from, &wanted)))
    }

    /// Waits until a machine has seen so many such packets.
    pub fn wait_for_packets(
        &self,
        what: &str,
        name: &str,
        count: usize,
        wanted: impl Fn(&View) -> bool,
    ) -> Result<(), Error> {
        let enough = || Ok((self.captures.count_of(name, &wanted) >= count).then_some(()));
        self.launcher.interruption.wait_for(what, SOON, enough)
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        let passed = || Ok((Instant::now() >= end).then_some(()));
        self.launcher.interruption.wait_for("the passing of time", time + SOON, passed)
    }

    /// Starts a node and waits until it answers on its control socket.
    pub fn start(&mut self, name: &'static str, role: &str, more: &[&str]) -> Result<(), Error> {
        let node = self.launcher.start(self.machine(name)?, role, more)?;
        self.running.push((name, node));
        Ok(())
    }

    /// As [`Stage::start`], with a configuration file of these words.
    pub fn start_configured(&mut self, name: &'static str, role: &str, text: &str) -> Result<(), Error> {
        let machine = self.machine(name)?;
        let file = machine.write_script(&format!("{}.toml", machine.file_name()), text)?;
        self.start(name, role, &["--config", &file.display().to_string()])
    }

    /// Writes a file that only its owner can read, and returns where it is.
    pub fn write_secret(&self, name: &str, file: &str, text: &str) -> Result<String, Error> {
        let machine = self.machine(name)?;
        let file = machine.write_script(&format!("{}-{file}", machine.file_name()), text)?;
        let file = file.display().to_string();
        machine.run(&["chmod", "600", &file])?;
        Ok(file)
    }

    /// The node that runs on a machine.
    pub fn running(&self, name: &str) -> Result<&Running<'a>, Error> {
        let found = self.running.iter().find(|(there, _)| *there == name);
        found.map(|(_, node)| node).ok_or_else(|| Error::Step(format!("{name} does not run")))
    }

    fn take_running(&mut self, name: &str) -> Result<Running<'a>, Error> {
        let place = self.running.iter().position(|(there, _)| *there == name);
        let place = place.ok_or_else(|| Error::Step(format!("{name} does not run")))?;
        Ok(self.running.remove(place).1)
    }

    /// The home agent of section 5: without authentication and without duplicate address detection, as in the KAME
    /// captures.
    pub fn start_agent(&mut self) -> Result<(), Error> {
        let agent = self.address("HAA")?.to_string();
        let anycast = self.plan.anycast.to_string();
        self.start(
            "HAA",
            "haa",
            &[
                "--agent",
                &agent,
                "--no-duplicate-address-detection",
                "--authentication",
                "none",
                "--anycast",
                &anycast,
            ],
        )?;
        self.done("HAA runs".to_owned());
        Ok(())
    }

    /// A responder of section 5, which discovers its agent and registers, beginning with this sequence number.
    pub fn start_responder(&mut self, name: &'static str, sequence: u16) -> Result<(), Error> {
        let before = self.captures.count(name);
        let (care_of, anycast) = (self.address(name)?.to_string(), self.plan.anycast.to_string());
        let sequence_argument = sequence.to_string();
        let who = ["--agent", "::", "--care-of", &care_of, "--anycast", &anycast, "--authentication", "none"];
        let how = ["--lifetime", LIFETIME, "--initial-sequence", &sequence_argument];
        self.start(name, "ar", &[who.as_slice(), &how].concat())?;
        let accepted = self.wait_for_acceptance(name, before)?;
        self.done(format!("{name} runs, begins with {sequence} and is accepted with {accepted}"));
        Ok(())
    }

    /// An initiator that knows Mobile IPv6.
    pub fn start_initiator(&mut self, name: &'static str) -> Result<(), Error> {
        self.start(name, "ai", &[])?;
        self.done(format!("{name} runs mga-node and knows Mobile IPv6"));
        Ok(())
    }

    /// Ends a node as an operator does.
    pub fn end(&mut self, name: &'static str) -> Result<(), Error> {
        self.take_running(name)?.end()?;
        self.done(format!("{name} ends"));
        Ok(())
    }

    /// Kills a node, which cannot clean up then.
    pub fn kill(&mut self, name: &'static str) -> Result<(), Error> {
        self.take_running(name)?.kill();
        self.done(format!("{name} is killed"));
        Ok(())
    }

    /// Waits until a responder has been accepted by the agent of this address.
    pub fn accepted_by(&self, name: &str, agent: Ipv6Addr) -> Result<(), Error> {
        self.wait_for_packet(&format!("the registration of {name} at {agent}"), name, 0, |view| {
            let accepted = matches!(view.mobility(), Some(Message::BindingAcknowledgement(message)) if message.status.is_accepted());
            (accepted && view.outer.source == agent).then_some(())
        })
    }

    /// Waits until a metric that a responder told has been accepted.
    pub fn reported(&mut self, name: &str) -> Result<(), Error> {
        let told = self.wait_for_packet(&format!("the metric of {name}"), name, 0, |view| {
            match view.mobility()? {
                Message::BindingUpdate(update) => update.options.iter().find_map(|option| match option {
                    MobilityOption::Experimental(Experimental::Offer(offer))
                        if offer.metric != Offer::NO_METRIC =>
                    {
                        Some(update.sequence)
                    }
                    _ => None,
                }),
                _ => None,
            }
        })?;
        let what = format!("the acceptance of the metric of {name}");
        self.wait_for_packet(&what, name, 0, |view| match view.mobility()? {
            Message::BindingAcknowledgement(answer)
                if answer.sequence == told && answer.status.is_accepted() =>
            {
                Some(())
            }
            _ => None,
        })?;
        self.done(format!("the metric of {name} is accepted"));
        Ok(())
    }

    /// Waits until a responder has been refused so many times.
    pub fn refused(&mut self, name: &str, times: usize) -> Result<(), Error> {
        self.wait_for_packets(&format!("the refusal of {name}"), name, times, |view| {
            matches!(view.mobility(), Some(Message::BindingAcknowledgement(message)) if !message.status.is_accepted())
        })?;
        self.done(format!("{name} is refused"));
        Ok(())
    }

    /// Has a responder register now.
    pub fn register(&mut self, name: &'static str) -> Result<(), Error> {
        let before = self.captures.count(name);
        self.running(name)?.register(&self.plan.anycast.to_string())?;
        let accepted = self.wait_for_acceptance(name, before)?;
        self.done(format!("{name} registers again and is accepted with {accepted}"));
        Ok(())
    }

    /// Waits for a positive Binding Acknowledgement at the responder and returns its sequence number.
    fn wait_for_acceptance(&self, name: &str, from: usize) -> Result<u16, Error> {
        self.wait_for_packet(&format!("the registration of {name}"), name, from, |view| {
            match view.mobility() {
                Some(Message::BindingAcknowledgement(message)) if message.status == Status::ACCEPTED => {
                    Some(message.sequence)
                }
                _ => None,
            }
        })
    }

    /// Gives a node an order.
    pub fn tell(&mut self, name: &str, order: &[&str]) -> Result<(), Error> {
        self.running(name)?.ask(order)?;
        self.done(format!("{name} is told to {}", order.join(" ")));
        Ok(())
    }

    /// Waits until the initiator has got a Binding Update, and returns the responder that sent it.
    pub fn optimised_by_any(&mut self, name: &str) -> Result<&'static str, Error> {
        let what = format!("a Binding Update to {name}");
        let care_of = self.wait_for_packet(&what, name, 0, |view| {
            matches!(view.mobility(), Some(Message::BindingUpdate(_))).then_some(view.outer.source)
        })?;
        let responder =
            self.plan.machines.iter().copied().find(|name| self.plan.address(name) == Some(care_of));
        let responder = responder.ok_or_else(|| Error::Step(format!("{care_of} is nobody")))?;
        self.done(format!("{name} has a binding of A_Any to {responder}"));
        Ok(responder)
    }

    /// Waits until the initiator has got the responder's Binding Update.
    pub fn optimised(&mut self, name: &str, responder: &str) -> Result<(), Error> {
        let what = format!("the Binding Update of {responder} to {name}");
        let care_of = self.address(responder)?;
        self.wait_for_packet(&what, name, 0, |view| {
            let is_update = matches!(view.mobility(), Some(Message::BindingUpdate(_)));
            (is_update && view.outer.source == care_of).then_some(())
        })?;
        self.done(format!("{name} has a binding of A_Any to {responder}"));
        Ok(())
    }

    /// Pings A_Any five times a second.
    pub fn ping(&mut self, name: &str, count: u16) -> Result<(), Error> {
        let machine = self.machine(name)?;
        let log = self.launcher.logs.join(format!("ping-{}.log", machine.file_name()));
        let answered = traffic::ping(machine, count, &log, self.launcher.interruption)?;
        self.done(format!("{name} pings A_Any: {answered} of {count} answered"));
        Ok(())
    }

    /// Has a machine send echo requests to A_Any from many sources behind it, with these further arguments of
    /// `mga-node lab load`, until the value is dropped or they have all been sent.
    pub fn load(&mut self, name: &str, first: Ipv6Addr, more: &[&str]) -> Result<Process, Error> {
        let machine = self.machine(name)?;
        let log = self.launcher.logs.join(format!("load-{}.log", machine.file_name()));
        let what = || format!("write {}", log.display());
        let output = OpenOptions::new().create(true).append(true).open(&log).trying(what)?;
        let errors = output.try_clone().trying(what)?;
        let program = machine.program().display().to_string();
        let (anycast, first) = (self.plan.anycast.to_string(), first.to_string());
        let words = [program.as_str(), "lab", "load", &anycast, "--first", &first];
        let process = machine.start(&[words.as_slice(), more].concat(), output.into(), errors.into())?;
        self.done(format!("{name} sends echo requests to A_Any from {first} on: {}", more.join(" ")));
        Ok(process)
    }

    /// Waits until a load has sent everything.
    pub fn finished(&self, load: &mut Process, limit: Duration) -> Result<(), Error> {
        let status = self.launcher.interruption.wait_for("the end of the load", limit, || {
            load.exited().trying(|| "wait for the load".to_owned())
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(Error::Step(format!("the load ended with {status}"))),
        }
    }

    /// AR1 and AR2 serve telnet from now on.
    pub fn serve_telnet(&mut self) -> Result<(), Error> {
        for name in ["AR1", "AR2"] {
            let server = traffic::serve_telnet(self.machine(name)?)?;
            self.servers.push(server);
        }
        self.done("AR1 and AR2 serve telnet".to_owned());
        Ok(())
    }

    /// Opens a session that `expected` answers.
    pub fn open_telnet(&mut self, name: &'static str, expected: &str) -> Result<(), Error> {
        let answer = self.open_telnet_with_any(name)?;
        answers(answer, expected)
    }

    /// Opens a session and returns the responder that answers.
    pub fn open_telnet_with_any(&mut self, name: &'static str) -> Result<&'static str, Error> {
        let session = Telnet::open(self.machine(name)?)?;
        self.sessions.insert(name, session);
        self.done(format!("{name} opens a telnet session with A_Any"));
        self.ask_by_telnet(name)
    }

    /// Types a command into the session, which `expected` must answer.
    pub fn use_telnet(&mut self, name: &str, expected: &str) -> Result<(), Error> {
        let answer = self.ask_by_telnet(name)?;
        answers(answer, expected)
    }

    fn ask_by_telnet(&mut self, name: &str) -> Result<&'static str, Error> {
        self.launcher.interruption.check()?;
        let answer = self.session(name)?.ask()?;
        self.done(format!("{name}'s telnet session is answered by {answer}"));
        let known = self.plan.machines.iter().find(|machine| **machine == answer);
        known.copied().ok_or_else(|| Error::Step(format!("{answer} is nobody")))
    }

    /// Types into a session whose responder has changed.
    pub fn lose_telnet(&mut self, name: &str) -> Result<(), Error> {
        let last = self.session(name)?.type_until_closed()?;
        self.sessions.remove(name);
        self.done(format!("{name}'s telnet session ends: {last}"));
        Ok(())
    }

    /// Leaves the session as a user does.
    pub fn close_telnet(&mut self, name: &str) -> Result<(), Error> {
        if let Some(session) = self.sessions.remove(name) {
            session.close()?;
        }
        self.done(format!("{name} leaves its telnet session"));
        Ok(())
    }

    fn session(&mut self, name: &str) -> Result<&mut Telnet, Error> {
        let missing = || Error::Step(format!("{name} has no telnet session"));
        self.sessions.get_mut(name).ok_or_else(missing)
    }
}

fn answers(answer: &str, expected: &str) -> Result<(), Error> {
    match answer == expected {
        true => Ok(()),
        false => Err(Error::Step(format!("{answer} answered in place of {expected}"))),
    }
}
