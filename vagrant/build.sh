#!/bin/sh
# Builds the node in a guest from /tmp/mga-node.tar.gz and installs it with its service file and what the lab drives:
# build.sh NAME, where rt, the router, gets no node. Debian and FreeBSD; run by Vagrant.
set -eu
name=$1

# The lab's telnet server is its own, for the time of a run; nothing else may hold the port.
if [ "$(uname -s)" = Linux ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends tcpdump iputils-ping telnet inetutils-telnetd inetutils-inetd \
        nftables >/dev/null
    systemctl disable --now inetutils-inetd >/dev/null 2>&1 || true
    [ "$name" = rt ] || apt-get install -y -qq --no-install-recommends gcc libc6-dev rustc-web cargo-web >/dev/null
else
    export ASSUME_ALWAYS_YES=yes
    # The telnet server left the base system with FreeBSD 14.
    [ -x /usr/libexec/telnetd ] || pkg install -q freebsd-telnetd
    [ "$name" = rt ] || pkg install -q rust
fi
[ "$name" != rt ] || exit 0

source=/var/tmp/mga-node
mkdir -p "$source"
tar -xzf /tmp/mga-node.tar.gz -C "$source"
cd "$source"
# Guests capture with tcpdump: the node needs no libpcap.
cargo build --release --locked --no-default-features
install -m 755 target/release/mga-node /usr/local/bin/mga-node
sh services/install.sh
mga-node doctor || echo "a node will not run here as it is: see above" >&2
