#!/bin/sh
# Compiles the programs beside this file: build.sh CLANG FOLDER leaves agent.o, responder.o and initiator.o in FOLDER.
# Called by the build script and by tests/ebpf_objects.sh; where the sources are does not show in the objects.
set -eu
compiler=$1
folder=$(realpath "$2")
cd "$(dirname "$0")"
# Where Debian keeps the kernel's headers of the machine (asm/types.h); elsewhere they are found without.
headers=$("${CC:-cc}" -print-multiarch 2>/dev/null || uname -m)
# The debugger's half of the debug information goes, the kernel's (BTF) stays.
strip=$(printf %s "$compiler" | sed 's/clang\(-[0-9]*\)\{0,1\}$/llvm-strip\1/')
for program in agent responder initiator; do
    "$compiler" -O2 -g -target bpf -mcpu=v3 -Wall -Werror -ffile-prefix-map="$PWD"=. \
        -I"/usr/include/$headers" -c "$program.bpf.c" -o "$folder/$program.o"
    if command -v "$strip" >/dev/null; then "$strip" -g "$folder/$program.o"; fi
done
