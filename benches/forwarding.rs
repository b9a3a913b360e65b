//! What forwarding costs, side by side in one run: nanoseconds of one core for a frame of 72 octets, made, forwarded and
//! ended at the other end of a veth pair. The limits of the machine (drop, redirect), the kernel's own IPv6 forwarding,
//! the tunnels of RFC 2473 at XDP and tc, the rewrites of RFC 3775 6.3 and 6.4 at tc, and user space. Run by
//! benches/forwarding.sh.

#[cfg(mga_ebpf)]
mod side_by_side {
    use std::fs;
    use std::net::Ipv6Addr;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use aya::Ebpf;
    use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues, ProgramArray};
    use aya::programs::xdp::XdpMode;
    use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunAttrs, TestRunOptions, Xdp};
    use mga_node::forwarding::ebpf::{Device, FastPath, Hook, NextHop, Programs, Station};
    use mga_node::platform::netns::{self, NetworkNamespace, WireEnd};
    use mga_node::protocol::action::Rule;
    use mga_node::protocol::select::{Affinity, Group, GroupMember, SLOTS, Takes};
    use mga_node::wire::destination_options::home_address_header;
    use mga_node::wire::ipv6::next_header;
    use mga_node::wire::mobility::{
        BindingUpdate, Lifetime, Message, MobilityHeader, MobilityOption, UpdateFlags, align,
    };
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::time::{ClockId, clock_gettime};
    use nix::unistd::Pid;

    const ROUNDS: usize = 3;
    const RUNS: usize = 5;
    const FRAMES: u32 = 300_000;
    /// Room for fixed sources.
    const SOURCES: u32 = 1_100_000;
    const USER_FRAMES: u32 = 200_000;
    const PACED_SECONDS: u32 = 5;
    /// Octets of a plain frame; one in a tunnel has a header of 40 more.
    const LENGTH: usize = 72;

    const fn at(network: u16, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host)
    }
    const ANYCAST: Ipv6Addr = at(1, 0xa);
    const GROUP: Ipv6Addr = at(1, 0xb);
    const AGENT: Ipv6Addr = at(1, 2);
    const ROUTER: Ipv6Addr = at(1, 1);
    const PEER: Ipv6Addr = at(3, 2);
    const CARE_OF: Ipv6Addr = at(4, 2);
    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// Where frames go after they were made: as in frames.bpf.c.
    #[derive(Clone, Copy)]
    enum Then {
        Drop,
        Back,
        Pass,
        GoOn,
    }

    /// One line of the table.
    #[derive(Clone, Copy)]
    struct Row {
        name: &'static str,
        then: Then,
        frame: fn() -> Vec<u8>,
        addresses: u32,
    }

    fn ipv6(next: u8, source: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("a short packet").to_be_bytes();
        let fixed = [0x60, 0, 0, 0, length[0], length[1], next, 64];
        [&fixed[..], &source.octets(), &destination.octets(), payload].concat()
    }

    fn frame(packet: &[u8]) -> Vec<u8> {
        [&OWN[..], &OTHER, &[0x86, 0xdd], packet].concat()
    }

    fn udp() -> Vec<u8> {
        let mut datagram = vec![0; LENGTH - 54];
        datagram[..6].copy_from_slice(&[0, 7, 0, 7, 0, (LENGTH - 54) as u8]);
        datagram
    }

    fn to_anycast() -> Vec<u8> {
        frame(&ipv6(17, PEER, ANYCAST, &udp()))
    }

    fn to_group() -> Vec<u8> {
        frame(&ipv6(17, PEER, GROUP, &udp()))
    }

    fn forwarded() -> Vec<u8> {
        frame(&ipv6(17, PEER, at(5, 2), &udp()))
    }

    fn from_responder() -> Vec<u8> {
        frame(&ipv6(41, CARE_OF, AGENT, &ipv6(17, ANYCAST, PEER, &udp())))
    }

    fn from_anycast() -> Vec<u8> {
        frame(&ipv6(17, ANYCAST, at(5, 2), &udp()))
    }

    fn with_home_address() -> Vec<u8> {
        let option = [&[17, 2, 1, 2, 0, 0, 201, 16][..], &ANYCAST.octets(), &udp()].concat();
        frame(&ipv6(60, CARE_OF, AGENT, &option))
    }

    const fn row(name: &'static str, then: Then, frame: fn() -> Vec<u8>, addresses: u32) -> Row {
        Row { name, then, frame, addresses }
    }

    /// The rows of each role; without one, nothing of ours is attached.
    const ROWS: [(Option<Programs>, &[Row]); 4] = [
        (
            None,
            &[
                row("XDP drop (limit)", Then::Drop, forwarded, 1),
                row("XDP redirect only (limit)", Then::Back, forwarded, 1),
                row("kernel IPv6 forwarding", Then::Pass, forwarded, 1),
            ],
        ),
        (
            Some(Programs::Agent),
            &[
                row("XDP to responder, one binding", Then::GoOn, to_anycast, 1),
                row("XDP to responder, affinity, 1 source", Then::GoOn, to_group, 1),
                row("XDP to responder, affinity, 65,536 sources", Then::GoOn, to_group, 65_536),
                row("XDP to responder, affinity, 1,000,000 sources", Then::GoOn, to_group, 1_000_000),
                row("XDP from responder", Then::GoOn, from_responder, 1),
                row("tc to responder", Then::Pass, to_anycast, 1),
                row("tc from responder", Then::Pass, from_responder, 1),
            ],
        ),
        (Some(Programs::Responder), &[row("kernel forwarding and tc insert", Then::Pass, from_anycast, 1)]),
        (Some(Programs::Initiator), &[row("tc strip and deliver", Then::Pass, with_home_address, 1)]),
    ];

    /// Two hosts and the wire between them; the other one ends what comes.
    struct Bench {
        host: NetworkNamespace,
        other: NetworkNamespace,
        scratch: PathBuf,
    }

    fn compile(scratch: &Path) -> PathBuf {
        let object = scratch.join("frames.o");
        let compiler = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/frames.bpf.c");
        let headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let done = Command::new(&compiler)
            .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", &headers, "-c", source, "-o"])
            .arg(&object)
            .status();
        assert!(done.is_ok_and(|status| status.success()), "{compiler} does not compile {source}");
        object
    }

    impl Bench {
        fn new() -> Self {
            let tag = format!("mgax-{}", std::process::id());
            let scratch = std::env::temp_dir().join(&tag);
            fs::create_dir_all(&scratch).expect("a scratch directory");
            let make = |name| NetworkNamespace::create(&format!("{tag}-{name}")).expect("this needs root");
            let (host, other) = (make("host"), make("other"));
            for (name, end, low) in [("eth0", "n1", 0), ("mga9", "n2", 1)] {
                netns::connect(
                    WireEnd { namespace: &host, interface: name, link_address: [2, 0, 0, 0, low, 2] },
                    WireEnd { namespace: &other, interface: end, link_address: [2, 0, 0, 0, low, 1] },
                )
                .expect("a wire");
            }
            host.add_address("eth0", AGENT, 64).expect("an address");
            host.set_forwarding().expect("forwarding");
            host.set_default_route(ROUTER).expect("a route");
            let neighbour =
                ["-6", "neigh", "add", &ROUTER.to_string(), "lladdr", "02:00:00:00:00:01", "dev", "eth0"];
            host.ip(&[&neighbour[..], &["nud", "permanent"]].concat()).expect("a neighbour");
            Self { host, other, scratch }
        }

        fn index(&self, name: &str) -> u32 {
            self.host
                .run(|| nix::net::if_::if_nametoindex(name))
                .expect("the namespace")
                .expect("an interface")
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            // What is left of it harms nobody.
            let _ = fs::remove_dir_all(&self.scratch);
        }
    }

    /// The programs that make and end frames.
    struct Frames {
        ebpf: Ebpf,
        // Empty without whoever holds it.
        next: Option<ProgramArray<MapData>>,
        device: u32,
    }

    impl Frames {
        /// Loads them; must be called at the host.
        fn load(object: &Path, device: u32) -> Self {
            let mut ebpf = Ebpf::load_file(object).expect("the kernel takes the programs");
            xdp(&mut ebpf, "make").load().expect("the kernel takes the programs");
            Self { ebpf, next: None, device }
        }

        fn order(&mut self, then: Then, frame: &[u8], addresses: u32) {
            self.order_every(0, then, frame, addresses);
        }

        /// The same with so many nanoseconds from frame to frame.
        fn order_every(&mut self, period: u32, then: Then, frame: &[u8], addresses: u32) {
            let mut order = [0_u8; 112];
            let length = frame.len().min(96);
            order[..length].copy_from_slice(&frame[..length]);
            // More than one header has to be made anew.
            let tunnelled = u32::from(matches!(frame[20], 41 | 60));
            for (at, word) in [(96, tunnelled), (100, addresses), (104, then as u32), (108, period)] {
                order[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            }
            let mut orders: Array<&mut MapData, [u8; 112]> =
                self.ebpf.map_mut("orders").expect("a map").try_into().expect("an array");
            orders.set(0, order, 0).expect("an order");
        }

        /// Makes frames go on with the agent's program at XDP.
        fn go_on_with(&mut self, fast: &mut FastPath) {
            let next = self.ebpf.take_map("next").expect("a map");
            let mut next = ProgramArray::try_from(next).expect("a program array");
            fast.go_on_with(Hook::AgentXdp, &mut next).expect("a program");
            self.next = Some(next);
        }

        /// Has a driver take programs.
        fn attach(&mut self, interface: &str) {
            let program = xdp(&mut self.ebpf, "end");
            program.load().expect("the kernel takes the programs");
            program.attach(interface, XdpMode::Driver).expect("XDP");
        }

        fn counted(&self) -> u64 {
            counted(&self.ebpf)
        }

        /// Has the kernel send so many frames on their way, and returns the processor time of that in nanoseconds each.
        fn run(&mut self, frame: &[u8], count: u32) -> f64 {
            let mut context = [0; 24];
            context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
            context[12..16].copy_from_slice(&self.device.to_ne_bytes());
            let options = TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                repeat: count,
                attrs: TestRunAttrs::new().xdp_live_frames(64),
                ..TestRunOptions::default()
            };
            let begin = thread_time();
            xdp(&mut self.ebpf, "make").test_run(options).expect("the kernel runs it");
            (thread_time() - begin).as_nanos() as f64 / f64::from(count)
        }
    }

    fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
        ebpf.program_mut(name).expect("a program").try_into().expect("an XDP program")
    }

    /// Ends what an interface receives behind its driver.
    fn end_in_stack(ebpf: &mut Ebpf, interface: &str) {
        let program: &mut SchedClassifier =
            ebpf.program_mut("end_in_stack").expect("a program").try_into().expect("a classifier");
        program.load().expect("the kernel takes the programs");
        program.attach(interface, TcAttachType::Ingress).expect("traffic control");
    }

    fn thread_time() -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
    }

    /// Ends what comes to the other end, and counts it.
    struct Sink {
        ebpf: Ebpf,
    }

    impl Sink {
        /// In the driver, where frames are redirected to: so the other end costs the same for every row of the kernel's.
        /// Must be called at the other end.
        fn in_driver(object: &Path) -> Self {
            let mut ebpf = Ebpf::load_file(object).expect("the kernel takes the programs");
            let program = xdp(&mut ebpf, "end");
            program.load().expect("the kernel takes the programs");
            program.attach("n1", XdpMode::Driver).expect("XDP at the other end");
            Self { ebpf }
        }

        /// Behind the driver: the node's core does the other end's work, too, and what it sends had to be copied once more
        /// for a program in the driver. Must be called at the other end.
        fn in_stack(object: &Path) -> Self {
            let mut ebpf = Ebpf::load_file(object).expect("the kernel takes the programs");
            end_in_stack(&mut ebpf, "n1");
            Self { ebpf }
        }

        fn counted(&self) -> u64 {
            counted(&self.ebpf)
        }
    }

    fn counted(ebpf: &Ebpf) -> u64 {
        let counters: PerCpuArray<&MapData, u64> =
            ebpf.map("counted").expect("a map").try_into().expect("an array");
        let all: PerCpuValues<u64> = counters.get(&1, 0).expect("a counter");
        all.iter().sum()
    }

    fn station(bench: &Bench, programs: Programs) -> Station {
        let device = |name: &str, link_address| Device {
            index: bench.index(name),
            name: name.to_owned(),
            mtu: 1500,
            link_address: Some(link_address),
            is_software: programs != Programs::Agent,
        };
        let link = device("eth0", OWN);
        // A responder's outgoing rewrite is measured at the link, behind the kernel's own forwarding.
        let tunnel = match programs {
            Programs::Responder => link.clone(),
            _ => Device { mtu: 1460, ..device("mga9", [2, 0, 0, 0, 1, 2]) },
        };
        Station { programs, link, tunnel, identity: None, sources: SOURCES }
    }

    fn rules() -> [Rule; 5] {
        let (anycast, agent, care_of) = (ANYCAST, AGENT, CARE_OF);
        [
            Rule::TunnelToResponder { anycast, agent, care_of },
            Rule::TunnelFromResponder { anycast, agent, care_of },
            Rule::ReverseTunnelOut { anycast, care_of, agent },
            Rule::HomeAddressOut { anycast, initiator: at(5, 2), care_of },
            Rule::HomeAddressIn { anycast, own: AGENT, care_of },
        ]
    }

    fn group() -> Group {
        let members = (0..8).map(|number| GroupMember {
            number: number + 1,
            care_of: at(4, 0x10 + number as u16),
            takes: Takes::New,
        });
        Group {
            anycast: GROUP,
            agent: AGENT,
            members: members.collect(),
            slots: (0..SLOTS).map(|slot| (slot % 8) as u16).collect(),
            affinity: Some(Affinity {
                interval: Duration::from_secs(3600),
                renewed: true,
                capacity: SOURCES as usize,
            }),
        }
    }

    fn start(bench: &Bench, programs: Programs) -> FastPath {
        let mut fast = FastPath::start(&station(bench, programs)).expect("the kernel takes the programs");
        let way = NextHop { device: bench.index("eth0"), neighbour: ROUTER, mtu: 1500 };
        for rule in rules() {
            fast.install(&rule, None, |_| Some(way)).expect("the kernel takes a rule");
        }
        if programs == Programs::Agent {
            fast.install_group(&group()).expect("the kernel takes a group");
        }
        fast
    }

    fn binding_update() -> Vec<u8> {
        let header = MobilityHeader::new(Message::BindingUpdate(BindingUpdate {
            sequence: 1,
            flags: UpdateFlags::ACKNOWLEDGE | UpdateFlags::HOME_REGISTRATION,
            lifetime: Lifetime(100),
            options: align(12, &[MobilityOption::AlternateCareOfAddress(CARE_OF)]),
        }));
        let mut payload = home_address_header(next_header::MOBILITY, &ANYCAST).to_vec();
        payload.extend_from_slice(&header.emit_for(&ANYCAST, &AGENT));
        ipv6(next_header::DESTINATION_OPTIONS, CARE_OF, AGENT, &payload)
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    /// Measures the rows of one role once; returns the median of some runs for each. Must be called at the host.
    fn measure(bench: &Bench, object: &Path, sink: &Sink, role: Option<Programs>, rows: &[Row]) -> Vec<f64> {
        let mut frames = Frames::load(object, bench.index("eth0"));
        let mut fast = role.map(|programs| start(bench, programs));
        match (role, &mut fast) {
            (Some(Programs::Agent), Some(fast)) => frames.go_on_with(fast),
            // Frames can be put only before a driver that has a program.
            _ => frames.attach("eth0"),
        }
        if role == Some(Programs::Initiator) {
            end_in_stack(&mut frames.ebpf, "mga9");
        }
        let rows = rows.iter().map(|row| {
            let frame = (row.frame)();
            frames.order(row.then, &frame, row.addresses);
            // Every source is met before it counts.
            frames.run(&frame, row.addresses.max(10_000));
            let before = sink.counted() + frames.counted();
            let runs = (0..RUNS).map(|_| frames.run(&frame, FRAMES)).collect();
            let arrived = sink.counted() + frames.counted() - before;
            let expected = if matches!(row.then, Then::Drop) { 0 } else { RUNS as u64 * u64::from(FRAMES) };
            assert!(arrived * 100 >= expected * 99, "{}: {arrived} of {expected} arrived", row.name);
            median(runs)
        });
        rows.collect()
    }

    /// How many bindings of other addresses are changed in a second while frames go by one binding, and how many of those
    /// frames are lost by it. Must be called at the host.
    fn changing(bench: &Bench, object: &Path, sink: &Sink) -> (f64, u64) {
        const CHANGES: u32 = 2000;
        let mut frames = Frames::load(object, bench.index("eth0"));
        let mut fast = start(bench, Programs::Agent);
        frames.go_on_with(&mut fast);
        let packet = to_anycast();
        frames.order(Then::GoOn, &packet, 1);
        frames.run(&packet, 10_000);
        let before = sink.counted();
        let changing = AtomicBool::new(true);
        let (rate, sent) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut sent = 0;
                while changing.load(Ordering::Relaxed) {
                    frames.run(&packet, 20_000);
                    sent += 20_000;
                }
                sent
            });
            let begin = Instant::now();
            for number in 0..CHANGES {
                let anycast = at(1, 0x100 + (number % 500) as u16);
                let rule = Rule::TunnelToResponder { anycast, agent: AGENT, care_of: at(6, number as u16) };
                fast.install(&rule, None, |_| None).expect("the kernel takes a rule");
            }
            let rate = f64::from(CHANGES) / begin.elapsed().as_secs_f64();
            changing.store(false, Ordering::Relaxed);
            (rate, sending.join().expect("frames are sent"))
        });
        (rate, sent - (sink.counted() - before))
    }

    /// Octets of kernel memory for each fixed source that was asked for: the table and its locks, which have sixteen
    /// sources in a bucket and room for twice as many as are asked for.
    fn octets_per_source() -> f64 {
        let octets = |name| {
            let output = Command::new("bpftool").args(["-j", "map", "show", "name", name]).output();
            let maps: serde_json::Value =
                serde_json::from_slice(&output.expect("bpftool runs").stdout).expect("JSON of bpftool");
            let maps = maps.as_array().cloned().unwrap_or_else(|| vec![maps]);
            let buckets = u64::from(SOURCES) * 2 / 16;
            let own = maps.iter().find(|map| map["max_entries"].as_u64() == Some(buckets));
            own.expect("the table")["bytes_memlock"].as_f64().expect("octets")
        };
        (octets("sources") + octets("locks")) / f64::from(SOURCES)
    }

    /// What user space does one way.
    #[derive(Clone, Copy)]
    struct UserSpace {
        name: &'static str,
        /// Processor time of the node for a frame, in nanoseconds.
        cost: f64,
        /// Frames per second that half of a core's time is enough for.
        half_rate: u32,
        /// Of the frames that come at that rate, how many there were and how many arrived; none without a second core
        /// to make them on.
        paced: Option<(u32, u64)>,
    }

    /// One `mga-node` whose packets come from this program. What it sends, it carries to the other end, all on one core.
    fn user_space(bench: &Bench, object: &Path, program: &Path) -> [UserSpace; 2] {
        let sink = bench.other.run(|| Sink::in_stack(object)).expect("the namespace");
        let control = bench.scratch.join("node.sock");
        let mut command = Command::new(program);
        netns::in_namespace(&mut command, &bench.host).expect("a descriptor");
        command.args([
            "--role",
            "haa",
            "--interface",
            "eth0",
            "--forwarding",
            "user",
            "--authentication",
            "none",
        ]);
        command.args(["--no-duplicate-address-detection", "--anycast", &ANYCAST.to_string()]);
        command
            .arg("--control")
            .arg(&control)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut node = command.spawn().expect("the program runs");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !control.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let results = bench.host.run(|| {
            let mut frames = Frames::load(object, bench.index("eth0"));
            frames.attach("eth0");
            // A binding: one Binding Update, as a responder sends it.
            let update = frame(&binding_update());
            frames.order(Then::Pass, &update, 1);
            frames.run(&update, 1);
            std::thread::sleep(Duration::from_millis(500));
            [("user space to responder", to_anycast()), ("user space from responder", from_responder())].map(
                |(name, packet)| {
                    frames.order(Then::Pass, &packet, 1);
                    let (before, began) = (sink.counted(), process_time(&node));
                    // Slowly enough that nothing is lost: what is lost costs nothing.
                    for _ in 0..USER_FRAMES / 1000 {
                        frames.run(&packet, 1000);
                        std::thread::sleep(Duration::from_millis(8));
                    }
                    std::thread::sleep(Duration::from_millis(300));
                    let arrived = sink.counted() - before;
                    let cost = (process_time(&node) - began).as_nanos() as f64 / arrived.max(1) as f64;
                    if arrived * 100 < u64::from(USER_FRAMES) * 99 {
                        // On a busy machine the node may not get its core in time: the cost of a frame holds.
                        eprintln!("{name}: {arrived} of {USER_FRAMES} frames arrived");
                    }
                    let half_rate = (1e9 / cost / 2.0) as u32;
                    frames.order_every(1_000_000_000 / half_rate, Then::Pass, &packet, 1);
                    let paced = elsewhere().map(|others| {
                        let (count, before) = (half_rate * PACED_SECONDS, sink.counted());
                        std::thread::scope(|scope| {
                            scope.spawn(|| {
                                sched_setaffinity(Pid::from_raw(0), &others).expect("another core");
                                frames.run(&packet, count)
                            });
                        });
                        std::thread::sleep(Duration::from_millis(300));
                        (count, sink.counted() - before)
                    });
                    UserSpace { name, cost, half_rate, paced }
                },
            )
        });
        stop(&mut node);
        results.expect("the namespace")
    }

    /// The cores that this program, and with it the node, does not run on.
    fn elsewhere() -> Option<CpuSet> {
        let own = sched_getaffinity(Pid::from_raw(0)).expect("the cores");
        let mut others = CpuSet::new();
        let cores = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).expect("a number");
        let free = (0..cores.unwrap_or(1) as usize).filter(|core| own.is_set(*core) == Ok(false));
        let found = free.map(|core| others.set(core).expect("a core")).count();
        (found > 0).then_some(others)
    }

    fn stop(node: &mut Child) {
        use nix::sys::signal::{Signal, kill};
        kill(Pid::from_raw(node.id() as i32), Signal::SIGTERM).expect("a signal");
        node.wait().expect("it ends");
    }

    /// Processor time of a process so far, to a hundredth of a second.
    fn process_time(node: &Child) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", node.id())).expect("a process");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn print_paced(user: &[UserSpace]) {
        println!();
        for UserSpace { name, half_rate, paced, .. } in user {
            match paced {
                Some((count, arrived)) => println!(
                    "{name}, {half_rate} frames/s for {PACED_SECONDS} s, half of what a core can take: {arrived} of \
                     {count} arrived"
                ),
                None => println!("{name}: no other core to make frames at half the rate on"),
            }
        }
    }

    /// Measures user space alone and prints its nanoseconds.
    pub fn run_user_space(program: &Path) {
        let bench = Bench::new();
        let object = compile(&bench.scratch);
        let user = user_space(&bench, &object, program);
        for UserSpace { name, cost, .. } in user {
            println!("{name}: {cost:.0} ns, {:.2} Mpps", 1e3 / cost);
        }
        print_paced(&user);
    }

    /// Measures everything and prints the table.
    pub fn run(program: &Path) {
        let bench = Bench::new();
        let object = compile(&bench.scratch);
        let sink = bench.other.run(|| Sink::in_driver(&object)).expect("the namespace");
        let mut results: Vec<(&str, Vec<f64>)> = Vec::new();
        for _ in 0..ROUNDS {
            for (role, rows) in ROWS {
                let medians =
                    bench.host.run(|| measure(&bench, &object, &sink, role, rows)).expect("the namespace");
                for (row, median) in rows.iter().zip(medians) {
                    match results.iter_mut().find(|(name, _)| *name == row.name) {
                        Some((_, all)) => all.push(median),
                        None => results.push((row.name, vec![median])),
                    }
                }
            }
        }
        let mut results: Vec<_> = results.into_iter().map(|(name, all)| (name, median(all))).collect();
        let ((rate, lost), octets) = bench
            .host
            .run(|| {
                let changed = changing(&bench, &object, &sink);
                let _held = start(&bench, Programs::Agent);
                (changed, octets_per_source())
            })
            .expect("the namespace");
        drop(sink);
        let user = user_space(&bench, &object, program);
        results.extend(user.map(|UserSpace { name, cost, .. }| (name, cost)));
        let limit =
            results.iter().find(|(name, _)| name.starts_with("XDP redirect")).map_or(1.0, |(_, cost)| *cost);
        let kernel =
            results.iter().find(|(name, _)| name.starts_with("kernel IPv6")).map_or(1.0, |(_, cost)| *cost);
        println!(
            "| {LENGTH} octets, one core | ns/frame | Mpps | of the redirect limit | kernel forwarding costs |"
        );
        println!("|---|---|---|---|---|");
        for (name, cost) in results {
            println!(
                "| {name} | {cost:.0} | {:.2} | {:.2} x | {:.2} x |",
                1e3 / cost,
                cost / limit,
                kernel / cost
            );
        }
        print_paced(&user);
        println!("\n{rate:.0} bindings changed per second while frames went by another: {lost} frames lost");
        println!("{octets:.0} octets for each fixed source");
    }
}

#[cfg(mga_ebpf)]
fn main() {
    // Cargo asks benches for their tests, too.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let program = std::env::var_os("MGA_NODE").unwrap_or_else(|| env!("CARGO_BIN_EXE_mga-node").into());
    let measure = match std::env::args().any(|argument| argument == "user") {
        true => side_by_side::run_user_space,
        false => side_by_side::run,
    };
    measure(std::path::Path::new(&program));
}

#[cfg(not(mga_ebpf))]
fn main() {
    eprintln!("the fast path is measured with --features ebpf on Linux");
}
