#!/bin/sh
# What can be proven about the node on FreeBSD without a FreeBSD machine, by Debian's Rust and by PyPI's ziglang, which
# carries FreeBSD's headers and stubs of its libraries:
#   headers   every constant and structure written by hand is what FreeBSD's headers say, and the golden routing messages
#             are what those headers lay out
#   clippy    everything passes clippy for x86_64-unknown-freebsd, warnings denied
#   release   a release binary links, and needs nothing but FreeBSD's base system
#   tests     the unit tests link; their running needs FreeBSD's kernel
# Usage: freebsd.sh [STEP...]; all of them without arguments. Run by tests/all.sh. A step that cannot be made here is
# skipped with the reason. The cross build has a folder of its own below target/, which makes a second run short.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- headers clippy release tests

target=x86_64-unknown-freebsd
# The oldest system the node is meant for, as zig calls it.
system=x86_64-freebsd.14.0-none
work=$PWD/target/freebsd
mkdir -p "$work"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}
has_zig() { python3 -m ziglang version >/dev/null 2>&1; }
# The standard library is built from its source, which Debian ships for the compiler of the same version.
has_rust() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/cargo-clippy ] &&
        [ -e "$(/usr/bin/rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

no_zig="ziglang cannot be installed (python3 -m pip install ziglang)"
has_zig || python3 -m pip install --quiet ziglang || python3 -m pip install --quiet --break-system-packages ziglang ||
    echo "$no_zig" >&2
no_rust="Debian's Rust with its source cannot be installed (rustc-web cargo-web rust-web-src rust-web-clippy)"
if ! has_rust; then
    as_root apt-get update -qq || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        rustc-web cargo-web rust-web-src rust-web-clippy >/dev/null || echo "$no_rust" >&2
fi

# Debian's cargo, whatever else is first in the path; build-std is an unstable option, hence the bootstrap.
# Optimised lightly: linking is what is tried, and this halves the time.
cross() { # cross SUBCOMMAND [ARGUMENT...]
    subcommand=$1
    shift
    env PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work" \
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_TARGET_X86_64_UNKNOWN_FREEBSD_LINKER="$PWD/tests/freebsd_linker.sh" ZIG_TARGET="$system" \
        ZIG_PYTHON="$(command -v python3)" \
        /usr/bin/cargo "$subcommand" --quiet -Z build-std=std,panic_unwind,test --target "$target" "$@"
}

headers() {
    zig="python3 -m ziglang cc -target $system -c -o $work/headers.o"
    cargo run --quiet --example freebsd_abi >"$work/abi.c"
    $zig "$work/abi.c"
    # The check itself is checked: one octet off, and it must fail.
    sed 's/offsetof(struct in6_aliasreq, ifra_flags) == 100,/offsetof(struct in6_aliasreq, ifra_flags) == 101,/' \
        "$work/abi.c" >"$work/wrong.c"
    if $zig "$work/wrong.c" 2>"$work/wrong.log" || ! grep -q 'ifra_flags) == 101' "$work/wrong.log"; then
        echo "a wrong constant was not found: see $work/wrong.log" >&2
        return 1
    fi
    $zig tests/golden/freebsd_routing.c
    objdump -h "$work/headers.o" | sed -n 's/.* \.golden\.\([a-z_]*\) .*/\1/p' | while read -r name; do
        objcopy -O binary --only-section=".golden.$name" "$work/headers.o" "$work/message"
        echo "$name $(od -An -v -tx1 "$work/message" | tr -d ' \n')"
    done >"$work/routing.txt"
    diff -u tests/golden/freebsd_routing.txt "$work/routing.txt"
    echo "$(grep -c _Static_assert "$work/abi.c") claims about FreeBSD's headers hold;" \
        "$(grep -c . "$work/routing.txt") routing messages are laid out as they say"
}

clippy() {
    # Dependencies may warn; what is denied is ours.
    cross clippy --all-targets -- -D warnings
    cross clippy --no-default-features --lib --bins -- -D warnings
}

release() {
    cross build --release --bin mga-node
    binary=$work/$target/release/mga-node
    needed=$(objdump -p "$binary" | awk '$1 == "NEEDED" { print $2 }' | sort | tr '\n' ' ')
    [ "$needed" = "libc.so.7 libthr.so.3 " ] || {
        echo "$binary needs more than FreeBSD's base system: $needed" >&2
        return 1
    }
    echo "$binary: $(wc -c <"$binary") octets, needs $needed"
}

tests() {
    cross test --release --lib --no-run
    echo "the unit tests link"
}

skipped=
for step in "$@"; do
    lacking=
    case $step in
        headers) has_zig || lacking=$no_zig ;;
        clippy) has_rust || lacking=$no_rust ;;
        release | tests)
            has_rust || lacking=$no_rust
            has_zig || lacking=$no_zig
            ;;
        *)
            echo "there is no step $step: headers, clippy, release, tests" >&2
            exit 2
            ;;
    esac
    if [ -n "$lacking" ]; then
        skipped="$skipped $step"
        echo "FreeBSD $step: skipped, $lacking"
        continue
    fi
    echo "FreeBSD $step"
    "$step"
done
[ -z "$skipped" ] || echo "FreeBSD: NOT checked:$skipped"
