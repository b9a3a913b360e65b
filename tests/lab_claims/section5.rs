//! The claims of `mga-node lab section5`, tried on the captures of the real KAME daemons of the thesis's own snapshot.
//! They must hold there (with the exceptions named), and must fail on the wrong captures and on doctored ones.
//! Run by `cargo test --test lab_claims section5`.

use std::{path::Path, time::Duration};

use crate::doctoring::{self, Captures, Dose, drop_if, failed, rewritten, with_message};

use mga_node::{
    lab::{
        claims,
        figure11::{self, Node},
    },
    pcap::{
        capture::{self, Frame},
        clocks,
        passage::Trace,
        report::{Finding, Verdict},
        view::{Segment, View},
    },
    wire::{
        icmpv6::Icmpv6Message,
        mobility::{Message, MobilityOption, Status, UpdateFlags},
        rewrite,
    },
};

type Section = fn(&Trace) -> Vec<Finding>;

fn judge(section: Section, captures: Captures) -> Vec<Finding> {
    doctoring::judge(section, captures, &figure11::owners())
}

fn fails_when(section: Section, name: &str, claim: &str, doctor: impl Fn(&View, &[u8]) -> Dose) {
    doctoring::fails_when(section, &kame(name), &figure11::owners(), claim, doctor);
}

fn kame(section: &str) -> Captures {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps/kame").join(section);
    Node::ALL
        .iter()
        .map(|node| {
            let file = directory.join(format!("{}.pcap", node.file_name()));
            let frames = if file.exists() { capture::read(&file).unwrap() } else { Vec::new() };
            (node.name().to_owned(), frames)
        })
        .collect()
}

#[test]
fn kame_5_1() {
    let findings = judge(claims::section5_1, kame("kame-section5.1"));
    for finding in &findings {
        println!("{finding}");
    }
    // Nobody sent a packet to A_Any in that recording.
    assert_eq!(failed(&findings), ["bound-to-ar2"]);
    assert_eq!(findings.len(), 8);
}

#[test]
fn kame_5_2() {
    let findings = judge(claims::section5_2, kame("kame-section5.2"));
    for finding in &findings {
        println!("{finding}");
    }
    // AR1 did not register again in that recording.
    assert_eq!(failed(&findings), ["rebinding-again"]);
}

#[test]
fn kame_5_3() {
    let findings = judge(claims::section5_3, kame("kame-section5.3"));
    for finding in &findings {
        println!("{finding}");
    }
    // In that recording AI1 opened no TCP connection, and AI2's was closed before AR2 took the binding back.
    assert_eq!(failed(&findings), ["telnet-survives-ai1", "telnet-survives-ai2"]);
}

fn update(view: &View) -> Option<(u16, bool)> {
    match view.mobility()? {
        Message::BindingUpdate(update) => {
            Some((update.sequence, update.flags.contains(UpdateFlags::HOME_REGISTRATION)))
        }
        _ => None,
    }
}

fn is_acknowledgement(view: &View, status: u8) -> bool {
    matches!(view.mobility(), Some(Message::BindingAcknowledgement(message)) if message.status.0 == status)
}

