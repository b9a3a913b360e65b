#!/bin/sh
# Checks the service files: the systemd unit by systemd's own verifier and its security score, the rc.d script by sh -n and
# a linter, and that the installer puts them where they belong. That the unit's capabilities suffice for every role is
# the part of tests/services.rs. Run by tests/all.sh.
set -eu
cd "$(dirname "$0")/.."
sh tests/prerequisites.sh shellcheck
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

shellcheck services/install.sh services/mga_node
sh -n services/install.sh
sh -n services/mga_node
DESTDIR="$root" sh services/install.sh
unit="$root/etc/systemd/system/mga-node@.service"
cmp services/mga-node@.service "$unit"

if ! command -v systemd-analyze >/dev/null; then
    echo "skipped: systemd-analyze is not installed"
    exit 0
fi
# The verifier wants the program to be there; nothing else may be wrong.
mkdir -p "$root/usr/local/bin"
printf '#!/bin/sh\n' >"$root/usr/local/bin/mga-node"
chmod 755 "$root/usr/local/bin/mga-node"
sed "s|/usr/local/bin/|$root/usr/local/bin/|" services/mga-node@.service >"$root/mga-node@test.service"
complaints=$(systemd-analyze verify --man=no "$root/mga-node@test.service" 2>&1 | grep mga-node || true)
if [ -n "$complaints" ]; then
    echo "$complaints" >&2
    exit 1
fi
# In tenths: 3.0 of 10; a unit without any hardening has 9.6.
systemd-analyze security --offline=true --threshold=30 --no-pager "$root/mga-node@test.service" | tail -n 1
