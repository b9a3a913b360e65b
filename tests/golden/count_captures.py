#!/usr/bin/env python3
"""Counts what is in the captures with scapy, which shares no code with this crate.

usage: count_captures.py PCAPS > captures.txt

One line per file: `NAME key=count ...` with, in sorted order,
  ip             IPv6 packets of the link (not those in tunnels and errors)
  tunnel         IPv6 packets in IPv6 packets
  quoted         complete IPv6 packets quoted in ICMPv6 errors
  mhN            Mobility Headers of type N, wherever they stand
  mh-bad         those of them whose checksum is wrong
  icmpN          ICMPv6 messages of type N, wherever they stand, not in fragments
  icmp-bad       those of them whose checksum is wrong
  hao            home address options
  rh2            type 2 routing headers
  dst            destination options headers
Only what scapy can see is counted: nothing in ESP, nothing in fragments but the first, nothing in a quotation
that is cut short.
"""

import collections
import pathlib
import sys

from scapy.config import conf
from scapy.layers.inet6 import (
    HAO,
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    in6_chksum,
)
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapReader

conf.verb = 0
ERRORS = (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, ICMPv6ParamProblem)
EXTENSIONS = (IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, IPv6ExtHdrFragment)



def count(octets, counts):
    """octets: one whole IPv6 packet, without anything after it"""
    packet = IPv6(octets)
    layer, next_header = packet.payload, packet.nh
    fragment = None
    # Upper layers sum over the home address and the final destination (RFC 3775 section 6.1.1).
    seen = IPv6(src=packet.src, dst=packet.dst)
    home_addresses = []
    while isinstance(layer, EXTENSIONS):
        if isinstance(layer, IPv6ExtHdrDestOpt):
            counts["dst"] += 1
            for option in layer.options:
                if isinstance(option, HAO):
                    counts["hao"] += 1
                    home_addresses.append(option.hoa)
        elif isinstance(layer, IPv6ExtHdrRouting) and layer.type == 2:
            counts["rh2"] += 1
            if layer.segleft == 1:
                seen.dst = layer.addresses[-1]
        elif isinstance(layer, IPv6ExtHdrFragment):
            fragment = layer
        next_header, layer = layer.nh, layer.payload
    if fragment is not None:
        return
    if home_addresses:
        seen.src = home_addresses[0]
    upper = layer.original if hasattr(layer, "original") else b""
    if next_header == 135:
        length = 8 * (upper[1] + 1)
        counts["mh%d" % upper[2]] += 1
        counts["mh-bad"] += in6_chksum(135, seen, upper[:length]) != 0
    elif next_header == 58:
        counts["icmp%d" % upper[0]] += 1
        counts["icmp-bad"] += in6_chksum(58, seen, upper) != 0
        if isinstance(layer, ERRORS):
            quoted = upper[8:]
            if len(quoted) >= 40 and len(quoted) >= 40 + IPv6(quoted).plen:
                counts["quoted"] += 1
                count(quoted[: 40 + IPv6(quoted).plen], counts)
    elif next_header == 41:
        counts["tunnel"] += 1
        count(upper[: 40 + IPv6(upper).plen], counts)


def main():
    root = pathlib.Path(sys.argv[1])
    for path in sorted(root.rglob("*.pcap")):
        counts = collections.Counter()
        reader = RawPcapReader(str(path))
        for octets, _ in reader:
            if reader.linktype == 1:
                if Ether(octets).type != 0x86DD:
                    continue
                octets = octets[14:]
            if octets[0] >> 4 != 6:
                continue
            counts["ip"] += 1
            count(octets[: 40 + IPv6(octets).plen], counts)
        found = " ".join("%s=%d" % item for item in sorted(counts.items()) if item[1])
        print(path.relative_to(root).as_posix(), found)


main()
