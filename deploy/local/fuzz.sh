#!/usr/bin/env bash
# Runs the targets of shared/fuzz by libFuzzer, each for so many seconds. It begins with the files of shared/test_data, keeps what it
# found interesting in .services/fuzz, and fails at the first input that panics, takes ten seconds, or takes 1 GiB.
#
#   fuzz.sh SECONDS            all targets
#   fuzz.sh SECONDS TARGET…    these
#
# MUSTER_FUZZ_JOBS: targets at a time (default: the number of cores). Needs a compiler of C++ (Debian: g++).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
ROOT=$HERE/../..
FUZZ=$ROOT/shared/fuzz
DATA=$ROOT/shared/test_data
WORK=$ROOT/.services/fuzz
seconds=${1:?how many seconds a target}
shift
command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH

mapfile -t all < <(sed -n 's/^name = "\([a-z]*\)"$/\1/p' "$FUZZ/Cargo.toml")
targets=("$@")
(($# > 0)) || targets=("${all[@]}")

# What cargo-fuzz passes, without a sanitizer, which would need a nightly compiler: the code is safe Rust.
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares)
# A folder of its own in what `make clean` removes: other flags would build everything there anew.
export RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}/fuzz
cargo build --locked --release --manifest-path "$FUZZ/Cargo.toml" --target "$host"

corpus() { # TARGET: the files that it begins with
    local file
    local -a files=("$DATA/fuzz/$1"/*)
    case $1 in
    csv | json) files+=("$DATA/$1"_*) ;;
    ndjson | record) files+=("$DATA"/*.ndjson) ;;
    esac
    mkdir -p "$WORK/$1" "$WORK/seed-$1"
    for file in "${files[@]}"; do
        [[ -f $file && $file != *.expected.json ]] || continue
        case $1 in
        # The first byte of a parser's input chooses how it reads: as a file of people.
        csv | json | ndjson) { printf '\001' && cat "$file"; } >"$WORK/seed-$1/$(basename "$file")" ;;
        *) cp "$file" "$WORK/seed-$1/" ;;
        esac
    done
}

run() { # TARGET
    local log=$WORK/$1.log
    if "$CARGO_TARGET_DIR/$host/release/$1" "$WORK/$1" "$WORK/seed-$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -max_len=4096 -artifact_prefix="$WORK/$1-" -print_final_stats=1 >"$log" 2>&1; then
        printf 'ok      %s: %s runs, %s features, peak %s MiB\n' "$1" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
            "$(grep -oE 'ft: [0-9]+' "$log" | tail -n 1 | cut -d' ' -f2)" "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")"
    else
        printf 'FAILED  %s: see %s\n' "$1" "$log"
        tail -n 20 "$log"
        return 1
    fi
}

for target in "${targets[@]}"; do
    corpus "$target"
done
export -f run
export WORK seconds host
printf '%s\n' "${targets[@]}" | xargs -P "${MUSTER_FUZZ_JOBS:-$(nproc)}" -I{} bash -c 'run {}'
