"""A scripted agent, initiators and neighbours around the running anycast responder (RFC 3775 section 11)."""

from wire import *

INITIATOR = "2001:db8:0:9::d"
GATEWAY = "2001:db8:0:1::1"
AT_HOME = "2001:db8:0:1::44"
AGENT_MAC, GATEWAY_MAC, NEIGHBOUR_MAC = "02:00:00:00:0a:0a", "02:00:00:00:0b:0b", "02:00:00:00:77:77"
NEIGHBOUR = "2001:db8:0:1::77"
TOKENS = b"home token"[:8], b"care-of-"


def acknowledge(wire, update, lifetime=None, status=0):
    """Answers an update as a home agent does, by routing header unless it came from the home address."""
    said = update[s.MIP6MH_BU]
    message = s.MIP6MH_BA(flags=0, status=status, seq=said.seq,
                          mhtime=said.mhtime if lifetime is None else lifetime)
    packet = s.IPv6(src=HAA, dst=outer(update).src)
    if outer(update).src != ANYCAST:
        packet /= s.IPv6ExtHdrRouting(type=2, segleft=1, addresses=[ANYCAST])
    wire.say(packet / message)


def is_update(source, to=HAA):
    """A Binding Update, with the home address option unless it comes from home."""
    def wanted(frame):
        message = mobility(frame, s.MIP6MH_BU)
        if not message or (outer(frame).src, outer(frame).dst) != (source, to):
            return False
        return source == ANYCAST or (s.HAO in frame and frame[s.HAO].hoa == ANYCAST)
    return wanted


def register(wire, since=0):
    """Waits for a registration from the care-of address and acknowledges it."""
    update = wire.hear("N016", is_update(wire.address), since)
    said = update[s.MIP6MH_BU]
    assert said.flags & 0x60 == 0x60 and not said.flags & 0x10, f"A, H and not K: {said.show(dump=True)}"
    assert said.mhtime == 24 and said[s.MIP6OptAltCoA].acoa == wire.address, said.show(dump=True)

    def remaining():
        return wire.show("updates")["agents"][0]["remaining"]

    def once_more():
        # What was sent meanwhile has a newer number, and only the newest counts.
        acknowledge(wire, [f for f in wire.heard if is_update(wire.address)(f)][-1])
        return bool(remaining())

    wire.until("registered", once_more)
    return update


def through_tunnel(wire, packet, agent=HAA):
    wire.say(s.IPv6(src=agent, dst=wire.address) / packet)


def is_from_tunnel(kind, to):
    """A packet of this class from the anycast address in the reverse tunnel."""
    def wanted(frame):
        packet = inner(frame)
        return bool(packet) and kind in packet and (packet.src, packet.dst) == (ANYCAST, to)
    return wanted


def is_straight(kind, source, to):
    """A packet of this class with nothing between it and the IPv6 header."""
    return lambda frame: isinstance(outer(frame).payload, kind) and (outer(frame).src, outer(frame).dst) == (source, to)


def optimise(wire, initiator):
    """Return routability with an initiator that spoke through the tunnel: the update it gets."""
    since = wire.place()
    through_tunnel(wire, echo(initiator, ANYCAST))
    wire.hear("N066, N068", is_from_tunnel(s.ICMPv6EchoReply, initiator), since)
    home = wire.hear("N045", is_from_tunnel(s.MIP6MH_HoTI, initiator), since)
    care_of = wire.hear("N045", is_straight(s.MIP6MH_CoTI, wire.address, initiator), since)
    return home, care_of


def prove(wire, initiator, home, care_of, since):
    """Answers both tests and returns the update that follows."""
    cookies = inner(home)[s.MIP6MH_HoTI].cookie, care_of[s.MIP6MH_CoTI].cookie
    through_tunnel(wire, s.IPv6(src=initiator, dst=ANYCAST)
                   / s.MIP6MH_HoT(index=3, cookie=cookies[0], token=TOKENS[0]))
    wire.say(s.IPv6(src=initiator, dst=wire.address) / s.MIP6MH_CoT(index=4, cookie=cookies[1], token=TOKENS[1]))
    update = wire.hear("N051", is_update(wire.address, initiator), since)
    assert is_sealed(update, management_key(*TOKENS), wire.address, initiator), update.show(dump=True)
    return update


