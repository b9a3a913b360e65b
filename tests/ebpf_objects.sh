#!/bin/sh
# The objects of the fast path that lie in the repository, for who builds without a compiler for them, are what the
# sources beside them say: compiled anew by the compiler of that release, octet by octet, from another folder.
# With --update they are replaced. Run by tests/all.sh.
set -eu
cd "$(dirname "$0")/.."
compiler=clang-14
programs=src/forwarding/ebpf/programs
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cp -r "$programs" "$out/elsewhere"
sh "$out/elsewhere/build.sh" "$compiler" "$out"
for program in agent responder initiator; do
    if [ "${1:-}" = --update ]; then
        cp "$out/$program.o" "$programs/$program.o"
    fi
    cmp "$out/$program.o" "$programs/$program.o" || {
        echo "the sources have changed: run $0 --update" >&2
        exit 1
    }
done
