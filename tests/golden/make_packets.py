#!/usr/bin/env python3
"""Builds one packet of every message and option with scapy, which shares no code with this crate.

usage: make_packets.py > packets.txt

One line per packet: `NAME HEX`, the whole IPv6 packet, lengths, padding and checksums filled in by scapy.
tests/wire_golden.rs says what each of them must decode to. Four fields are set against scapy 2.8, which
gives a Binding Refresh Request without options a Header Len of 1, an authenticator of 12 octets and nonce
indices of 4 octets a length of 16, and every Binding Acknowledgement the K flag.
"""

import hmac
import struct

from scapy.layers import inet6 as s
from scapy.packet import Raw
from scapy.layers.inet import UDP

CARE_OF = "2001:db8:0:4::2"
AGENT = "2001:db8:0:1::2"
HOME = "2001:db8:0:1::a"
PEER = "2001:db8:0:3::2"

COOKIE = bytes.fromhex("0102030405060708")
TOKEN = bytes.fromhex("a1a2a3a4a5a6a7a8")
AUTHENTICATOR = bytes.fromhex("0f1e2d3c4b5a69788796a5b4")


def outward(payload, destination=AGENT):
    """From the care-of address."""
    return s.IPv6(src=CARE_OF, dst=destination, hlim=64) / payload


def optimised(payload, destination=AGENT):
    """With a home address option."""
    return outward(s.IPv6ExtHdrDestOpt(options=[s.HAO(hoa=HOME)]) / payload, destination)


def inward(payload, source=AGENT):
    """With a type 2 routing header."""
    routing = s.IPv6ExtHdrRouting(type=2, segleft=1, addresses=[HOME])
    return s.IPv6(src=source, dst=CARE_OF, hlim=64) / routing / payload


IDENTIFIER = b"ar1@example.net"
SPI = 256
KEY = bytes(range(16))
# 2026-11-29 12:00:00.25 UTC.
TIMESTAMP = 4004942400 << 32 | 1 << 30


def binding_identifier(bid, status=0, flags=0, care_of=b""):
    """RFC 5648 4.3; scapy does not know it."""
    return s.MIP6OptUnknown(otype=35, odata=struct.pack("!HBB", bid, status, flags) + care_of)


def offer(flags, extensions, metric, capacity, weight, more=b""):
    """docs/advanced-wire.md 3."""
    fixed = struct.pack("!3sBBBHIIH", b"MGA", 1, 1, flags, extensions, metric, capacity, weight)
    return s.MIP6OptUnknown(otype=18, odata=fixed + more)


def grant(extensions, *agents):
    """docs/advanced-wire.md 4."""
    fixed = struct.pack("!3sBBBH", b"MGA", 1, 2, len(agents), extensions)
    return s.MIP6OptUnknown(otype=18, odata=fixed + b"".join(map(octets, agents)))


def octets(address):
    return s.inet_pton(s.socket.AF_INET6, address)


def identity(timestamp):
    return [s.MIP6OptMNID(subtype=1, id=IDENTIFIER), s.MIP6OptReplayProtection(timestamp=timestamp)]


def proven(message):
    """With an MN-HA authentication option as the last one, 8n + 5, so that no padding follows (RFC 4285 5.1)."""
    def built(authenticator):
        whole = message.copy()
        proof = s.MIP6OptMsgAuth(subtype=1, mspi=SPI, authdata=authenticator)
        whole.options = [*message.options, proof]
        return whole

    def header_of(whole):
        return bytearray(bytes(s.IPv6() / whole)[40:])

    unpadded = header_of(built(bytes(12)))
    if unpadded[-12:] != bytes(12) or len(unpadded) % 8:
        raise SystemExit("the authenticator does not end the message: choose other options")
    covered = unpadded[:-12]
    covered[4:6] = bytes(2)
    digest = hmac.digest(KEY, octets(CARE_OF) + octets(HOME) + bytes(covered), "sha1")
    return built(digest[:12])


def acknowledgement(status):
    return inward(s.MIP6MH_BA(status=status, flags=0, seq=0xABCD, mhtime=10))


