"""Reads every packet of a capture octet by octet and prints the ones whose upper-layer checksum is wrong.

RFC 8200 8.1 gives the pseudo header, RFC 3775 6.1.1 and 9.3.1 whose addresses are in it: those of the home address
option and of the routing header that still has a segment left. Packets in tunnels are read too. Needs nothing.
"""

import struct
import sys

CHECKED = {6: "TCP", 17: "UDP", 58: "ICMPv6", 135: "Mobility Header"}


def packets(path):
    """The IPv6 packets of a capture of an Ethernet interface (link type 1) or of all interfaces (113)."""
    with open(path, "rb") as file:
        octets = file.read()
    order = {0xA1B2C3D4: "<", 0xD4C3B2A1: ">"}[struct.unpack("<I", octets[:4])[0]]
    header, kind = {1: (14, 12), 113: (16, 14)}[struct.unpack(order + "I", octets[20:24])[0]]
    at = 24
    while at < len(octets):
        taken, length = struct.unpack(order + "II", octets[at + 8:at + 16])
        assert taken == length, "a frame is cut off"
        frame = octets[at + 16:at + 16 + taken]
        if frame[kind:kind + 2] == b"\x86\xdd":
            yield frame[header:]
        at += 16 + taken


def total(octets):
    octets += b"\0" * (len(octets) % 2)
    words = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while words > 0xFFFF:
        words = (words & 0xFFFF) + (words >> 16)
    return words


def fault(packet):
    """What is wrong with an IPv6 packet, or nothing."""
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return "no IPv6 header"
    length, kind = struct.unpack(">HB", packet[4:7])
    if len(packet) < 40 + length:
        return "shorter than its payload length"
    source, destination, rest = packet[8:24], packet[24:40], packet[40:40 + length]
    while kind in (0, 43, 44, 60):
        if len(rest) < 8:
            return f"extension header {kind} is cut off"
        size = 8 if kind == 44 else 8 * (rest[1] + 1)
        header = rest[:size]
        if len(header) < size:
            return f"extension header {kind} is cut off"
        if kind == 44 and struct.unpack(">H", header[2:4])[0] & 0xFFF9:
            return None  # A part of a packet has no sum of its own.
        if kind == 43 and header[3] == 1:
            destination = header[-16:]
        at = 2
        while kind == 60 and at < size:
            if header[at] == 0xC9:
                source = header[at + 2:at + 18]
            at += 1 if header[at] == 0 else 2 + header[at + 1]
        kind, rest = header[0], rest[size:]
    if kind == 41:
        return fault(rest)
    if kind in CHECKED:
        pseudo = source + destination + struct.pack(">II", len(rest), kind)
        if total(pseudo + rest) != 0xFFFF:
            return f"the {CHECKED[kind]} checksum is wrong"
    return None


if __name__ == "__main__":
    for number, packet in enumerate(packets(sys.argv[1]), 1):
        wrong = fault(packet)
        if wrong:
            print(f"packet {number}: {wrong}: {packet.hex()}")
