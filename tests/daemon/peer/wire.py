"""A scripted peer on the wire: what it says is built by scapy, what it hears is judged by nobody's decoder but scapy's.

Shares no code with the crate. RFC 3775 section 6 gives the messages, 5.2.5 and 5.2.6 the keys, 4443 2.3 the sums.
Imported by the scenarios beside this file, which the tests of the running program start in the router's namespace:

    python3 SCENARIO.py CASE INTERFACE NODE_MAC NODE_ADDRESS NODE_NAMESPACE PROGRAM CONTROL
"""

import hashlib
import hmac
import json
import select
import socket
import struct
import subprocess
import sys
import time

import scapy.layers.inet6 as s
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

HAA = "2001:db8:0:1::2"
ANYCAST = "2001:db8:0:1::a"
# Addresses behind the router that nobody has.
CARE_OF = "2001:db8:0:9::1"
OTHER = "2001:db8:0:9::2"
CLIENT = "2001:db8:0:9::c"
WITNESS = "2001:db8:0:9::ff"
# Longer than anything here takes on a busy machine.
PATIENCE = 20


class Wire:
    """The router's end of the wire to the node under test."""

    def __init__(self, interface, node_mac, node_address, namespace, program, control):
        self.address, self.node_mac = node_address, node_mac
        self._namespace, self._program, self._control = namespace, program, control
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
        self._socket.bind((interface, 0))
        self.mac = self._socket.getsockname()[4].hex(":")
        self.heard = []
        self._answered = {}
        self._witnessed = 0

    def say(self, packet, source_mac=None):
        """One packet onto the wire, from the router unless another Ethernet address is given."""
        self._socket.send(bytes(Ether(src=source_mac or self.mac, dst=self.node_mac) / packet))

    def answer_for(self, address, mac):
        """From now on neighbour solicitations for `address` are answered with `mac`."""
        self._answered[address] = mac

    def _read(self, until):
        if not select.select([self._socket], [], [], max(0, until - time.monotonic()))[0]:
            return None
        octets = self._socket.recv(65535)
        frame = Ether(octets)
        if frame.src != self.node_mac or s.IPv6 not in frame:
            return self._read(until)
        self.heard.append(frame)
        # scapy hangs the solicitation below the IPv6 header it belongs to.
        if s.ICMPv6ND_NS in frame and frame[s.IPv6].src != "::":
            target = frame[s.ICMPv6ND_NS].tgt
            if target in self._answered:
                self.advertise(target, self._answered[target], frame[s.IPv6].src)
        return frame

    def advertise(self, target, mac, destination="ff02::1", **flags):
        """A neighbour advertisement of somebody on the node's link."""
        flags = flags or {"R": 0, "S": int(destination != "ff02::1"), "O": 1}
        self.say(
            s.IPv6(src=target, dst=destination, hlim=255)
            / s.ICMPv6ND_NA(tgt=target, **flags)
            / s.ICMPv6NDOptDstLLAddr(lladdr=mac),
            mac,
        )

    def hear(self, what, wanted, since=None, again=None, patience=PATIENCE):
        """The first frame from place `since` on (default: from now on) that `wanted` says yes to.

        `again` is called every half second until it comes.
        """
        at = len(self.heard) if since is None else since
        end = time.monotonic() + patience
        ask = time.monotonic()
        while True:
            while at < len(self.heard):
                at += 1
                if wanted(self.heard[at - 1]):
                    return self.heard[at - 1]
            now = time.monotonic()
            if now >= end:
                heard = "\n".join(frame.summary() for frame in self.heard[-12:])
                raise AssertionError(f"not heard: {what}; last of {len(self.heard)}:\n{heard}")
            if again and now >= ask:
                again()
                ask = now + 0.5
            self._read(min(end, ask) if again else end)

    def ask(self, what, packet, wanted, source_mac=None):
        """Says one packet and waits for its answer."""
        since = self.place()
        self.say(packet, source_mac)
        return self.hear(what, wanted, since)

    def place(self):
        """A place that `hear` can go on from."""
        return len(self.heard)

    def silent(self, what, unwanted, since):
        """Fails if anything from place `since` on is unwanted, after all that was said has been dealt with.

        The node takes packets one after the other, so its answer to one more message ends the wait.
        """
        self._witnessed += 1
        witness = f"2001:db8:0:9::ff:{self._witnessed:x}"
        message = s.IPv6(src=witness, dst=self.address) / s.MIP6MH_Generic(mhtype=255, msg=b"\0\0")
        self.hear("the answer to an unknown message", lambda f: is_error(f, 2, "::") and f[s.IPv6].dst == witness,
                  again=lambda: self.say(message))
        wrong = [frame for frame in self.heard[since:] if unwanted(frame)]
        assert not wrong, f"{what}: {wrong[0].show(dump=True)}"

    def node(self, *arguments):
        """`mga-node ... --control`, what it printed."""
        line = [self._program, *arguments, "--control", self._control]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, what):
        return json.loads(self.node("show", what, "--json"))

    def until(self, what, holds):
        """Waits until `holds` does, and goes on listening meanwhile."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"never: {what}"
            self._read(time.monotonic() + 0.05)

    def host(self, line):
        """Runs a command line on the node's host."""
        subprocess.run(["ip", "netns", "exec", self._namespace, *line.split()], check=True, timeout=60,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def host_starts(self, *line):
        """Starts a program on the node's host; the caller ends it."""
        return subprocess.Popen(["ip", "netns", "exec", self._namespace, *line], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, text=True)


# What is said.

def home_address(home):
    return s.IPv6ExtHdrDestOpt(options=[s.HAO(hoa=home)])


def binding_update(source, sequence, lifetime=10, flags="AH", home=ANYCAST, agent=HAA, alternate=True):
    """A home registration; lifetime in units of 4 s. From home it has no home address option."""
    options = [s.MIP6OptAltCoA(acoa=source)] if alternate else []
    message = s.MIP6MH_BU(seq=sequence, flags=flags, mhtime=lifetime, options=options)
    packet = s.IPv6(src=source, dst=agent)
    return packet / message if source == home else packet / home_address(home) / message


def echo(source, destination, number=1):
    return s.IPv6(src=source, dst=destination) / s.ICMPv6EchoRequest(id=0x3775, seq=number, data=b"anycast?")


def authenticator(key, care_of, peer, message):
    """First96(HMAC_SHA1(Kbm, addresses | message up to the authenticator, checksum zero)), RFC 3775 6.2.7."""
    addresses = socket.inet_pton(socket.AF_INET6, care_of) + socket.inet_pton(socket.AF_INET6, peer)
    return hmac.new(key, addresses + message[:4] + b"\0\0" + message[6:], hashlib.sha1).digest()[:12]


def management_key(home_token, care_of_token=b""):
    """Kbm, RFC 3775 5.2.5; of a deletion without the care-of token."""
    return hashlib.sha1(home_token + care_of_token).digest()


def sealed_update(key, care_of, peer, sequence, indices, lifetime=10, flags=0x8000, home=ANYCAST):
    """A Binding Update to an initiator: nonce indices, and the authenticator right behind them."""
    message = struct.pack(">BBBBHHHHBBHH", 59, 3, 5, 0, 0, sequence, flags, lifetime, 4, 4, *indices) + b"\5\x0c"
    message += authenticator(key, care_of, peer, message)
    pseudo = s.PseudoIPv6(src=home, dst=peer, uplen=len(message), nh=135)
    message = message[:4] + s.checksum(bytes(pseudo) + message).to_bytes(2, "big") + message[6:]
    option = home_address(home)
    option.nh = 135
    return s.IPv6(src=care_of, dst=peer) / option / Raw(message)


def is_sealed(frame, key, care_of, peer):
    """True for a message of 32 octets that ends with the authenticator that `key` makes."""
    message = bytes(frame)[-32:]
    return message[-14:-12] == b"\5\x0c" and message[-12:] == authenticator(key, care_of, peer, message[:-12])


# What is heard. Each says yes to a frame, or no.

def outer(frame):
    return frame[s.IPv6]


def inner(frame):
    """The packet in a tunnel packet, or nothing."""
    packet = outer(frame).payload
    return packet if isinstance(packet, s.IPv6) else None


def mobility(frame, kind):
    """The Mobility Header of this class outside any tunnel, or nothing."""
    return frame[kind] if inner(frame) is None and kind in frame else None


def routed_to(frame):
    """The home address in a type 2 routing header, or nothing."""
    header = outer(frame).payload
    if not isinstance(header, s.IPv6ExtHdrRouting) or header.type != 2:
        return None
    assert (header.len, header.segleft) == (2, 1), header.show(dump=True)
    return header.addresses[0]


def is_error(frame, status, home):
    """A Binding Error with this status about this home address, straight from the node."""
    error = mobility(frame, s.MIP6MH_BE)
    return bool(error) and error.status == status and error.ha == home and routed_to(frame) is None


def is_acknowledgement(to, status=None, sequence=None, home=ANYCAST):
    """A Binding Acknowledgement to this address, by routing header unless that is the home address itself."""
    def wanted(frame):
        message = mobility(frame, s.MIP6MH_BA)
        if not message or outer(frame).dst != to or routed_to(frame) != (None if to == home else home):
            return False
        return status in (None, message.status) and sequence in (None, message.seq)
    return wanted


def is_tunnelled(source, to, number=None):
    """An echo request for the anycast address in a tunnel from `source` to `to`."""
    def wanted(frame):
        packet = inner(frame)
        return bool(packet) and (outer(frame).src, outer(frame).dst) == (source, to) and (
            s.ICMPv6EchoRequest in packet and number in (None, packet[s.ICMPv6EchoRequest].seq))
    return wanted


def is_solicitation(target):
    return lambda frame: s.ICMPv6ND_NS in frame and frame[s.ICMPv6ND_NS].tgt == target


def is_advertisement(target, to=None, **flags):
    def wanted(frame):
        if s.ICMPv6ND_NA not in frame or frame[s.ICMPv6ND_NA].tgt != target:
            return False
        advertisement = frame[s.ICMPv6ND_NA]
        return to in (None, outer(frame).dst) and all(
            getattr(advertisement, flag) == value for flag, value in flags.items())
    return wanted


def main(cases):
    """Runs the case that the command line names, and prints what was heard as one number."""
    case, *place = sys.argv[1:]
    wire = Wire(*place)
    cases[case](wire)
    print(len(wire.heard))
