"""Members with keys, and others who would like to be (RFC 4283, RFC 4285): a scripted responder against the running
agent, and a scripted agent against the running responder. Proofs are made and judged by Python's hmac."""

from wire import *

SPI = 256
# One octet of each key, sixteen times; the tests write the same into the key files.
KEYS = {"ar1": b"\x01" * 16, "ar2": b"\x02" * 16, "ar3": b"\x03" * 16}
# Seconds from 1900 to 1970.
NTP = 2208988800


def now(shift=0):
    """A timestamp of NTP."""
    time_of_day = time.time_ns() + shift * 10**9
    seconds, rest = divmod(time_of_day, 10**9)
    return (seconds + NTP) << 32 | (rest << 32) // 10**9


def proof(key, care_of, home, header):
    """First96(HMAC_SHA1(key, care-of address | home address | MH Data)), RFC 4285 5.1; the option ends the header."""
    covered = header[:4] + bytes(2) + header[6:-12]
    addresses = socket.inet_pton(socket.AF_INET6, care_of) + socket.inet_pton(socket.AF_INET6, home)
    return hmac.digest(key, addresses + covered, "sha1")[:12]


def prove(message, name, key, timestamp, care_of, spi=SPI):
    """The message with identifier, timestamp and a proof at its end; the identifier's length leaves no padding there."""
    def built(data):
        whole = message.copy()
        stamp = [] if timestamp is None else [s.MIP6OptReplayProtection(timestamp=timestamp)]
        # Without the timestamp its ten octets are padding, so that the proof still ends the header.
        pad = [s.PadN(optdata=bytes(8))] if timestamp is None else []
        whole.options = [*message.options, s.MIP6OptMNID(subtype=1, id=f"{name}@example.net".encode()), *stamp, *pad,
                         s.MIP6OptMsgAuth(subtype=1, mspi=spi, authdata=data)]
        return whole

    header = bytes(s.IPv6() / built(bytes(12)))[40:]
    assert header[-12:] == bytes(12) and len(header) % 8 == 0, header.hex()
    return built(proof(key, care_of, ANYCAST, header))


def update(source, sequence, name="ar1", key=None, timestamp=0, lifetime=100, spi=SPI):
    """A Binding Update in somebody's name; 0 is stamped now, None not at all."""
    message = s.MIP6MH_BU(seq=sequence, flags="AH", mhtime=lifetime, options=[s.MIP6OptAltCoA(acoa=source)])
    timestamp = now() if timestamp == 0 else timestamp
    proven = prove(message, name, key or KEYS[name], timestamp, source, spi)
    return s.IPv6(src=source, dst=HAA) / home_address(ANYCAST) / proven


def option(message, kind):
    found = [option for option in message.options if isinstance(option, kind)]
    assert len(found) == 1, message.show(dump=True)
    return found[0]


def judged(frame, name, care_of, asked):
    """The acknowledgement in `frame`, whose proof must hold, and the difference of its timestamp from that asked."""
    message = frame[s.MIP6MH_BA]
    assert option(message, s.MIP6OptMNID).id == f"{name}@example.net".encode()
    header = bytes(frame[s.MIP6MH_BA])
    auth = option(message, s.MIP6OptMsgAuth)
    assert (auth.subtype, auth.mspi, message.options[-1]) == (1, SPI, auth), message.show(dump=True)
    assert header[-12:] == proof(KEYS[name], care_of, ANYCAST, header), header.hex()
    return option(message, s.MIP6OptReplayProtection).timestamp - asked


