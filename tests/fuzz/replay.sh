#!/bin/sh
# Builds the fuzz targets with libFuzzer's instrumentation, makes their seeds from the captures and runs every target
# once over its seeds and over what was found earlier (regressions/TARGET), without cargo-fuzz.
# Usage: replay.sh [SECONDS [TARGET...]]: with SECONDS above 0, fuzzes each target that long as well.
set -eu
cd "$(dirname "$0")"
seconds=${1:-0}
[ $# -eq 0 ] || shift
host=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz build --sanitizer none` sets. Only platform/ has unsafe code, and no target calls it.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
export RUSTFLAGS
# Naming the target keeps the instrumentation out of build scripts and procedural macros.
cargo build --quiet --locked --release --target "$host" --bins --examples
built=target/$host/release
"$built/examples/seeds"
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z0-9_]*\)"$/\1/p' Cargo.toml)
for target in "$@"; do
    mkdir -p "artifacts/$target" "corpus/$target"
    earlier=
    [ ! -d "regressions/$target" ] || earlier=regressions/$target
    log=artifacts/$target/log
    limits="-max_len=4096 -timeout=20 -rss_limit_mb=1024 -artifact_prefix=artifacts/$target/"
    if [ "$seconds" -gt 0 ]; then limits="$limits -max_total_time=$seconds"; else limits="$limits -runs=0"; fi
    # shellcheck disable=SC2086 # lists of words
    if "$built/$target" $limits "corpus/$target" $earlier >"$log" 2>&1; then
        echo "$target: $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log") inputs, nothing found"
    else
        cat "$log" >&2
        echo "$target: an input breaks it, see above and tests/fuzz/artifacts/$target" >&2
        exit 1
    fi
done
