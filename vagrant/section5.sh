#!/bin/sh
# Runs section 5 of the thesis over the machines that `vagrant up` has made, and leaves captures and the report in
# out/vagrant, or in the directory MGA_OUT: section5.sh [further arguments of `mga-node lab section5`].
# MGA_NODE names a mga-node of this machine (Linux); without it one is built. For a machine where a real stack stands,
# MGA_AR1=kame (or umip) must be set as it was for `vagrant up`.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
machines="rt haa ai1 ai2 ar1 ar2"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT

if [ -z "${MGA_NODE:-}" ]; then
    (cd "$root" && cargo build --release --quiet)
    MGA_NODE=$root/target/release/mga-node
fi
(cd "$root/vagrant" && vagrant ssh-config) >"$state/ssh_config"

on() { # on MACHINE WORD...: whatever login shell is there, plain words mean the same to it
    machine=$1
    shift
    ssh -F "$state/ssh_config" -o BatchMode=yes -o LogLevel=ERROR "$machine" "$@" </dev/null
}

address_of() {
    case $1 in
    rt) echo 2001:db8:0:1::1 ;;
    haa) echo 2001:db8:0:1::2 ;;
    ai1) echo 2001:db8:0:2::2 ;;
    ai2) echo 2001:db8:0:3::2 ;;
    ar1) echo 2001:db8:0:4::2 ;;
    ar2) echo 2001:db8:0:5::2 ;;
    esac
}

echo 'ssh-config = "ssh_config"' >"$state/hosts.toml"
for machine in $machines; do
    address=$(address_of "$machine")
    case $(on "$machine" uname -s) in
    Linux)
        system=linux
        interface=$(on "$machine" ip -o -6 addr | awk -v a="$address/" 'index($4, a) == 1 { print $2; exit }')
        ;;
    FreeBSD)
        system=freebsd
        interface=$(on "$machine" ifconfig -a | awk -v a="$address" \
            '/^[a-z]/ { sub(":", "", $1); name = $1 } $1 == "inet6" && $2 == a { print name; exit }')
        ;;
    *)
        echo "$machine does not answer, or is neither Linux nor FreeBSD: vagrant up $machine" >&2
        exit 2
        ;;
    esac
    if [ -z "$interface" ]; then
        echo "no interface of $machine has $address: vagrant provision --provision-with network $machine" >&2
        exit 2
    fi
    name=$(echo "$machine" | tr '[:lower:]' '[:upper:]')
    stands=$(printenv "MGA_$name" || true)
    {
        echo "[machine.$name]"
        echo "ssh = \"$machine\""
        echo "interface = \"$interface\""
        echo "system = \"$system\""
        case $stands in
        kame | umip)
            echo "guest = { is = \"$stands\", start = \"/usr/local/lib/mga-lab/$stands start\", \
stop = \"/usr/local/lib/mga-lab/$stands stop\", register = \"/usr/local/lib/mga-lab/$stands register\" }"
            ;;
        esac
    } >>"$state/hosts.toml"
done
"$MGA_NODE" lab section5 --hosts "$state/hosts.toml" --out "${MGA_OUT:-$root/out/vagrant}" "$@"