#[test]
fn claims_of_5_1_fail_on_doctored_captures() {
    let fails = |claim: &str, doctor: &dyn Fn(&View, &[u8]) -> Dose| {
        fails_when(claims::section5_1, "kame-section5.1", claim, doctor);
    };
    fails("first-200", &|view, _| drop_if(update(view) == Some((200, true))));
    fails("first-200", &|view, packet| match view.mobility() {
        Some(Message::BindingAcknowledgement(message)) if message.sequence == 200 => {
            with_message(packet, |message| {
                let Message::BindingAcknowledgement(message) = message else { unreachable!() };
                message.status = Status(133);
            })
        }
        _ => Dose::Keep,
    });
    fails("refused-100", &|view, packet| match is_acknowledgement(view, 135) {
        true => with_message(packet, |message| {
            let Message::BindingAcknowledgement(message) = message else { unreachable!() };
            message.status = Status::ACCEPTED;
        }),
        false => Dose::Keep,
    });
    fails("refused-100", &|view, packet| match is_acknowledgement(view, 135) {
        true => with_message(packet, |message| {
            let Message::BindingAcknowledgement(message) = message else { unreachable!() };
            message.sequence += 1;
        }),
        false => Dose::Keep,
    });
    fails("retry-202", &|view, _| drop_if(update(view) == Some((202, true))));
    fails("retry-202", &|view, packet| match update(view) {
        Some((202, true)) => with_message(packet, |message| {
            let Message::BindingUpdate(update) = message else { unreachable!() };
            update.sequence = 201;
        }),
        _ => Dose::Keep,
    });
    // Late, though in the right order: the acknowledgement is as late.
    fails("retry-202", &|view, _| match (update(view), view.mobility()) {
        (Some((202, true)), _) => Dose::Delay(Duration::from_millis(150)),
        (_, Some(Message::BindingAcknowledgement(message)))
            if (message.status.0, message.sequence) == (0, 202) =>
        {
            Dose::Delay(Duration::from_millis(150))
        }
        _ => Dose::Keep,
    });
    fails("update-form", &|view, packet| match update(view) {
        Some((204, true)) => with_message(packet, |message| {
            let Message::BindingUpdate(update) = message else { unreachable!() };
            update.options.retain(|option| !matches!(option, MobilityOption::AlternateCareOfAddress(_)));
            update.options.push(MobilityOption::PadN(vec![0; 16]));
        }),
        _ => Dose::Keep,
    });
    fails("update-form", &|view, packet| match update(view) {
        Some((204, true)) => with_message(packet, |message| {
            let Message::BindingUpdate(update) = message else { unreachable!() };
            update.flags.remove(UpdateFlags::ACKNOWLEDGE);
        }),
        _ => Dose::Keep,
    });
    fails("acknowledgement-form", &|view, packet| match is_acknowledgement(view, 135) {
        true => rewritten(packet, |packet| {
            // The care-of address is the destination then, as if there had been no routing header.
            let care_of = view.outer.destination;
            rewrite::strip_routing2(packet).unwrap();
            packet.as_mut_slice()[24..40].copy_from_slice(&care_of.octets());
        }),
        false => Dose::Keep,
    });
    let claims_anycast = |view: &View| {
        matches!(view.icmpv6(), Some(Icmpv6Message::NeighborAdvertisement { target, .. })
            if *target == figure11::ANYCAST)
    };
    fails("neighbor-advertisement", &|view, _| drop_if(claims_anycast(view)));
    fails("neighbor-advertisement", &|view, _| match claims_anycast(view) {
        true => Dose::Delay(Duration::from_secs(3)),
        false => Dose::Keep,
    });
    fails("well-formed", &|view, packet| match update(view) {
        Some((204, true)) => {
            let mut bytes = packet.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            Dose::Replace(bytes)
        }
        _ => Dose::Keep,
    });
    fails("well-formed", &|view, packet| match update(view) {
        // An option that runs over the end of its header.
        Some((204, true)) => {
            let mut bytes = packet.to_vec();
            bytes[40 + 24 + 15] = 40;
            Dose::Replace(bytes)
        }
        _ => Dose::Keep,
    });
}

#[test]
fn claims_of_5_2_fail_on_doctored_captures() {
    let fails = |claim: &str, doctor: &dyn Fn(&View, &[u8]) -> Dose| {
        fails_when(claims::section5_2, "kame-section5.2", claim, doctor);
    };
    let tunnel = |view: &View, from: Node, to: Node| {
        view.is_tunnel() && (view.outer.source, view.outer.destination) == (from.address(), to.address())
    };
    fails("figure-13a", &|view, _| {
        drop_if(tunnel(view, Node::Ar1, Node::Haa) && view.echo_reply().is_some())
    });
    fails("figure-13b", &|view, _| {
        drop_if(tunnel(view, Node::Haa, Node::Ar2) && view.echo_request().is_some())
    });
    // Answered, but by the displaced responder.
    fails("figure-13b", &|view, packet| match tunnel(view, Node::Ar2, Node::Haa)
        && view.echo_reply().is_some()
    {
        true => {
            let mut bytes = packet.to_vec();
            bytes[8..24].copy_from_slice(&Node::Ar1.address().octets());
            Dose::Replace(bytes)
        }
        false => Dose::Keep,
    });
    fails("plain-kernels", &|view, _| drop_if(view.parameter_problem().is_some() && !view.is_tunnel()));
    fails("left-alone", &|view, packet| match view.mobility() {
        // A Binding Update to an initiator that has refused.
        Some(Message::CareOfTestInit(_)) if view.outer.destination == Node::Ai1.address() => {
            with_message(packet, |message| {
                *message = Message::BindingUpdate(mga_node::wire::mobility::BindingUpdate {
                    sequence: 1,
                    flags: UpdateFlags::empty(),
                    lifetime: mga_node::wire::mobility::Lifetime::from_seconds(96),
                    options: vec![MobilityOption::PadN(vec![0, 0])],
                });
            })
        }
        _ => Dose::Keep,
    });
    fails("rebinding", &|view, _| drop_if(update(view) == Some((100, true))));
    let is_tcp_to_ar2 =
        |view: &View| view.tcp().is_some() && [Node::Ar2.address()].contains(&view.outer.destination);
    fails("telnet-ends", &|view, _| drop_if(is_tcp_to_ar2(view)));
    // As if the session had gone on.
    fails("telnet-ends", &|view, packet| match view.tcp() {
        Some(segment) if segment.has(Segment::RST) && view.outer.destination == Node::Ai1.address() => {
            let mut bytes = packet.to_vec();
            bytes[40 + 13] = Segment::ACK;
            bytes.push(b'x');
            let length = u16::try_from(bytes.len() - 40).unwrap();
            bytes[4..6].copy_from_slice(&length.to_be_bytes());
            Dose::Replace(bytes)
        }
        _ => Dose::Keep,
    });
}

