#!/bin/sh
# Gives a guest its addresses on the lab's networks: network.sh GATEWAY|none MAC=ADDRESS...; without a gateway the guest is
# the router. Interfaces are found by their Ethernet addresses. On FreeBSD it also loads the kernel modules that a node
# needs. Run by Vagrant at every start.
set -eu
gateway=$1
shift

interface_of() { # interface_of MAC
    if [ "$(uname -s)" = Linux ]; then
        for link in /sys/class/net/*; do
            if [ "$(cat "$link/address")" = "$1" ]; then
                basename "$link"
            fi
        done
    else
        for link in $(ifconfig -l); do
            if ifconfig "$link" | grep -qi "ether $1"; then
                echo "$link"
            fi
        done
    fi
}

for pair in "$@"; do
    mac=${pair%%=*}
    address=${pair#*=}
    link=$(interface_of "$mac" | head -n 1)
    if [ -z "$link" ]; then
        echo "no interface has the Ethernet address $mac" >&2
        exit 1
    fi
    if [ "$(uname -s)" = Linux ]; then
        # Static addresses only: what the router does not advertise need not be asked for. A link that is up already has
        # its addresses, and keeps them.
        sysctl -q -w "net.ipv6.conf.$link.disable_ipv6=0" "net.ipv6.conf.$link.accept_ra=0" \
            "net.ipv6.conf.$link.router_solicitations=0"
        ip link set "$link" up
        ip -6 addr replace "$address/64" dev "$link"
    else
        ifconfig "$link" inet6 -ifdisabled -accept_rtadv auto_linklocal up
        ifconfig "$link" inet6 "$address" prefixlen 64 alias
    fi
    echo "$link has $address"
done

if [ "$(uname -s)" = Linux ]; then
    if [ "$gateway" = none ]; then
        sysctl -q -w net.ipv6.conf.all.forwarding=1
    else
        ip -6 route replace default via "$gateway"
    fi
elif [ "$gateway" = none ]; then
    sysctl net.inet6.ip6.forwarding=1
else
    route -6 delete default >/dev/null 2>&1 || true
    route -6 add default "$gateway"
    # What a node needs of the kernel, as services/mga_node does it. An older system is a guest's own matter.
    if [ "$(uname -r | cut -d. -f1)" -ge 14 ]; then
        # Without this a freshly loaded ipfw drops every packet, Vagrant's too.
        kldstat -q -m ipfw || kenv net.inet.ip.fw.default_to_accept=1 >/dev/null
        for module in ipfw ipdivert if_tuntap; do
            kldload -n "$module"
        done
        sysctl net.inet6.ip6.fw.deny_unknown_exthdrs=0
    fi
fi
