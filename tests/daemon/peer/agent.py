"""A scripted responder, a client and neighbours against the running home anycast agent (RFC 3775 section 10)."""

from wire import *


def bound(wire, source, sequence, **update):
    """Registers from `source` and waits for the acknowledgement."""
    return wire.ask("an acknowledgement", binding_update(source, sequence, **update),
                    is_acknowledgement(source, 0, sequence))


def signalling(wire):
    bad = s.IPv6(bytes(binding_update(CARE_OF, 15)))
    bad.lastlayer().cksum ^= 1
    since = wire.place()
    wire.say(bad)
    wire.silent("M011", lambda f: s.MIP6MH_BA in f, since)
    assert wire.show("bindings") == []

    # H002: without flag A.
    bound(wire, CARE_OF, 15, flags="H")
    wire.ask("H097", echo(CLIENT, ANYCAST, 1), is_tunnelled(HAA, CARE_OF, 1))

    # H051: an older number leaves the binding where it is.
    refused = wire.ask("H051", binding_update(OTHER, 14), is_acknowledgement(OTHER, 135))
    assert refused[s.MIP6MH_BA].seq == 15
    wire.ask("H051", echo(CLIENT, ANYCAST, 2), is_tunnelled(HAA, CARE_OF, 2))

    # H026 and X002: one that is newer by 1 moves it, at once and entirely.
    bound(wire, OTHER, 16)
    since = wire.place()
    wire.ask("H026", echo(CLIENT, ANYCAST, 3), is_tunnelled(HAA, OTHER, 3))
    wire.silent("H026", is_tunnelled(HAA, CARE_OF), since)

    # H104: only the bound responder may tunnel back.
    def back(care_of, number):
        return s.IPv6(src=care_of, dst=HAA) / echo(ANYCAST, CLIENT, number)

    def is_forwarded(number):
        return lambda f: isinstance(outer(f).payload, s.ICMPv6EchoRequest) and outer(f).payload.seq == number

    since = wire.place()
    wire.say(back(CARE_OF, 4))
    wire.ask("H103", back(OTHER, 5), is_forwarded(5))
    wire.silent("H104", is_forwarded(4), since)

    # A tunnel packet in pieces is put together (RFC 2473 7.2), with and without a nesting limit in front of it.
    for number, options in (10, []), (11, [s.IPv6ExtHdrDestOpt(options=[s.HBHOptUnknown(otype=4, optdata=b"\4")])]):
        whole = s.IPv6(src=OTHER, dst=HAA) / s.IPv6ExtHdrFragment(id=number)
        for option in options:
            whole /= option
        whole /= back(OTHER, number)[1] / Raw(bytes(1300))
        since = wire.place()
        for piece in reversed(s.fragment6(whole, 700)):
            wire.say(piece)
        wire.hear(f"a tunnel packet in pieces, {number}", is_forwarded(number), since)

    # X013: a displaced responder can test no initiator any more, and what one says reaches the other responder.
    since = wire.place()
    wire.say(s.IPv6(src=CARE_OF, dst=HAA) / s.IPv6(src=ANYCAST, dst=CLIENT) / s.MIP6MH_HoTI(cookie=b"displace"))
    test = s.IPv6(src=CLIENT, dst=ANYCAST) / s.MIP6MH_HoT(index=1, cookie=b"displace", token=b"12345678")
    wire.ask("X013", test, lambda f: inner(f) is not None and s.MIP6MH_HoT in f and outer(f).dst == OTHER)
    wire.silent("X013", lambda f: outer(f).dst == CLIENT, since)

    # H109 and M029: an option that matches no binding, though the address is bound elsewhere.
    stray = s.IPv6(src=CARE_OF, dst=HAA) / home_address(ANYCAST) / UDP(sport=1, dport=2)
    error = wire.ask("H109", stray, lambda f: is_error(f, 1, ANYCAST))
    assert outer(error).dst == CARE_OF

    # H101: link scope stays on the link.
    since = wire.place()
    wire.say(echo("fe80::c", "ff02::1", 6))
    wire.silent("H101", is_tunnelled(HAA, OTHER), since)

    # H139: prefixes are told to the bound responder by routing header.
    question = s.IPv6(src=OTHER, dst=HAA) / home_address(ANYCAST) / s.ICMPv6MPSol(id=0x4711)
    told = wire.ask("H139", question, lambda f: s.ICMPv6MPAdv in f)
    assert (outer(told).dst, routed_to(told), told[s.ICMPv6MPAdv].id) == (OTHER, ANYCAST, 0x4711)
    prefix = told[s.ICMPv6NDOptPrefixInfo]
    assert (prefix.prefix, prefix.prefixlen, prefix.R) == (HAA, 64, 1), prefix.show(dump=True)

    # C072: a routing header to a node without home address.
    routing = s.IPv6ExtHdrRouting(type=2, segleft=1, addresses=[ANYCAST])
    since = wire.place()
    wire.say(s.IPv6(src=CLIENT, dst=HAA) / routing / s.ICMPv6EchoRequest(id=1, seq=9))
    wire.silent("C072", lambda f: outer(f).dst == CLIENT, since)

    # H043: four seconds later nothing is tunnelled, and the address is looked for on the link like any other.
    bound(wire, OTHER, 17, lifetime=1)
    wire.hear("H043", is_solicitation(ANYCAST), again=lambda: wire.say(echo(CLIENT, ANYCAST, 7)))
    assert wire.show("bindings") == []
    since = wire.place()
    wire.say(echo(CLIENT, ANYCAST, 8))
    wire.silent("H043", is_tunnelled(HAA, OTHER, 8), since)