def away(wire):
    register(wire)
    # N069: a tunnel from anybody else is not opened.
    since = wire.place()
    through_tunnel(wire, echo(CLIENT, ANYCAST, 9), agent=OTHER)
    wire.silent("N069", lambda f: s.ICMPv6EchoReply in f, since)

    # One of the agent in pieces is put together; of one that is never finished the agent hears (RFC 8200 4.5).
    wire.host("sysctl -q -w net.ipv6.ip6frag_time=2")
    whole = s.IPv6(src=HAA, dst=wire.address) / s.IPv6ExtHdrFragment(id=9) / (echo(OTHER, ANYCAST, 8) / Raw(bytes(1300)))
    first, *rest = s.fragment6(whole, 700)
    since = wire.place()
    for piece in *rest, first:
        wire.say(piece)
    wire.hear("a tunnel packet in pieces", is_from_tunnel(s.ICMPv6EchoReply, OTHER), since)
    whole[s.IPv6ExtHdrFragment].id = 10
    late = wire.ask("Time Exceeded", s.fragment6(whole, 700)[0], lambda f: s.ICMPv6TimeExceeded in f)
    assert (late[s.ICMPv6TimeExceeded].code, outer(late).dst) == (1, HAA), late.show(dump=True)

    # N060: a client that does not know the Mobility Header stays behind the agent.
    home, care_of = optimise(wire, CLIENT)
    problem = s.ICMPv6ParamProblem(code=1, ptr=6) / outer(care_of)
    wire.say(s.IPv6(src=CLIENT, dst=wire.address) / problem)
    wire.until("N060", lambda: "plain" in wire.node("show", "updates", "--json"))
    since = wire.place()
    through_tunnel(wire, echo(CLIENT, ANYCAST, 2))
    wire.hear("N060", is_from_tunnel(s.ICMPv6EchoReply, CLIENT), since)
    wire.silent("N060", lambda f: s.MIP6MH_CoTI in f or is_from_tunnel(s.MIP6MH_HoTI, CLIENT)(f), since)

    # N051: one that does is told the care-of address, and spoken to directly.
    since = wire.place()
    update = prove(wire, INITIATOR, *optimise(wire, INITIATOR), since)
    asked = s.IPv6(src=INITIATOR, dst=wire.address)
    asked /= s.IPv6ExtHdrRouting(type=2, segleft=1, addresses=[ANYCAST])
    reply = wire.ask("N065, N070", asked / s.ICMPv6EchoRequest(id=1, seq=3),
                     lambda f: s.ICMPv6EchoReply in f and s.HAO in f)
    assert (outer(reply).src, outer(reply).dst, reply[s.HAO].hoa) == (wire.address, INITIATOR, ANYCAST)

    # N077: what it asks for it gets, with new tests if the responder wants them.
    since = wire.place()
    through_tunnel(wire, s.IPv6(src=INITIATOR, dst=ANYCAST) / s.MIP6MH_BRR(len=0))
    fresh = (is_from_tunnel(s.MIP6MH_HoTI, INITIATOR), is_update(wire.address, INITIATOR))
    first = wire.hear("N077", lambda f: fresh[0](f) or fresh[1](f), since)
    if fresh[0](first):
        care_of = wire.hear("N077", is_straight(s.MIP6MH_CoTI, wire.address, INITIATOR), since)
        first = prove(wire, INITIATOR, first, care_of, since)
    assert first[s.MIP6MH_BU].seq == (update[s.MIP6MH_BU].seq + 1) % 65536

    # N046: the care-of address is an address like any other.
    wire.ask("N046", echo(CLIENT, wire.address), is_straight(s.ICMPv6EchoReply, wire.address, CLIENT))
    since = wire.place()
    ping = wire.host_starts("ping", "-c", "1", "-W", "1", "-I", wire.address, INITIATOR)
    wire.hear("N046", is_straight(s.ICMPv6EchoRequest, wire.address, INITIATOR), since)
    ping.wait()

    # N011: nothing that configures addresses comes from the anycast address.
    asked = wire.hear("N011", lambda f: s.ICMPv6ND_RS in f, 0)
    assert outer(asked).src.startswith("fe80::"), asked.show(dump=True)
    configuring = s.ICMPv6ND_RS, s.ICMPv6ND_NS, s.ICMPv6ND_NA, s.ICMPv6MLReport2
    wrong = [f for f in wire.heard if any(kind in f for kind in configuring) and outer(f).src == ANYCAST]
    assert not wrong, wrong[0].show(dump=True)


