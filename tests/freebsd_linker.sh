#!/bin/sh
# Links for FreeBSD with zig, as Cargo's linker; run by tests/freebsd.sh, which names the system in ZIG_TARGET and the
# Python that has zig in ZIG_PYTHON.
set -eu
count=$#
while [ "$count" -gt 0 ]; do
    case $1 in
        # Named by the libc crate, used by nothing here, and zig has no stub of them; the last is an option zig does not know.
        -lkvm | -lmemstat | -lprocstat | -ldevstat | -lgcc_s | -Wl,-O1) ;;
        *) set -- "$@" "$1" ;;
    esac
    shift
    count=$((count - 1))
done
exec "$ZIG_PYTHON" -m ziglang cc -target "$ZIG_TARGET" "$@" -lunwind
