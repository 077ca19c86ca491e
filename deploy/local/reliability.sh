#!/usr/bin/env bash
# Makes docs/reliability.md from docs/reliability.tsv, docs/mutants.tsv and the tables of shared/domain/src/fault.rs, and makes sure that
# every test and file it names exists.
#
#   reliability.sh            write it
#   reliability.sh --check    tell whether it is up to date (make check)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
DATA=docs/reliability.tsv MUTANTS=docs/mutants.tsv PAGE=docs/reliability.md
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
wrong=0

# Every function of the tests, and every line of a table of tests (`name: …`).
grep -rhoE '(fn +[a-z_0-9]+|^ +[a-z_0-9]+:)' --include='*.rs' shared producer worker cli |
    sed -E 's/^fn +//; s/[ :]//g' | sort -u >"$scratch/names"
exists() {
    case $1 in
    */*) [[ -e $1 ]] ;;
    *) grep -qx -- "${1##*::}" "$scratch/names" ;;
    esac
}
while IFS=$'\t' read -r kind id _ _ proof; do
    [[ $kind == fault || $kind == row ]] || continue
    if [[ -z $proof ]]; then
        echo "$DATA: $id has no proof"
        wrong=1
    fi
    while read -r name; do
        [[ -z $name ]] || exists "$name" || {
            echo "$DATA: $id names $name, which does not exist"
            wrong=1
        }
    done < <(grep -o '`[^`]*`' <<<"$proof" | tr -d '`')
done < <(awk -F '\t' -v OFS='\t' 'NR > 1 && !/^#/ { if ($1 == "fault" && $4 ~ /^-/) { $5 = $4; $4 = "" } for (i = 1; i <= 5; i++) if ($i == "") $i = " "; print }' "$DATA")
for number in $(seq 45); do
    grep -q "^fault"$'\t'"F$number"$'\t' "$DATA" || {
        echo "$DATA: F$number is missing"
        wrong=1
    }
done

# The enum of this name in fault.rs: each item's own name and its sentence.
items() {
    awk -v item="    $1 {" '$0 == item { on = 1; next } on && /^    }/ { exit }
        on && /\/\/\// { sub(/^ *\/\/\/ /, ""); text = text (text ? " " : "") $0 }
        on && / = "/ { name = $0; sub(/.* = "/, "", name); sub(/".*/, "", name); print name "\t" text; text = "" }' shared/domain/src/fault.rs
}
items Mutant | cut -f1 | sort >"$scratch/mutants"
awk -F '\t' 'NR > 1 && NF && !/^#/ { print $1 }' "$MUTANTS" | sort -u >"$scratch/listed"
while read -r name; do
    echo "$MUTANTS: the mutant $name is in one of this table and shared/domain/src/fault.rs alone"
    wrong=1
done < <(comm -3 "$scratch/mutants" "$scratch/listed" | tr -d '\t')

# Each mended fault has a mutant, or nobody sees its test fail.
while read -r id; do
    echo "$DATA: the row $id has no mutant in $MUTANTS"
    wrong=1
done < <(comm -23 <(awk -F '\t' '$1 == "row" { print $2 }' "$DATA" | sort -u) \
    <(awk -F '\t' 'NR > 1 && NF && !/^#/ { n = split($2, rows, ", "); for (i = 1; i <= n; i++) print rows[i] }' "$MUTANTS" | sort -u))

points=$(items Point | wc -l)
{
    cat <<TEXT
# Reliability

This page is made by \`deploy/local/reliability.sh\` from [reliability.tsv](reliability.tsv), [mutants.tsv](mutants.tsv) and
[fault.rs](../shared/domain/src/fault.rs); \`make check\` fails when it is out of date or names a test that does not exist.

What is promised is in [README.md](../README.md) and [ARCHITECTURE.md](../ARCHITECTURE.md). Here is what may break while the promises
hold, and how each is proved.

| Run | What |
|---|---|
| \`make test\` | every test named here whose name is no file; the $points named points below with kill, error and delay are in \`cli/tests/faults\` |
| \`make mutants\` | each fault of the table of mutants is brought back, and its test must fail |
| \`make faults\` | the slow scripts in \`deploy/local/faults\`, as root: each prints a verdict |

The witness for "once" is the sum of the users' versions: each write of a user counts it up, so a record that is applied twice
shows although the user looks the same.

## Faults

| | Fault | What holds | Proved by |
|---|---|---|---|
TEXT
    awk -F '\t' '$1 == "fault" { if ($4 ~ /^- /) printf "| %s | %s | | not tested: %s |\n", $2, $3, substr($4, 3)
                                 else printf "| %s | %s | %s | %s |\n", $2, $3, $4, $5 }' "$DATA"
    if grep -q '^row' "$DATA"; then
        printf '\n## Mended faults\n\nEach has a test that failed before the fault was mended. The mutants are the old code, and with each of them its test is seen\nto fail by `make mutants`.\n\n| | Fault | Now | Test | Old code, with which a test is seen to fail |\n|---|---|---|---|---|\n'
        awk -F '\t' 'NR == FNR { if (FNR > 1 && NF && !/^#/) { n = split($2, rows, ", "); for (i = 1; i <= n; i++) old[rows[i]] = old[rows[i]] (old[rows[i]] ? ", " : "") "`" $1 "`" } next }
            $1 == "row" { printf "| %s | %s | %s | %s | %s |\n", $2, $3, $4, $5, old[$2] }' "$MUTANTS" "$DATA"
    fi
    printf '\n## Mutants\n\nA mutant is a fault behind a test-only switch (`MUTANT=name`, feature `faults`; no release has it).\n\n| Mutant | | Fault | Caught by |\n|---|---|---|---|\n'
    items Mutant >"$scratch/items"
    awk -F '\t' 'NR == FNR { text[$1] = $2; next } FNR > 1 && NF && !/^#/ { gsub(/\|/, "\\|", $3); printf "| `%s` | %s | %s | `%s` of %s |\n", $1, $2, text[$1], $3, $4 }' \
        "$scratch/items" "$MUTANTS"
    printf '\n## Points\n\nWhere a test can make the program die, fail or stall: `FAILPOINTS=name=1*return(kill)`.\n\n| Point | |\n|---|---|\n'
    items Point | awk -F '\t' '{ printf "| `%s` | %s |\n", $1, $2 }'
    printf '\n## Measured\n\n'
    if grep -q '^figure' "$DATA"; then
        printf '| | Figure | Command, seed, commit |\n|---|---|---|\n'
        awk -F '\t' '$1 == "figure" { printf "| %s | %s | %s |\n", $3, $4, $5 }' "$DATA"
    else
        printf 'Nothing is noted yet: lines of the kind `figure` in reliability.tsv.\n'
    fi
    printf '\nNo wrong result in n independent kills means, with 95 %% confidence, a rate below 3/n: 1,000 kills say less than 0.3 %% a kill.\n'
} >"$scratch/page"

if [[ ${1:-} == --check ]]; then
    cmp -s "$scratch/page" "$PAGE" || {
        echo "$PAGE is out of date: run deploy/local/reliability.sh"
        wrong=1
    }
else
    cp "$scratch/page" "$PAGE"
fi
exit $wrong