def question(target):
    group = s.inet_ntop(s.socket.AF_INET6, s.in6_getnsma(s.inet_pton(s.socket.AF_INET6, target)))
    return s.IPv6(src=NEIGHBOUR, dst=group, hlim=255) / s.ICMPv6ND_NS(tgt=target) / (
        s.ICMPv6NDOptSrcLLAddr(lladdr=NEIGHBOUR_MAC))


def moving(wire):
    """From one foreign address to another, home, and away again."""
    register(wire)
    # N008: a new address is a care-of address when its own probing is over.
    since = wire.place()
    former, wire.address = wire.address, "2001:db8:0:4::3"
    wire.host("sysctl -q -w net.ipv6.conf.all.accept_dad=1 net.ipv6.conf.eth0.accept_dad=1 "
              "net.ipv6.conf.eth0.dad_transmits=1")
    wire.host(f"ip -6 address add {wire.address}/64 dev eth0")
    wire.host(f"ip -6 address del {former}/64 dev eth0")
    update = register(wire, since)
    probe = wire.hear("N008", is_solicitation(wire.address), since)
    assert outer(probe).src == "::" and update.time - probe.time > 0.9, f"{update.time - probe.time} s"

    # Home: N085, N086.
    for address, mac in (HAA, AGENT_MAC), (GATEWAY, GATEWAY_MAC), (NEIGHBOUR, NEIGHBOUR_MAC):
        wire.answer_for(address, mac)
    since = wire.place()
    former = wire.address
    wire.host(f"ip -6 address add {AT_HOME}/64 dev eth0 nodad")
    wire.host(f"ip -6 address del {former}/64 dev eth0")
    wire.host(f"ip -6 route replace default via {GATEWAY} dev eth0")
    looked = wire.hear("N086", is_solicitation(ANYCAST), since)
    assert (outer(looked).src, outer(looked).dst[:8]) == ("::", "ff02::1:"), looked.show(dump=True)
    # N087: not a word about the address before the agent is told.
    wire.say(question(ANYCAST), NEIGHBOUR_MAC)
    wire.advertise(ANYCAST, AGENT_MAC)
    update = wire.hear("N085", is_update(ANYCAST), since)
    said = update[s.MIP6MH_BU]
    assert (update.dst, said.mhtime, said.flags & 0x60) == (AGENT_MAC, 0, 0x60), update.show(dump=True)
    before = wire.heard[since:wire.heard.index(update)]
    assert not any(is_advertisement(ANYCAST)(f) for f in before), "N087"
    wire.ask("N087", question(ANYCAST), is_advertisement(ANYCAST, NEIGHBOUR, S=1), NEIGHBOUR_MAC)
    since = wire.place()
    acknowledge(wire, update)
    claim = wire.hear("N088", is_advertisement(ANYCAST, "ff02::1", S=0, O=1), since)
    assert claim[s.ICMPv6NDOptDstLLAddr].lladdr == wire.node_mac, claim.show(dump=True)
    # N003: an address like any other.
    wire.ask("N003", echo(CLIENT, ANYCAST), is_straight(s.ICMPv6EchoReply, ANYCAST, CLIENT), GATEWAY_MAC)

    # N004: away again.
    since = wire.place()
    wire.host(f"ip -6 address add {former}/64 dev eth0 nodad")
    wire.host(f"ip -6 address del {AT_HOME}/64 dev eth0")
    wire.host("ip -6 route replace default via 2001:db8:0:4::1 dev eth0")
    register(wire, since)
    optimise(wire, CLIENT)


if __name__ == "__main__":
    main({"away": away, "moving": moving})
