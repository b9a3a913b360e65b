#!/bin/sh
# Forwarding side by side in one run: nanoseconds per frame of 72 octets on one core for the limits of the machine, the
# kernel's own IPv6 forwarding, the fast path at XDP and tc, and user space; then TCP end to end on both paths. Medians of
# several rounds, with the ratios that matter. Needs root, clang, libbpf-dev, bpftool, iproute2, ethtool, iperf3:
#   benches/forwarding.sh [tcp|frames|user]
# `user` measures the frames of the user-space path only.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "$0: network namespaces need root" >&2; exit 2; }
what=${1:-all}
if [ "$what" != tcp ]; then
    # One core: the last one, away from the first's interrupts.
    taskset -c $(($(nproc) - 1)) cargo bench --quiet --features ebpf --bench forwarding -- "$what"
fi
if [ "$what" = all ] || [ "$what" = tcp ]; then
    cargo build --release --quiet --features ebpf
    for forwarding in user ebpf; do
        for offloads in on off; do
            echo
            echo "TCP, --forwarding $forwarding, offloads $offloads"
            OFFLOADS=$offloads FORWARDING=$forwarding sh benches/throughput.sh 3 3
        done
    done
fi
