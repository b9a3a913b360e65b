#!/bin/sh
# Measures real TCP (iperf3) from an initiator to a responder on thesis Figure 11 in network namespaces, three ways:
# the kernels alone (no mga-node), through the home agent's and the responder's user-space tunnel, and route
# optimised. Prints medians in Gbit/s, both directions, and the processor time of the busiest node per gigabit, which
# unlike the rate hardly depends on what else the machine does. Each way is gone by datagrams and echoes too, and no host
# may have counted a wrong checksum (TCP, UDP, ICMPv6) in the end. Needs root, iproute2, ethtool, iperf3 and a release
# build:
#   cargo build --release && benches/throughput.sh [RUNS [SECONDS]]
# FORWARDING=user or FORWARDING=ebpf says who forwards.
# OFFLOADS=off has every host and router compute its own checksums and cut and join its own segments.
# ONLY=kernels, ONLY=tunnel or ONLY=route in the environment measures one line of the table.
set -eu
runs=${1:-3}
seconds=${2:-4}
program=${MGA_NODE:-$(dirname "$0")/../target/release/mga-node}
[ -x "$program" ] || { echo "$0: no $program; run: cargo build --release" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: network namespaces need root" >&2; exit 2; }
for needed in iperf3 ethtool nstat; do
    command -v $needed >/dev/null || { echo "$0: no $needed; run: sh tests/prerequisites.sh" >&2; exit 2; }
done
offloads=${OFFLOADS:-on}
[ "$offloads" = on ] || [ "$offloads" = off ] || { echo "$0: OFFLOADS is on or off, not $offloads" >&2; exit 2; }
program=$(realpath "$program")

tag=mgab-$$
scratch=$(mktemp -d)
processes=
nodes=
cleanup() {
    trap - EXIT INT TERM HUP
    for process in $processes; do kill "$process" 2>/dev/null || true; done
    for process in $processes; do wait "$process" 2>/dev/null || true; done
    for place in rt haa ai ar; do ip netns del $tag-$place 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

for place in rt haa ai ar; do
    ip netns add $tag-$place
    ip -n $tag-$place link set lo up
done
number=1
for place in haa ai ar; do
    ip link add eth0 netns $tag-$place type veth peer name n$number netns $tag-rt
    for end in "$place eth0 2" "rt n$number 1"; do
        # shellcheck disable=SC2086
        set -- $end
        ip netns exec $tag-$1 sysctl -qw net.ipv6.conf.$2.accept_dad=0
        ip -n $tag-$1 addr add 2001:db8:0:$number::$3/64 dev $2 nodad
        if [ "$offloads" = off ]; then
            ip netns exec $tag-$1 ethtool -K $2 rx off tx off tso off gso off gro off >/dev/null
        fi
        ip -n $tag-$1 link set $2 up
    done
    ip -n $tag-$place route add default via 2001:db8:0:$number::1
    number=$((number + 1))
done
ip netns exec $tag-rt sysctl -qw net.ipv6.conf.all.forwarding=1

node() {
    place=$1
    shift
    : >"$scratch/$place.log"
    ip netns exec $tag-$place "$program" "$@" --forwarding "${FORWARDING:-auto}" --interface eth0 \
        --control "$scratch/$place.sock" \
        2>"$scratch/$place.log" &
    processes="$processes $!"
    nodes="$nodes $!"
    until grep -q 'node started' "$scratch/$place.log"; do
        kill -0 $! 2>/dev/null || { cat "$scratch/$place.log" >&2; exit 1; }
        sleep 0.1
    done
}

# The processor time of each node so far, in clock ticks of 10 ms, one line per node.
ticks() {
    for process in $nodes; do
        sed 's/.*) //' "/proc/$process/stat" | awk '{ print $12 + $13 }'
    done
}

# The median over the runs of what the receiver got, in Gbit/s, and the busiest node's time in ms per gigabit.
measure() {
    destination=$1
    shift
    ticks >"$scratch/before"
    run=0
    while [ $run -lt "$runs" ]; do
        ip netns exec $tag-ai iperf3 -6 -c "$destination" -t "$seconds" -J "$@" >"$scratch/run.json"
        sed -n '/"sum_received"/,/}/s/.*"\(bytes\|bits_per_second\)":[[:space:]]*\([0-9.e+]*\).*/\2/p' \
            "$scratch/run.json" | paste -sd' '
        run=$((run + 1))
    done | sort -g -k2 >"$scratch/rates"
    ticks | paste "$scratch/before" - >"$scratch/ticks"
    awk 'FILENAME ~ /rates$/ { gigabits += $1 * 8 / 1e9; rate[FNR] = $2; count = FNR; next }
         $2 - $1 > busiest { busiest = $2 - $1 }
         END { printf "%.2f Gbit/s %4.0f ms/Gbit", rate[int((count + 1) / 2)] / 1e9, busiest * 10 / gigabits }' \
        "$scratch/rates" "$scratch/ticks"
}

# Datagrams and echoes of several lengths, odd ones too.
datagrams() {
    for way in '' -R; do
        # shellcheck disable=SC2086
        ip netns exec $tag-ai iperf3 -6 -c "$1" -u -b 50M -l 1201 -t 1 $way >/dev/null
    done
    for length in 8 301 1400; do
        ip netns exec $tag-ai ping -q -c 20 -i 0.01 -s $length "$1" >/dev/null
    done
}

row() {
    [ -z "${ONLY:-}" ] || [ "${1%% *}" = "$ONLY" ] || return 0
    printf '%-32s %26s %26s\n' "$1" "$(measure "$2")" "$(measure "$2" -R)"
    datagrams "$2"
}

# Fails when a host has counted a wrong checksum, or has no such counters.
no_wrong_checksum() {
    for place in ai rt haa ar; do
        ip netns exec $tag-$place nstat -asz 'TcpInCsumErrors' 'Udp6InCsumErrors' 'Icmp6InCsumErrors' |
            awk -v place=$place '!/^#/ { counters++; if ($2 > 0) { print place ": " $1, $2; wrong = 1 } }
                                 END { if (counters != 3) { print place ": " counters + 0 " counters"; wrong = 1 }
                                       exit wrong }' >&2 || return 1
    done
    echo "no wrong checksum at any of the four hosts (TCP, UDP, ICMPv6)"
}

# A server for each address: iperf3 answers datagrams from the address that it is bound to.
serve() {
    ip netns exec $tag-ar iperf3 -6 -s -B "$1" >/dev/null 2>&1 &
    processes="$processes $!"
    until ip netns exec $tag-ar ss -Hltn "src [$1]:5201" | grep -q .; do
        kill -0 $! 2>/dev/null || { echo "$0: iperf3 does not serve $1" >&2; exit 1; }
        sleep 0.1
    done
}

direct=2001:db8:0:3::2
anycast=2001:db8:0:1::a
agent=2001:db8:0:1::2

printf '%-32s %26s %26s\n' "median of $runs runs of $seconds s" 'to the responder' 'from the responder'
serve $direct
row 'kernels alone, direct' $direct
node haa --role haa --agent $agent --anycast $anycast --authentication none --no-duplicate-address-detection
node ar --role ar --agent $agent --anycast $anycast --authentication none
until "$program" show bindings --control "$scratch/haa.sock" | grep -q $anycast; do sleep 0.1; done
serve $anycast
row 'tunnel both ways (thesis 5.2)' $anycast
node ai --role ai
# The responder remembers the initiator as one that does not speak Mobile IPv6, which it did not until now.
"$program" flush --control "$scratch/ar.sock"
until "$program" show bindings --control "$scratch/ai.sock" | grep -q $anycast; do
    ip netns exec $tag-ai ping -c 1 -W 1 $anycast >/dev/null || true
done
row 'route optimised (thesis 5.3)' $anycast
no_wrong_checksum