def agent(wire):
    """Somebody without a key, with another member's, with a replayed, shifted or overtaken message or another SPI
    cannot join, move or remove; and members come and go."""
    def bindings():
        return [(binding["care_of"], binding["sequence"]) for binding in wire.show("bindings")]

    def silent(what, packet):
        since, before = wire.place(), bindings()
        wire.say(packet)
        wire.silent(what, lambda f: s.MIP6MH_BA in f, since)
        assert bindings() == before, what

    def refused(what, packet, to, status, sequence):
        before = bindings()
        frame = wire.ask(what, packet, is_acknowledgement(to, status, sequence))
        assert bindings() == before, what
        return frame

    silent("no key", binding_update(CARE_OF, 200))
    silent("another SPI", update(CARE_OF, 200, spi=257))
    silent("nobody's name", update(CARE_OF, 200, name="eve", key=KEYS["ar1"]))
    refused("another's key", update(CARE_OF, 200, key=KEYS["ar2"]), CARE_OF, 146, 200)
    assert bindings() == []

    stamp = now()
    good = update(CARE_OF, 200, timestamp=stamp)
    frame = wire.ask("a member", good, is_acknowledgement(CARE_OF, 0, 200))
    assert judged(frame, "ar1", CARE_OF, stamp) == 0
    assert bindings() == [(CARE_OF, 200)]

    frame = refused("a replay", good, CARE_OF, 144, 200)
    assert judged(frame, "ar1", CARE_OF, stamp) & 0xFFFFFFFF == 0, "the fraction is the update's"
    older = update(OTHER, 202)
    wire.ask("the newer one first", update(CARE_OF, 201), is_acknowledgement(CARE_OF, 0, 201))
    refused("overtaken on the way", older, OTHER, 144, 202)
    for shift in (-3600, 3600):
        stamp = now(shift)
        frame = refused("another time", update(OTHER, 203, timestamp=stamp), OTHER, 144, 203)
        told = judged(frame, "ar1", OTHER, stamp)
        assert told & 0xFFFFFFFF == 0 and abs((told >> 32) + shift) < 60, (shift, told >> 32)
    refused("no time", update(OTHER, 203, timestamp=None), OTHER, 145, 203)
    moved = update(CARE_OF, 204)
    moved[s.IPv6].src = OTHER
    moved[s.MIP6MH_BU].options[0].acoa = OTHER
    moved[s.MIP6MH_BU].cksum = None
    refused("moved on the way", s.IPv6(bytes(moved)), OTHER, 146, 204)
    ended = update(CARE_OF, 204)
    ended[s.MIP6MH_BU].mhtime = 0
    refused("ended on the way", ended, CARE_OF, 146, 204)
    refused("another's end", update(CARE_OF, 205, name="ar2", lifetime=0), CARE_OF, 129, 205)

    # Numbers are counted beside the timestamps: the exchange of thesis 5.1.
    refused("an older number", update(OTHER, 100, name="ar2"), OTHER, 135, 201)
    wire.ask("a newer number", update(OTHER, 202, name="ar2"), is_acknowledgement(OTHER, 0, 202))
    assert bindings() == [(OTHER, 202)]

    # A flood is answered at 20 and 20 more a second, and then whoever has the key is.
    began, since = time.monotonic(), wire.place()
    for number in range(300):
        wire.say(update(CARE_OF, number, key=KEYS["ar3"]))
    numbers = iter(range(300, 400))
    # A busy host may lose packets of a flood, the good one too.
    wire.hear("a member in a flood", is_acknowledgement(CARE_OF, 0), since,
              lambda: wire.say(update(CARE_OF, next(numbers))))
    answers = [f for f in wire.heard[since:] if is_acknowledgement(CARE_OF, 146)(f)]
    assert len(answers) <= 21 + 20 * (time.monotonic() - began), len(answers)

    wire.node("member", "disable", "ar1@example.net")
    assert bindings() == []
    silent("switched off", update(CARE_OF, 400))
    wire.node("member", "enable", "ar1@example.net")
    wire.ask("switched on", update(CARE_OF, 401), is_acknowledgement(CARE_OF, 0, 401))
    wire.node("member", "remove", "ar1@example.net")
    assert bindings() == []
    silent("removed", update(CARE_OF, 402))


def added(wire):
    """Somebody who becomes a member while the agent runs; the test has added it."""
    wire.ask("a new member", update(CARE_OF, 500, name="ar3"), is_acknowledgement(CARE_OF, 0, 500))


def responder(wire):
    """The running responder proves what it says, and believes an agent that does."""
    def heard(what, since, again=None):
        frame = wire.hear(what, lambda f: mobility(f, s.MIP6MH_BU) and outer(f).dst == HAA, since, again)
        message, header = frame[s.MIP6MH_BU], bytes(frame[s.MIP6MH_BU])
        auth = option(message, s.MIP6OptMsgAuth)
        assert (auth.mspi, message.options[-1]) == (SPI, auth), message.show(dump=True)
        assert header[-12:] == proof(KEYS["ar1"], wire.address, ANYCAST, header), header.hex()
        return message.seq, option(message, s.MIP6OptReplayProtection).timestamp

    def answer(status, sequence, timestamp, key=None, plain=False):
        message = s.MIP6MH_BA(status=status, flags=0, seq=sequence, mhtime=24)
        if not plain:
            # Twenty octets stand where an update has its Alternate Care-of Address.
            message.options = [s.PadN(optdata=bytes(18))]
            message = prove(message, "ar1", key or KEYS["ar1"], timestamp, wire.address)
        routing = s.IPv6ExtHdrRouting(type=2, segleft=1, addresses=[ANYCAST])
        wire.say(s.IPv6(src=HAA, dst=wire.address) / routing / message)

    def state():
        return wire.show("updates")["agents"][0]["state"]

    sequence, stamp = heard("an update", 0)
    assert abs((stamp >> 32) - NTP - time.time()) < 60, "the time of day"
    # None of these is believed: the update comes again.
    since = wire.place()
    answer(0, sequence, stamp, plain=True)
    answer(0, sequence, stamp, key=KEYS["ar2"])
    answer(0, sequence, stamp + 1)
    answer(146, sequence, stamp, key=KEYS["ar2"])
    answer(129, sequence, stamp, key=KEYS["ar2"])
    later, again = heard("the update again", since)
    assert later == sequence + 1 and again > stamp

    # Another clock: at once, with the time it was told. An answer that comes late is to an update that is past.
    for _ in range(5):
        since = wire.place()
        answer(144, later, again + (7200 << 32))
        sequence, stamp = heard("the update with the agent's time", since)
        ahead = (stamp - again) >> 32
        if ahead > 60:
            break
        later, again = sequence, stamp
    assert 7100 < ahead < 7300, ahead

    def registered():
        answer(0, *heard("an update", newest()))
        return state() == "registered"

    def newest():
        return max(at for at, f in enumerate(wire.heard) if mobility(f, s.MIP6MH_BU) and outer(f).dst == HAA)

    wire.until("it is registered", registered)
    # Nothing unproven takes it away.
    answer(146, sequence, stamp, key=KEYS["ar2"])
    answer(129, sequence, stamp, plain=True)
    answer(129, sequence, stamp, key=KEYS["ar2"])
    wire.silent("an answer to what is not proven", lambda f: mobility(f, s.MIP6MH_BU), wire.place())
    assert state() == "registered"


main({"agent": agent, "added": added, "responder": responder})