#[test]
fn a_second_question_to_a_plain_initiator_is_noticed() {
    let mut captures = kame("kame-section5.2");
    for (_, frames) in &mut captures {
        let again: Vec<Frame> = frames
            .iter()
            .filter(|frame| {
                let view = View::parse(&frame.ipv6).unwrap();
                matches!(view.mobility(), Some(Message::CareOfTestInit(_)))
                    || view.parameter_problem().is_some()
            })
            .map(|frame| Frame { at: frame.at + Duration::from_secs(3), ..frame.clone() })
            .collect();
        frames.extend(again);
        frames.sort_by_key(|frame| frame.at);
    }
    assert!(failed(&judge(claims::section5_2, captures)).contains(&"left-alone"));
}

#[test]
fn claims_of_5_3_fail_on_doctored_captures() {
    let fails = |claim: &str, doctor: &dyn Fn(&View, &[u8]) -> Dose| {
        fails_when(claims::section5_3, "kame-section5.3", claim, doctor);
    };
    let between = |view: &View, one: Node, other: Node| {
        let ends = (view.outer.source, view.outer.destination);
        ends == (one.address(), other.address()) || ends == (other.address(), one.address())
    };
    for (claim, peer, responder) in
        [("return-routability-ai2", Node::Ai2, Node::Ar2), ("return-routability-ai1", Node::Ai1, Node::Ar1)]
    {
        fails(claim, &|view, _| {
            let home_test = matches!(view.mobility(), Some(Message::HomeTest(_)));
            drop_if(home_test && between(view, Node::Haa, responder))
        });
        fails(claim, &|view, packet| match matches!(view.mobility(), Some(Message::CareOfTest(_)))
            && between(view, peer, responder)
        {
            true => with_message(packet, |message| {
                let Message::CareOfTest(test) = message else { unreachable!() };
                test.cookie[0] ^= 1;
            }),
            false => Dose::Keep,
        });
        fails(claim, &|view, packet| match update(view) {
            Some((_, false)) => with_message(packet, |message| {
                let Message::BindingUpdate(update) = message else { unreachable!() };
                for option in &mut update.options {
                    if let MobilityOption::NonceIndices { home, .. } = option {
                        *home += 1;
                    }
                }
            }),
            _ => Dose::Keep,
        });
        fails(claim, &|view, packet| match update(view) {
            Some((_, false)) => with_message(packet, |message| {
                let Message::BindingUpdate(update) = message else { unreachable!() };
                update.options.pop();
                update.options.push(MobilityOption::PadN(vec![0; 12]));
            }),
            _ => Dose::Keep,
        });
        // The Binding Update before the test it needs. (By more than until the next one, which may use its token.)
        fails(claim, &|view, _| match view.mobility() {
            Some(Message::CareOfTest(_)) if between(view, peer, responder) => {
                Dose::Delay(Duration::from_secs(60))
            }
            _ => Dose::Keep,
        });
    }
    // The initiator sends to A_Any by itself again, without a routing header.
    for (claim, peer) in [
        ("figure-14a-ai2", Node::Ai2),
        ("figure-14b-ai2", Node::Ai2),
        ("figure-14c-ai1", Node::Ai1),
        ("figure-14c-ai2", Node::Ai2),
        ("stays-ai1", Node::Ai1),
        ("stays-ai2", Node::Ai2),
    ] {
        fails(claim, &|view, packet| match view.outer.source == peer.address()
            && view.outer.routing2.is_some()
            && view.is_data()
        {
            true => rewritten(packet, |packet| {
                rewrite::strip_routing2(packet).unwrap();
            }),
            false => Dose::Keep,
        });
    }
    // The responder answers without the home address option.
    fails("figure-14a-ai2", &|view, packet| match view.outer.home_address.is_some()
        && view.echo_reply().is_some()
        && between(view, Node::Ar2, Node::Ai2)
    {
        true => rewritten(packet, |packet| {
            rewrite::strip_home_address(packet).unwrap();
        }),
        false => Dose::Keep,
    });
    for (claim, responder) in [("figure-14a-ai1", Node::Ar2), ("figure-14b-ai1", Node::Ar1)] {
        fails(claim, &|view, _| {
            drop_if(view.echo_request().is_some() && view.is_tunnel() && between(view, Node::Haa, responder))
        });
    }
    fails("plain-kernel", &|view, _| drop_if(view.parameter_problem().is_some() && !view.is_tunnel()));
    // Only the second half of the session, as if it had been opened anew.
    fails("telnet-ai2", &|view, _| drop_if(view.tcp().is_some_and(|segment| segment.has(Segment::SYN))));
    // Reset after the change.
    fails("telnet-ai2", &|view, packet| match view.tcp() {
        Some(segment) if segment.payload == 12 && view.outer.home_address.is_some() => {
            let mut bytes = packet.to_vec();
            bytes[40 + 24 + 13] |= Segment::RST;
            Dose::Replace(bytes)
        }
        _ => Dose::Keep,
    });
    fails("telnet-ai2", &|view, _| {
        drop_if(view.tcp().is_some_and(|segment| segment.payload > 0) && view.outer.home_address.is_some())
    });
}