REDIRECTED = s.IPv6(src=PEER, dst=HOME) / UDP(sport=1, dport=2) / Raw(b"0123456789")
QUOTED = bytes(s.IPv6(src=CARE_OF, dst=PEER, hlim=63) / s.MIP6MH_CoTI(cookie=COOKIE))

PACKETS = {
    "binding-refresh-request": s.IPv6(src=PEER, dst=HOME) / s.MIP6MH_BRR(len=0),
    "binding-refresh-request-options": s.IPv6(src=PEER, dst=HOME) / s.MIP6MH_BRR(
        res2=0xBEEF, options=[s.MIP6OptUnknown(otype=200, odata=b"abcd")]
    ),
    "home-test-init": s.IPv6(src=HOME, dst=PEER) / s.MIP6MH_HoTI(cookie=COOKIE),
    "care-of-test-init": outward(s.MIP6MH_CoTI(cookie=COOKIE, reserved=b"\x12\x34"), PEER),
    "home-test": s.IPv6(src=PEER, dst=HOME) / s.MIP6MH_HoT(index=7, cookie=COOKIE, token=TOKEN),
    "care-of-test": s.IPv6(src=PEER, dst=CARE_OF) / s.MIP6MH_CoT(index=65535, cookie=COOKIE, token=TOKEN),
    "binding-update-home": optimised(
        s.MIP6MH_BU(seq=200, flags="AH", mhtime=10, options=[s.MIP6OptAltCoA(acoa=CARE_OF)])
    ),
    "binding-update-all-flags": optimised(s.MIP6MH_BU(seq=65535, flags="AHLKR", mhtime=65535)),
    "binding-update-reserved": optimised(s.MIP6MH_BU(seq=1, flags="A", reserved=0xFF, res=0x5A, mhtime=1)),
    "binding-update-correspondent": optimised(
        s.MIP6MH_BU(
            seq=3,
            flags="",
            mhtime=105,
            options=[
                s.MIP6OptNonceIndices(olen=4, hni=5, coni=6),
                s.MIP6OptBindingAuthData(olen=12, authenticator=int.from_bytes(AUTHENTICATOR, "big")),
            ],
        ),
        PEER,
    ),
    "binding-update-deletion": s.IPv6(src=HOME, dst=AGENT) / s.MIP6MH_BU(seq=4, flags="AH", mhtime=0),
    "binding-update-foreign-options": optimised(
        s.MIP6MH_BU(
            seq=9,
            flags="AHR",
            mhtime=10,
            options=[
                s.MIP6OptMobNetPrefix(plen=48, prefix="2001:db8:7::"),
                s.MIP6OptMNID(subtype=1, id=b"ar@example"),
                s.MIP6OptReplayProtection(timestamp=0x0102030405060708),
            ],
        )
    ),
    "binding-acknowledgement-refresh-advice": inward(
        s.MIP6MH_BA(status=0, flags="K", seq=200, mhtime=10, options=[s.MIP6OptBRAdvice(rinter=5)])
    ),
    "binding-acknowledgement-router": inward(s.MIP6MH_BA(status=1, flags="KR", seq=201, mhtime=11)),
    "binding-acknowledgement-authorized": inward(
        s.MIP6MH_BA(
            status=0,
            flags=0,
            seq=3,
            mhtime=105,
            options=[s.MIP6OptBindingAuthData(olen=12, authenticator=int.from_bytes(AUTHENTICATOR, "big"))],
        ),
        PEER,
    ),
    "binding-error": s.IPv6(src=PEER, dst=CARE_OF) / s.MIP6MH_BE(status=1, ha=HOME),
    "binding-error-type": s.IPv6(src=PEER, dst=CARE_OF) / s.MIP6MH_BE(status=2, ha="::"),
    "mobility-unknown": s.IPv6(src=PEER, dst=CARE_OF) / s.MIP6MH_Generic(mhtype=18, msg=b"\x01\x02unknown!"),
    "home-address-echo": optimised(s.ICMPv6EchoRequest(id=0x1234, seq=5, data=b"ping"), PEER),
    "routing-echo": inward(s.ICMPv6EchoReply(id=0x1234, seq=5, data=b"pong"), PEER),
    "home-agent-discovery-request": outward(
        s.ICMPv6HAADRequest(id=0x0102, R=1), "2001:db8:0:1:fdff:ffff:ffff:fffe"
    ),
    "home-agent-discovery-reply": s.IPv6(src=AGENT, dst=CARE_OF)
    / s.ICMPv6HAADReply(id=0x0102, R=0, addresses=[AGENT, "2001:db8:0:1::3"]),
    "mobile-prefix-solicitation": optimised(s.ICMPv6MPSol(id=0x0304)),
    "mobile-prefix-advertisement": inward(
        s.ICMPv6MPAdv(id=0x0304, flags=3)
        / s.ICMPv6NDOptPrefixInfo(
            prefixlen=64, L=1, A=1, R=1, validlifetime=86400, preferredlifetime=14400, prefix=AGENT
        )
    ),
    "router-solicitation": s.IPv6(src="fe80::1", dst="ff02::2", hlim=255)
    / s.ICMPv6ND_RS()
    / s.ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:01:02"),
    "router-advertisement-home-agent": s.IPv6(src="fe80::1", dst="ff02::1", hlim=255)
    / s.ICMPv6ND_RA(chlim=64, M=0, O=1, H=1, routerlifetime=1800, reachabletime=30000, retranstimer=1000)
    / s.ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:01:02")
    / s.ICMPv6NDOptMTU(mtu=1460)
    / s.ICMPv6NDOptPrefixInfo(
        prefixlen=64, L=1, A=0, R=1, validlifetime=0xFFFFFFFF, preferredlifetime=4, prefix=AGENT
    )
    / s.ICMPv6NDOptAdvInterval(advint=5000)
    / s.ICMPv6NDOptHAInfo(pref=0xFFF6, lifetime=1800)
    / s.ICMPv6NDOptUnknown(type=200, len=2, data=b"fourteen bytes"),
    "neighbor-solicitation-dad": s.IPv6(src="::", dst="ff02::1:ff00:a", hlim=255) / s.ICMPv6ND_NS(tgt=HOME),
    "neighbor-advertisement-proxy": s.IPv6(src=AGENT, dst="ff02::1", hlim=255)
    / s.ICMPv6ND_NA(R=0, S=0, O=1, tgt=HOME)
    / s.ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:01:02"),
    "redirect": s.IPv6(src="fe80::1", dst=PEER, hlim=255)
    / s.ICMPv6ND_Redirect(tgt="fe80::2", dst=HOME)
    / s.ICMPv6NDOptRedirectedHdr(pkt=REDIRECTED),
    "destination-unreachable": s.IPv6(src=PEER, dst=CARE_OF) / s.ICMPv6DestUnreach(code=3) / Raw(QUOTED),
    "packet-too-big": s.IPv6(src=PEER, dst=CARE_OF) / s.ICMPv6PacketTooBig(mtu=1420) / Raw(QUOTED),
    "time-exceeded": s.IPv6(src=PEER, dst=CARE_OF) / s.ICMPv6TimeExceeded(code=1) / Raw(QUOTED),
    "parameter-problem": s.IPv6(src=PEER, dst=CARE_OF) / s.ICMPv6ParamProblem(code=1, ptr=6) / Raw(QUOTED),
    "listener-report": s.IPv6(src="fe80::1", dst="ff02::16", hlim=1)
    / s.IPv6ExtHdrHopByHop(options=[s.RouterAlert(value=0)])
    / s.ICMPv6MLReport2(records=[s.ICMPv6MLDMultAddrRec(rtype=4, dst="ff02::1:ff00:a")]),
    "tunnel-echo": s.IPv6(src=AGENT, dst=CARE_OF, hlim=64)
    / s.IPv6(src=PEER, dst=HOME, hlim=62, tc=0x28, fl=0xABCDE)
    / s.ICMPv6EchoRequest(id=1, seq=2, data=b"inner"),
    "tunnel-encapsulation-limit": s.IPv6(src=AGENT, dst=CARE_OF, hlim=64)
    / s.IPv6ExtHdrDestOpt(options=[s.HBHOptUnknown(otype=4, optdata=b"\x03")])
    / s.IPv6(src=PEER, dst=HOME, hlim=62)
    / s.ICMPv6EchoRequest(id=1, seq=2, data=b"inner"),
    "both-ways-udp": s.IPv6(src=CARE_OF, dst="2001:db8:0:5::2", hlim=64)
    / s.IPv6ExtHdrRouting(type=2, segleft=1, addresses=["2001:db8:0:1::b"])
    / s.IPv6ExtHdrDestOpt(options=[s.HAO(hoa=HOME)])
    / UDP(sport=4000, dport=53)
    / Raw(b"both"),
    "fragment-first": s.IPv6(src=PEER, dst=HOME)
    / s.IPv6ExtHdrFragment(nh=17, offset=0, m=1, id=0xCAFEBABE)
    / Raw(b"\x0f\xa0\x00\x35\x00\x20\x00\x00" + b"x" * 8),
    "fragment-later": s.IPv6(src=PEER, dst=HOME)
    / s.IPv6ExtHdrFragment(nh=17, offset=2, m=0, id=0xCAFEBABE)
    / Raw(b"later"),
}
ADVANCED_OFFER = offer(0, 0xF800, 1500, 2000, 3)
PACKETS |= {
    "advanced-update": optimised(
        s.MIP6MH_BU(
            seq=200,
            flags="AH",
            mhtime=10,
            options=[s.MIP6OptAltCoA(acoa=CARE_OF), binding_identifier(7), ADVANCED_OFFER],
        )
    ),
    "advanced-update-drain": optimised(
        s.MIP6MH_BU(
            seq=201,
            flags="AH",
            mhtime=10,
            options=[
                s.MIP6OptAltCoA(acoa=CARE_OF),
                binding_identifier(7),
                offer(0x80, 0xF800, 0xFFFFFFFF, 0, 0, b"later"),
            ],
        )
    ),
    "advanced-acknowledgement": inward(
        s.MIP6MH_BA(
            status=0,
            flags=0,
            seq=200,
            mhtime=10,
            options=[binding_identifier(7), grant(0xF800, "2001:db8:0:6::2", "2001:db8:0:7::2")],
        )
    ),
    "binding-identifiers": optimised(
        s.MIP6MH_BU(
            seq=202,
            flags="AH",
            mhtime=10,
            options=[
                s.PadN(optdata=bytes(4)),
                binding_identifier(8, 0, 0x80, octets(CARE_OF)),
                s.PadN(optdata=b""),
                binding_identifier(9, 0, 0, bytes([192, 0, 2, 1])),
            ],
        )
    ),
    "keyed-update": optimised(
        proven(
            s.MIP6MH_BU(
                seq=200,
                flags="AH",
                mhtime=10,
                options=[
                    s.MIP6OptAltCoA(acoa=CARE_OF),
                    binding_identifier(7),
                    ADVANCED_OFFER,
                    *identity(TIMESTAMP),
                ],
            )
        )
    ),
    "keyed-acknowledgement": inward(
        proven(
            s.MIP6MH_BA(
                status=0,
                flags=0,
                seq=200,
                mhtime=10,
                options=[
                    binding_identifier(7),
                    grant(0xF800, "2001:db8:0:6::2", "2001:db8:0:7::2"),
                    *identity(TIMESTAMP),
                ],
            )
        )
    ),
    "keyed-acknowledgement-mismatch": inward(
        proven(
            s.MIP6MH_BA(
                status=144,
                flags=0,
                seq=200,
                mhtime=0,
                options=[binding_identifier(7), *identity(TIMESTAMP + (60 << 32))],
            )
        )
    ),
}
for value in (0, 1, 4, 5, *range(128, 140), 144, 145, 146, *range(164, 170)):
    PACKETS["binding-acknowledgement-%d" % value] = acknowledgement(value)


def main():
    for name, packet in PACKETS.items():
        print(name, bytes(packet).hex())


main()
