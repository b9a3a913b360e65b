#!/bin/sh
# Installs the service file of this system: a systemd unit template on Linux, an rc.d script on FreeBSD. Nothing is enabled.
# Run as root; the provisioners of vagrant/ do it, too. DESTDIR puts everything below another root.
set -eu
cd "$(dirname "$0")"
root=${DESTDIR:-}
if [ "$(uname -s)" = FreeBSD ]; then
    mkdir -p "$root/usr/local/etc/rc.d"
    install -m 555 mga_node "$root/usr/local/etc/rc.d/mga_node"
else
    mkdir -p "$root/etc/systemd/system" "$root/etc/mga-node"
    install -m 644 mga-node@.service "$root/etc/systemd/system/mga-node@.service"
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
fi
