#!/bin/sh
# The build with the fast path: lints, objects, the tests of running nodes and the section 5 lab with the kernel
# forwarding. Run by tests/all.sh as root; a kernel that takes no programs fails it.
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
sh tests/ebpf_objects.sh
cargo clippy --quiet --all-targets --features ebpf -- -D warnings
cargo test --quiet --features ebpf --lib forwarding
cargo test --quiet --features ebpf --test fast_path
cargo test --quiet --features ebpf --test daemon
cargo build --quiet --features ebpf
"${CARGO_TARGET_DIR:-target}"/debug/mga-node lab section5 --forwarding ebpf --out "$out/section5"
