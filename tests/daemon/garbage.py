"""Throws packets that nobody should send at one node, and reports what came back as one JSON object.

Arguments: interface, the node's Ethernet address, its address, the anycast address, how many packets, the seed.
RFC 3775 section 6 and RFC 2473 give the shapes. Run in the router's namespace by the tests of the running program.
"""

import json
import random
import select
import socket
import sys
import time

interface, mac, target, anycast, count, seed = sys.argv[1:7]
chance = random.Random(int(seed))
count = int(count)


def address(text):
    return socket.inet_pton(socket.AF_INET6, text)


TARGET, ANYCAST = address(target), address(anycast)
ROUTER = address("2001:db8:0:1::1")
NOBODY, ALL_NODES, LOOPBACK = address("::"), address("ff02::1"), address("::1")


def noise(length):
    return chance.randbytes(length)


def source():
    return chance.choice(
        [ROUTER, ANYCAST, TARGET, NOBODY, ALL_NODES, LOOPBACK, address("fe80::1")]
        + [address("2001:db8:0:%x::2" % chance.randint(2, 5)), address("2001:db8:77::") [:8] + noise(8)] * 4
    )


def destination():
    return chance.choice([TARGET] * 12 + [ANYCAST] * 3 + [ALL_NODES])


def checksum(octets):
    octets += b"\0" * (len(octets) % 2)
    total = sum(int.from_bytes(octets[at:at + 2], "big") for at in range(0, len(octets), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def summed(protocol, place, start, end, upper):
    upper = upper[:place] + b"\0\0" + upper[place + 2:]
    pseudo = start + end + len(upper).to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    return upper[:place] + checksum(pseudo + upper) + upper[place + 2:]


def ipv6(next_header, start, end, payload, hop_limit=64):
    return b"\x60\0\0\0" + len(payload).to_bytes(2, "big") + bytes([next_header, hop_limit]) + start + end + payload


def mobility(start, end, kind=None, data=None):
    kind = chance.choice(list(range(0, 9)) * 8 + list(range(256))) if kind is None else kind
    data = noise(chance.choice([2, 10, 18, 26, 34, 2 + 8 * chance.randint(0, 20)])) if data is None else data
    length = (6 + len(data)) // 8 - 1
    if chance.random() < 0.1:
        length = chance.randint(0, 255)
    return summed(135, 4, start, end, bytes([59, length, kind, 0, 0, 0]) + data)


def binding_update(start, end):
    flags = chance.choice([0xC0, 0x80, 0x40, 0x00, 0xF0])
    data = noise(2) + bytes([flags, 0]) + chance.choice([b"\0\0", b"\0\x18", noise(2)])
    options = chance.choice([b"\x01\x02\0\0", b"\x03\x10" + noise(16) + b"\0\0", noise(8 * chance.randint(0, 3)) + b"\1\2\0\0"])
    data += options
    data += b"\0" * (-(len(data) + 6) % 8)
    return mobility(start, end, 5, data)


def home_address(inner, home, protocol):
    return bytes([protocol, 2, 1, 2, 0, 0, 0xC9, 16]) + home + inner


def routing(inner, home, protocol):
    kind, left = chance.choice([(2, 1)] * 6 + [(0, 1), (2, 0), (2, 7), (4, 1)])
    return bytes([protocol, 2, kind, left, 0, 0, 0, 0]) + home + inner


def icmp(start, end, kind=None, body=None):
    kind = chance.choice([1, 2, 3, 4, 128, 133, 134, 135, 136, 137, 144, 145, 146, 147, chance.randint(0, 255)]) if kind is None else kind
    body = noise(chance.randint(0, 80)) if body is None else body
    return summed(58, 2, start, end, bytes([kind, chance.randint(0, 4), 0, 0]) + body)


def packet():
    start, end, home = source(), destination(), chance.choice([ANYCAST, ANYCAST, TARGET, NOBODY, noise(16)])
    shape = chance.randint(0, 9)
    if shape == 0:
        return ipv6(chance.choice([0, 41, 43, 44, 50, 51, 58, 59, 60, 135, chance.randint(0, 255)]), start, end, noise(chance.randint(0, 200)))
    if shape == 1:
        return ipv6(135, start, end, mobility(start, end))
    if shape == 2:
        return ipv6(60, start, end, home_address(binding_update(home, end), home, 135))
    if shape == 3:
        return ipv6(60, start, end, home_address(icmp(home, end, 128), home, 58))
    if shape == 4:
        return ipv6(43, start, end, routing(icmp(start, home, 128), home, 58))
    if shape == 5:
        return ipv6(43, start, end, routing(mobility(start, home, 6), home, 135))
    if shape == 6:
        inner = ipv6(58, home, source(), icmp(home, start, 128), chance.choice([0, 1, 64]))
        return ipv6(41, start, end, chance.choice([inner, inner[:chance.randint(0, 60)], noise(60), ipv6(41, home, end, inner)]))
    if shape == 7:
        quoted = chance.choice([ipv6(135, TARGET, start, mobility(TARGET, start)), ipv6(43, TARGET, start, routing(noise(20), home, 58)), noise(100)])
        return ipv6(58, start, end, icmp(start, end, chance.randint(1, 4), noise(4) + quoted))
    if shape == 8:
        return ipv6(58, start, end, icmp(start, end), chance.choice([64, 255]))
    return ipv6(135, start, end, binding_update(start, end))


def mutated(octets):
    octets = bytearray(octets)
    for _ in range(chance.randint(1, 4)):
        if octets:
            octets[chance.randrange(len(octets))] = chance.randint(0, 255)
    cut = chance.random()
    if cut < 0.2:
        del octets[chance.randrange(len(octets) + 1):]
    elif cut < 0.3:
        octets += noise(chance.randint(1, 1400 - min(1399, len(octets))))
    return bytes(octets[:1500])


wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
wire.bind((interface, 0))
target_mac = bytes.fromhex(mac.replace(":", ""))
own_mac = wire.getsockname()[4]
report = {"sent": 0, "answers": {}, "wrong": [], "received": 0}


def judge(frame):
    """Notes what a frame from the node is; what no RFC allows is listed as wrong."""
    octets = frame[14:]
    start, end = octets[8:24], octets[24:40]
    protocol, payload = octets[6], octets[40:]
    while protocol in (0, 43, 60) and len(payload) >= 8:
        protocol, payload = payload[0], payload[8 * (payload[1] + 1):]
    kind = payload[2] if protocol == 135 and len(payload) > 2 else payload[0] if protocol == 58 and payload else -1
    name = "%d/%d" % (protocol, kind)
    if start not in (TARGET, ANYCAST) and start[:2] != b"\xfe\x80" or octets[7] not in (64, 255):
        # Not the node's own word: a host that is a router forwards what is not for it.
        return
    if (protocol, kind) == (58, 129):
        # Linux answers an Echo Request from anybody, the unspecified address included; no node ever does.
        return
    neighbour = protocol == 58 and kind in (133, 135, 136, 143)
    # How often the kernel looks for neighbours depends on how long the garbage takes.
    report["received"] += not neighbour
    report["answers"][name] = report["answers"].get(name, 0) + 1
    known = protocol in (58, 135, 41, 6, 17, 44)
    if end in (NOBODY, LOOPBACK) or end[0] == 0xFF and not neighbour or not known:
        report["wrong"].append("%s %s" % (name, octets.hex()))


def listen(patience):
    while select.select([wire], [], [], patience)[0]:
        frame, details = wire.recvfrom(65535)
        if details[2] != socket.PACKET_OUTGOING and frame[12:14] == b"\x86\xdd" and frame[6:12] == target_mac:
            judge(frame)


for number in range(count):
    octets = packet()
    if number % 2:
        octets = mutated(octets)
    try:
        wire.send(target_mac + own_mac + b"\x86\xdd" + octets)
        report["sent"] += 1
    except OSError:
        # Longer than the link takes.
        pass
    if number % 64 == 0:
        listen(0)
        time.sleep(0.002)
listen(0.5)
report["wrong"] = report["wrong"][:5]
print(json.dumps(report))
