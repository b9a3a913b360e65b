"""A scripted responder against the running anycast initiator (RFC 3775 section 9)."""

from wire import *

COOKIE = bytes.fromhex("c00c1e5001020304")
SERVER = """
import socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 7))
print("ready", flush=True)
data, peer = server.recvfrom(100)
print(peer[0], flush=True)
server.sendto(data, peer)
"""


def test(wire, init, answer, source):
    """Asks one test from `source`: nonce index and token."""
    said = s.IPv6(src=source, dst=wire.address) / init(cookie=COOKIE)
    frame = wire.ask(f"C002, C003 for {source}", said, lambda f: mobility(f, answer) and outer(f).dst == source)
    assert frame[answer].cookie == COOKIE, frame.show(dump=True)
    # M029: whatever is bound, a test goes straight back.
    assert (outer(frame).src, outer(frame).nh) == (wire.address, 135), frame.show(dump=True)
    return frame[answer].index, frame[answer].token


def home_test(wire):
    return test(wire, s.MIP6MH_HoTI, s.MIP6MH_HoT, ANYCAST)


def care_of_test(wire, care_of):
    return test(wire, s.MIP6MH_CoTI, s.MIP6MH_CoT, care_of)


def signalling(wire):
    bad = s.IPv6(bytes(s.IPv6(src=ANYCAST, dst=wire.address) / s.MIP6MH_HoTI(cookie=COOKIE)))
    bad.lastlayer().cksum ^= 1
    since = wire.place()
    wire.say(bad)
    wire.silent("M011", lambda f: s.MIP6MH_HoT in f, since)

    # C066: nothing is bound yet.
    stray = s.IPv6(src=CARE_OF, dst=wire.address) / home_address(ANYCAST) / UDP(sport=9, dport=7)
    error = wire.ask("C066", stray, lambda f: is_error(f, 1, ANYCAST))
    assert outer(error).dst == CARE_OF

    home = home_test(wire)
    care_of = care_of_test(wire, CARE_OF)
    key = management_key(home[1], care_of[1])
    update = sealed_update(key, CARE_OF, wire.address, 15, (home[0], care_of[0]), lifetime=1000)
    done = wire.ask("C016", update, is_acknowledgement(CARE_OF, 0, 15))
    assert done[s.MIP6MH_BA].mhtime == 105, done.show(dump=True)
    assert is_sealed(done, key, CARE_OF, wire.address), done.show(dump=True)

    # C076: a program hears the anycast address, and its answer takes the routing header.
    server = wire.host_starts("python3", "-c", SERVER)
    try:
        assert server.stdout.readline() == "ready\n"
        data = s.IPv6(src=CARE_OF, dst=wire.address) / home_address(ANYCAST) / UDP(sport=9, dport=7) / Raw(b"hello")
        answer = wire.ask("C067, C076", data, lambda f: UDP in f and routed_to(f) == ANYCAST)
        assert (outer(answer).dst, bytes(answer[UDP].payload)) == (CARE_OF, b"hello"), answer.show(dump=True)
        assert server.stdout.readline() == f"{ANYCAST}\n"
    finally:
        server.kill()
        server.wait()

    # M029: bound or not.
    home = home_test(wire)
    since = wire.place()
    # C017: without flag A the binding moves without a word.
    care_of = care_of_test(wire, OTHER)
    key = management_key(home[1], care_of[1])
    wire.say(sealed_update(key, OTHER, wire.address, 16, (home[0], care_of[0]), flags=0))
    asked = s.IPv6(src=OTHER, dst=wire.address) / home_address(ANYCAST) / s.ICMPv6EchoRequest(id=1, seq=2)
    reply = wire.ask("C017", asked, lambda f: s.ICMPv6EchoReply in f and routed_to(f) == ANYCAST)
    assert outer(reply).dst == OTHER
    wire.silent("C017", lambda f: s.MIP6MH_BA in f, since)
    # The former care-of address is nobody now.
    error = wire.ask("C068", stray, lambda f: is_error(f, 1, ANYCAST))
    assert outer(error).dst == CARE_OF

    # X014: a successor's number is not newer; its retry takes the binding over.
    care_of = care_of_test(wire, CARE_OF)
    key = management_key(home[1], care_of[1])
    indices = home[0], care_of[0]
    refused = wire.ask("X014", sealed_update(key, CARE_OF, wire.address, 3, indices),
                       is_acknowledgement(CARE_OF, 135, 16))
    assert is_sealed(refused, key, CARE_OF, wire.address), refused.show(dump=True)
    # X013: as long as one unit, and it has no other.
    wire.ask("X014", sealed_update(key, CARE_OF, wire.address, 18, indices, lifetime=1),
             is_acknowledgement(CARE_OF, 0, 18))
    wire.ask("X014", stray, lambda f: s.ICMPv6DestUnreach in f)
    wire.hear("X013", lambda f: is_error(f, 1, ANYCAST), again=lambda: wire.say(stray))
    assert wire.show("bindings") == []

    # C072: a routing header to a node without home address.
    routing = s.IPv6ExtHdrRouting(type=2, segleft=1, addresses=[ANYCAST])
    since = wire.place()
    wire.say(s.IPv6(src=CLIENT, dst=wire.address) / routing / s.ICMPv6EchoRequest(id=1, seq=9))
    wire.silent("C072", lambda f: outer(f).dst == CLIENT, since)


if __name__ == "__main__":
    main({"signalling": signalling})