#[test]
fn every_section_fails_on_the_captures_of_another() {
    let sections: [(Section, &str); 3] = [
        (claims::section5_1, "kame-section5.1"),
        (claims::section5_2, "kame-section5.2"),
        (claims::section5_3, "kame-section5.3"),
    ];
    for (section, own) in sections {
        for (_, other) in sections.iter().filter(|(_, name)| *name != own) {
            let findings = judge(section, kame(other));
            let wrong = failed(&findings);
            match (own, *other) {
                // 5.2 begins with what 5.1 shows.
                ("kame-section5.1", "kame-section5.2") => assert_eq!(wrong, [""; 0]),
                ("kame-section5.1", _) => assert_eq!(wrong, ["refused-100", "retry-202"]),
                _ => assert!(wrong.len() >= 6, "{own} on {other}: {wrong:?}"),
            }
        }
        let nothing = Node::ALL.iter().map(|node| (node.name().to_owned(), Vec::new())).collect();
        let findings = judge(section, nothing);
        assert!(
            findings.iter().all(|finding| finding.verdict == Verdict::Fail),
            "nothing captured, nothing held"
        );
    }
}

/// Machines of which each has a clock of its own: hours apart, and running at different speeds.
fn on_other_clocks(captures: &Captures) -> Captures {
    let mut captures = captures.clone();
    let start = captures.iter().filter_map(|(_, frames)| frames.first()).map(|frame| frame.at).min().unwrap();
    let clocks: [(i128, u32); 6] = [
        (3_600_123_456_789, 200),
        (-7_000_000_001, 0),
        (1, 150),
        (0, 0),
        (-86_400_000_000_000, 400),
        (250_000_000, 90),
    ];
    for ((_, frames), (ahead, drift)) in captures.iter_mut().zip(clocks) {
        for frame in frames {
            let gained = (frame.at - start).as_nanos() * u128::from(drift) / 1_000_000;
            frame.at = capture::shifted(frame.at, ahead + i128::try_from(gained).unwrap());
        }
    }
    captures
}

/// The same verdicts as on one clock, though without the correction most of them would be others.
#[test]
fn clocks_that_differ_change_no_verdict() {
    let verdicts = |findings: Vec<Finding>| -> Vec<(String, Verdict)> {
        findings.into_iter().map(|finding| (finding.name, finding.verdict)).collect()
    };
    let sections: [(&str, Section); 3] = [
        ("kame-section5.1", claims::section5_1),
        ("kame-section5.2", claims::section5_2),
        ("kame-section5.3", claims::section5_3),
    ];
    for (name, section) in sections {
        let captures = kame(name);
        let expected = verdicts(judge(section, captures.clone()));
        let mut skewed = on_other_clocks(&captures);
        assert_ne!(verdicts(judge(section, skewed.clone())), expected, "{name}: the clocks matter");
        let guesses = [0; 6];
        let ahead = clocks::align(&mut skewed, &figure11::owners(), &guesses);
        let between = ahead[4] - ahead[3];
        assert!(
            (between + 86_400_000_000_000).abs() < 100_000_000,
            "{name}: AR1 is a day behind HAA: {between}"
        );
        assert_eq!(verdicts(judge(section, skewed)), expected, "{name}");
        // What has one clock already is left in its order.
        let mut same = captures.clone();
        clocks::align(&mut same, &figure11::owners(), &guesses);
        assert_eq!(verdicts(judge(section, same)), expected, "{name}: one clock");
    }
}

#[test]
fn captures_that_share_no_packet_are_put_by_the_guess() {
    let mut captures = kame("kame-section5.1");
    captures.truncate(1);
    let before = captures.clone();
    captures.push(("AR9".to_owned(), Vec::new()));
    assert_eq!(clocks::align(&mut captures, &[], &[5_000, -3]), [5_000, -3]);
    for (frame, frame_before) in captures[0].1.iter().zip(&before[0].1) {
        assert_eq!(frame.at, frame_before.at - Duration::from_nanos(5_000));
    }
}