NEIGHBOUR, NEIGHBOUR_MAC = "2001:db8:0:1::77", "02:00:00:00:77:77"
LINK_LOCAL = "fe80::a"


def question(target, source=NEIGHBOUR):
    """A neighbour solicitation, from `::` a probe."""
    group = s.in6_getnsma(s.inet_pton(s.socket.AF_INET6, target))
    packet = s.IPv6(src=source, dst=s.inet_ntop(s.socket.AF_INET6, group), hlim=255) / s.ICMPv6ND_NS(tgt=target)
    return packet if source == "::" else packet / s.ICMPv6NDOptSrcLLAddr(lladdr=NEIGHBOUR_MAC)


def detection(wire):
    """Runs at an agent that probes addresses first."""
    wire.answer_for(NEIGHBOUR, NEIGHBOUR_MAC)
    # Another node has the address, or its link-local one, or is probing for it as well.
    conflicts = [
        ("H068", "AH", ANYCAST, lambda: wire.advertise(ANYCAST, NEIGHBOUR_MAC)),
        ("H069", "AHL", LINK_LOCAL, lambda: wire.advertise(LINK_LOCAL, NEIGHBOUR_MAC)),
        ("H070", "AH", ANYCAST, lambda: wire.say(question(ANYCAST, "::"), NEIGHBOUR_MAC)),
    ]
    for sequence, (row, flags, target, object_to) in enumerate(conflicts, 1):
        since = wire.place()
        wire.say(binding_update(CARE_OF, sequence, flags=flags))
        probe = wire.hear(f"{row}: a probe", is_solicitation(target), since)
        assert outer(probe).src == "::", probe.show(dump=True)
        object_to()
        wire.hear(row, is_acknowledgement(CARE_OF, 134, sequence), since)
        assert wire.show("bindings") == [], row

    # H066, H067, H030: nobody objects.
    since = wire.place()
    wire.say(binding_update(CARE_OF, 10, flags="AHL"))
    accepted = wire.hear("H066", is_acknowledgement(CARE_OF, 0, 10), since)
    before = wire.heard[since:wire.heard.index(accepted)]
    for target in ANYCAST, LINK_LOCAL:
        probe = next((f for f in before if is_solicitation(target)(f)), None)
        assert probe is not None and outer(probe).src == "::", f"H066, H067: {target} was not probed"
        waited = accepted.time - probe.time
        assert waited > 0.9, f"H066: acknowledged {waited} s after the probe"
    # H092, H093.
    for target in ANYCAST, LINK_LOCAL:
        claim = wire.hear(f"H092, H093: {target}", is_advertisement(target, "ff02::1"), since)
        assert (claim[s.ICMPv6ND_NA].R, claim[s.ICMPv6ND_NA].S, claim[s.ICMPv6ND_NA].O) == (0, 0, 1)
        assert (claim[s.ICMPv6NDOptDstLLAddr].lladdr, outer(claim).hlim) == (wire.node_mac, 255)
    # H094 to H096: the addresses are defended.
    for target in ANYCAST, LINK_LOCAL:
        wire.ask("H094, H095", question(target), is_advertisement(target, NEIGHBOUR, S=1, R=0), NEIGHBOUR_MAC)
        wire.ask("H096", question(target, "::"), is_advertisement(target, "ff02::1", S=0), NEIGHBOUR_MAC)

    # H080: after deregistration they are not, and nothing is tunnelled.
    wire.ask("H080", binding_update(CARE_OF, 11, lifetime=0), is_acknowledgement(CARE_OF, 0, 11))
    since = wire.place()
    for target in ANYCAST, LINK_LOCAL:
        wire.say(question(target), NEIGHBOUR_MAC)
        wire.say(question(target, "::"), NEIGHBOUR_MAC)
    wire.say(echo(CLIENT, ANYCAST, 1))
    wire.hear("H080: the address is looked for on the link", is_solicitation(ANYCAST), since)
    wire.silent("H080", lambda f: s.ICMPv6ND_NA in f or inner(f) is not None, since)


