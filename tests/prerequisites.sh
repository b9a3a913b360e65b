#!/bin/sh
# Installs what building and section 5 need on a Debian machine, and what the tests need beside: a Rust compiler, libpcap
# and the real programs the lab drives (ip, nft, ping, telnet, telnetd, tcpdump, tshark); for the tests a C++ compiler
# (libFuzzer), clang for the kernel's programs, BIRD, iperf3, radvd, python3 with scapy, and what the lab's ssh way is
# tested with (sshd, inetd, sudo, and csh as a login shell).
# Usage: prerequisites.sh [section5 | PROGRAM...]: `section5` installs for that lab only; PROGRAMs are those that only one step of
# the tests needs and that are installed with the rest (vagrant, shellcheck). Run by tests/section5.sh and the scripts of
# tests/all.sh; does nothing when everything is there.
set -eu

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

packages=""
want() { # want PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || packages="$packages $2"
}
want cc gcc
want ip iproute2
want nft nftables
want ping iputils-ping
want telnet telnet
want telnetd telnetd
want tcpdump tcpdump
want tshark tshark
want ethtool ethtool
has_scapy() { python3 -c 'import scapy.all' >/dev/null 2>&1; }
if [ "${1:-}" = section5 ]; then
    for_tests=false
else
    for_tests=true
    want c++ g++
    want iperf3 iperf3
    want radvd radvd
    want bird bird2
    want setpriv util-linux
    want clang-14 clang-14
    want llvm-strip-14 llvm-14
    want sshd openssh-server
    want ssh openssh-client
    want inetutils-inetd inetutils-inetd
    want sudo sudo
    want csh tcsh
    want bpftool bpftool
    want python3 python3
    for program in "$@"; do
        want "$program" "$program"
    done
    has_scapy || packages="$packages python3-scapy"
    [ -e /usr/include/bpf/bpf_helpers.h ] || packages="$packages libbpf-dev"
fi
[ -e /usr/include/pcap/pcap.h ] || packages="$packages libpcap-dev"

# The project needs Rust 1.88; Debian carries a current compiler under another name.
rust_is_new_enough() {
    command -v cargo >/dev/null 2>&1 || return 1
    minor=$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge 88 ]
}
rust_is_new_enough || packages="$packages rustc-web cargo-web rust-web-clippy rustfmt-web"

if [ -n "$packages" ]; then
    echo "installing:$packages"
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of package names
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

# A Python that is not Debian's does not see Debian's packages.
! "$for_tests" || has_scapy || python3 -m pip install --quiet scapy

rust_is_new_enough || {
    echo "Rust 1.88 or newer is needed; install it with rustup or your system's packages" >&2
    exit 2
}
