#!/bin/sh
# Every check of the project, from a fresh machine: installs what is missing, then format, lints, documentation,
# all tests (unit, protocol in virtual time, network namespaces), the fuzz targets over their seeds, and the section 5
# lab. The README's second command.
# Needs root for the namespace tests: run it as root or with sudo.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || {
    echo "the tests make network namespaces: run this as root" >&2
    exit 2
}
sh tests/prerequisites.sh

step() {
    echo
    echo "== $*"
    "$@"
}
step cargo fmt --check
step cargo clippy --quiet --all-targets -- -D warnings
step cargo clippy --quiet --no-default-features --lib --bins -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --quiet --no-deps
step cargo test --quiet --no-fail-fast
step sh tests/ebpf.sh
step sh tests/services.sh
step sh tests/vagrant.sh
step cargo bench --no-run --quiet
step tests/fuzz/replay.sh
step sh tests/freebsd.sh
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
step sh tests/section5.sh --out "$out/section5"
echo
echo "all checks passed"