def discovery(wire):
    """Another agent on the home link advertises itself, with and without Home Agent Information."""
    # It is a router, too, and the host may take it for its own.
    wire.answer_for("fe80::77", NEIGHBOUR_MAC)
    anycast = "2001:db8:0:1:fdff:ffff:ffff:fffe"
    asked = 0

    def advertise(router_lifetime, *information):
        prefix = s.ICMPv6NDOptPrefixInfo(prefixlen=64, prefix=NEIGHBOUR, R=1, A=0)
        advertisement = s.IPv6(src="fe80::77", dst="ff02::1", hlim=255)
        advertisement /= s.ICMPv6ND_RA(H=1, routerlifetime=router_lifetime) / prefix
        for option in information:
            advertisement /= option
        wire.say(advertisement, NEIGHBOUR_MAC)

    def named():
        nonlocal asked
        asked += 1
        request = s.IPv6(src=CLIENT, dst=anycast) / s.ICMPv6HAADRequest(id=asked)
        reply = wire.ask("H119", request, lambda f: s.ICMPv6HAADReply in f and f[s.ICMPv6HAADReply].id == asked)
        return reply[s.ICMPv6HAADReply].addresses

    assert named() == [HAA]
    # H114: the information's lifetime is in seconds and stands before the router's.
    for router_lifetime, information in [
        (1800, [s.ICMPv6NDOptHAInfo(pref=9, lifetime=4)]),
        (4, []),
    ]:
        wire.until("H114: named", lambda: advertise(router_lifetime, *information) or NEIGHBOUR in named())
        wire.until("H114: forgotten", lambda: named() == [HAA])
    # H114 and H120: a lifetime of zero means that it is no agent any more.
    advertise(0, s.ICMPv6NDOptHAInfo(pref=9, lifetime=1800))
    wire.until("H120", lambda: named() == [NEIGHBOUR, HAA])
    advertise(1800, s.ICMPv6NDOptHAInfo(pref=9, lifetime=0))
    wire.until("H114", lambda: named() == [HAA])


def returning(wire):
    """A responder that comes home: what it is told reaches its own Ethernet address."""
    wire.answer_for(ANYCAST, NEIGHBOUR_MAC)
    bound(wire, CARE_OF, 10)

    def from_home(sequence, lifetime):
        return binding_update(ANYCAST, sequence, lifetime=lifetime)

    # H082: an error, while the address is still bound to the care-of address.
    since = wire.place()
    refused = wire.ask("H082", from_home(9, 0), is_acknowledgement(ANYCAST, 135), NEIGHBOUR_MAC)
    assert refused.dst == NEIGHBOUR_MAC, refused.show(dump=True)
    assert (refused[s.MIP6MH_BA].seq, outer(refused).src) == (10, HAA)
    wire.silent("H082", lambda f: outer(f).dst == CARE_OF, since)
    assert wire.show("bindings")[0]["care_of"] == CARE_OF
    # H075 and H081: success.
    done = wire.ask("H075, H081", from_home(11, 0), is_acknowledgement(ANYCAST, 0, 11), NEIGHBOUR_MAC)
    assert done.dst == NEIGHBOUR_MAC, done.show(dump=True)
    assert (done[s.MIP6MH_BA].mhtime, outer(done).src) == (0, HAA)
    assert wire.show("bindings") == []


if __name__ == "__main__":
    main({"signalling": signalling, "detection": detection, "discovery": discovery, "returning": returning})
