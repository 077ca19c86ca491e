#!/usr/bin/env bash
# Brings fixed faults back, one at a time. The test that docs/mutants.tsv names for each must fail with it, and pass without it.
#
#   mutants.sh            all of them (make mutants)
#   mutants.sh NAME…      these
#
# Needs TEST_DATABASE_URL and TEST_AMQP_URL (services.sh urls). Builds once, with the feature `faults`; no release has it.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$HERE/../.."
TABLE=docs/mutants.tsv
PATH=${MUSTER_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/muster/tools}/bin:$PATH
command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
export PATH
: "${TEST_DATABASE_URL:?}" "${TEST_AMQP_URL:?}"
unset MUTANT FAILPOINTS

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The table's lines that are asked for, without its heading.
lines() {
    awk -F '\t' -v wanted=" $* " 'NR > 1 && NF && $1 !~ /^#/ && (wanted == "  " || index(wanted, " " $1 " "))' "$TABLE"
}
lines "$@" >"$scratch/lines"
[[ -s $scratch/lines ]] || {
    echo "no such mutant in $TABLE: $*"
    exit 2
}
for name in "$@"; do
    cut -f1 "$scratch/lines" | grep -qx -- "$name" || {
        echo "no such mutant in $TABLE: $name"
        exit 2
    }
done

cargo nextest list --locked --workspace --all-features --list-type binaries-only --message-format json \
    >"$scratch/binaries.json"
cargo metadata --locked --all-features --format-version 1 >"$scratch/metadata.json"

# tests FILTER OPTION…: runs them from what was built.
tests() {
    cargo nextest run --binaries-metadata "$scratch/binaries.json" --cargo-metadata "$scratch/metadata.json" \
        --failure-output never -E "$1" "${@:2}" >"$scratch/log" 2>&1
}

program=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["target_directory"])' "$scratch/metadata.json")/debug/muster

# on_server FILTER: whether one of its tests talks to the running Muster of server.sh. That one must have the mutant too.
on_server() {
    local name
    for name in $(grep -oE 'test\([a-z0-9_:]+\)' <<<"$1" | sed 's/.*[(:]\([a-z0-9_]*\))/\1/'); do
        ! grep -rqE "fn $name" cli/tests/contract || return 0
    done
    return 1
}

# server [MUTANT]: starts it, anew if it runs.
server() {
    local variables
    variables=$(env ${1:+MUTANT=$1} deploy/local/server.sh up "$program")
    set -a
    eval "$variables"
    set +a
}
trap 'deploy/local/server.sh down >/dev/null; rm -rf "$scratch"' EXIT

failed=0
union=$(awk -F '\t' '{ printf "%s(package(%s) & (%s))", (NR > 1 ? " | " : ""), $4, $3 }' "$scratch/lines")
began=$SECONDS
while IFS=$'\t' read -r _ _ filter _; do
    ! on_server "$filter" || { server; break; }
done <"$scratch/lines"
if tests "$union" --no-fail-fast; then
    echo "ok      without a mutant every test passes ($((SECONDS - began)) s)"
else
    echo "FAILED  without a mutant these do not pass:"
    grep -E '^ +(FAIL|TIMEOUT|SIG|LEAK)' "$scratch/log" | sort -u || cat "$scratch/log"
    failed=1
fi

caught=0 all=0
while IFS=$'\t' read -r mutant row filter package _; do
    all=$((all + 1)) began=$SECONDS rc=0
    ! on_server "$filter" || server "$mutant"
    # One test that fails is enough.
    MUTANT=$mutant tests "package($package) & ($filter)" --max-fail 1:immediate || rc=$?
    case $rc in
    100) # a test failed
        caught=$((caught + 1))
        echo "caught  $mutant ($row) by $(grep -cE '^ +(FAIL|TIMEOUT|SIG)' "$scratch/log" || true) line(s) of $filter ($((SECONDS - began)) s)"
        ;;
    0)
        echo "MISSED  $mutant ($row): $filter of $package passes with it"
        failed=1
        ;;
    *)
        echo "ERROR   $mutant ($row): the tests could not be run (exit code $rc)"
        tail -n 5 "$scratch/log"
        failed=1
        ;;
    esac
done <"$scratch/lines"
echo "$caught of $all mutants are caught ($SECONDS s)"
exit $failed
