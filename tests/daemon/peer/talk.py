"""Talks over UDP, TCP and ICMPv6 in packets of every kind of size, and compares every octet that comes back.

`talk.py serve ADDRESS` answers until it is killed and says when it listens; `talk.py ask ADDRESS` asks, and fails when
something does not come back as it went within patience. Datagrams also go by segmentation offload (UDP_SEGMENT) in both
directions, and in fragments. Needs Linux and nothing else.
"""

import socket
import struct
import sys
import threading
import time

PORT = 7007
UDP_SEGMENT = 103
PATIENCE = 30

# No data, odd and even, as much as a tunnel over Ethernet takes (1460 - 40 - 8), one more and one less, and in fragments.
DATAGRAMS = [0, 1, 2, 3, 7, 64, 511, 512, 1281, 1388, 1389, 1411, 1412, 1413, 1452, 1453, 2800, 2801, 9001, 30000, 65000]
# Segment and count: as small as can be, odd, as large as fits, and as much as one packet of offload holds.
SEGMENTS = [(17, 3), (100, 64), (1200, 40), (1401, 11), (1412, 46)]
STREAM = [1, 2, 3, 511, 1400, 1461, 9001, 65001, 2_000_001]


def pattern(number, size):
    """Octets that differ from place to place and from message to message."""
    return bytes((number * 131 + place * 7 + (place >> 8)) & 0xFF for place in range(size))


def message(kind, number, size):
    """A datagram of `size` octets; too short ones carry no number."""
    head = kind + struct.pack(">HH", number, size & 0xFFFF)
    return (head + pattern(number, max(0, size - len(head))))[:size]


def send_segments(sock, parts, size, to):
    """One datagram for each of `parts`, in one packet that the device or the kernel cuts up."""
    ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]
    sock.sendmsg([b"".join(parts)], ancillary, 0, to)


def serve(address):
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    udp.bind((address, PORT))
    tcp = socket.create_server((address, PORT), family=socket.AF_INET6)

    def stream(connection):
        while octets := connection.recv(65536):
            connection.sendall(octets)

    def streams():
        while True:
            connection, _ = tcp.accept()
            threading.Thread(target=stream, args=(connection,), daemon=True).start()

    threading.Thread(target=streams, daemon=True).start()
    print("listening", flush=True)
    while True:
        try:
            octets, peer = udp.recvfrom(65536)
            if octets[:1] == b"G" and len(octets) == 5:
                size, count = struct.unpack(">HH", octets[1:])
                send_segments(udp, [message(b"S", number, size) for number in range(count)], size, peer)
            else:
                udp.sendto(octets, peer)
        except OSError:
            # What an asker does not get it asks for again.
            pass


def until_answered(what, attempt):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if attempt():
                return
        except OSError as error:
            # The path MTU has just been learnt, or nothing came in time.
            last = error
            time.sleep(0.01)
    sys.exit(f"{what}: no right answer ({locals().get('last')})")


def datagrams(address):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.connect((address, PORT))
    sock.settimeout(0.5)

    def missing(wanted):
        """Takes datagrams off `wanted` as they come."""
        while wanted:
            wanted.discard(sock.recv(65536))
        return True

    for number, size in enumerate(DATAGRAMS):
        octets = message(b"E", number, size)

        def echo():
            sock.send(octets)
            return missing({octets})

        until_answered(f"{size} octets by UDP", echo)
    for size, count in SEGMENTS:
        parts = [message(b"E", number, size) for number in range(count)]

        def there():
            send_segments(sock, parts, size, None)
            return missing(set(parts))

        def back():
            sock.send(b"G" + struct.pack(">HH", size, count))
            return missing({message(b"S", number, size) for number in range(count)})

        until_answered(f"{count} segments of {size} octets by UDP", there)
        until_answered(f"{count} segments of {size} octets back by UDP", back)


def streams(address):
    connection = socket.create_connection((address, PORT), timeout=PATIENCE)
    for number, size in enumerate(STREAM):
        octets = pattern(number, size)
        sender = threading.Thread(target=connection.sendall, args=(octets,))
        sender.start()
        came = b""
        while len(came) < size:
            more = connection.recv(1 << 20)
            if not more:
                sys.exit(f"{size} octets by TCP: the connection ended")
            came += more
        sender.join()
        if came != octets:
            sys.exit(f"{size} octets by TCP: came back changed")


def echoes(address):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.settimeout(0.5)
    for number, size in enumerate(DATAGRAMS):
        data = struct.pack(">HH", 0x6D67, number) + pattern(number, size)

        def echo():
            # The kernel fills the checksum in, and drops answers with a wrong one.
            sock.sendto(struct.pack(">BBH", 128, 0, 0) + data, (address, 0))
            while True:
                octets, _ = sock.recvfrom(1 << 17)
                if octets[0] == 129 and octets[4:] == data:
                    return True

        until_answered(f"{size} octets by ICMPv6", echo)


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    echoes(sys.argv[2])
    datagrams(sys.argv[2])
    streams(sys.argv[2])
