#!/bin/sh
# Section 5 of the thesis on real packets, from a fresh machine: installs what is missing, builds, runs the lab.
# The README's first command; arguments go to `mga-node lab section5`.
# Exit code of the lab: 0 only when every claim held.
set -eu
cd "$(dirname "$0")/.."
sh tests/prerequisites.sh section5
cargo build --release --quiet
if [ "$(id -u)" = 0 ]; then
    exec target/release/mga-node lab section5 "$@"
else
    exec sudo target/release/mga-node lab section5 "$@"
fi
