#!/usr/bin/env bash
# Makes sure that operators find what the code tells them: each metric is in the table of docs/metrics.md, each field of a log line
# in that of docs/logging.md, and neither table has one that is not in the code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mapfile -t sources < <(find shared/{domain,runtime,queue,store,engine}/src {producer,worker,cli}/src -name '*.rs' | sort)

# table FILE HEADING: the names in backticks in the first column of the table below the heading.
table() {
    awk -v heading="$2" '$0 == heading { on = 1; next } /^#/ { on = 0 } on && /^\| `/ {
        split($0, cell, "|")
        while (match(cell[2], /`[a-z_]+/)) { print substr(cell[2], RSTART + 1, RLENGTH - 1); cell[2] = substr(cell[2], RSTART + RLENGTH); sub(/^[^`]*`/, "", cell[2]) }
    }' "$1" | sort -u
}
table docs/metrics.md '# Metrics' >"$scratch/metrics.written"
table docs/logging.md '## Fields' >"$scratch/fields.written"

grep -hoE '(counter|gauge|histogram)!\("muster_[a-z_]+' "${sources[@]}" | sed 's/.*"//' | sort -u >"$scratch/metrics.code"
# The fields of a macro stand before its message, the first text that is an argument of its own.
awk 'BEGIN { RS = "tracing::(trace|debug|info|warn|error)!\\(" }
    FNR > 1 {
        gsub(/[ \n]+/, " ")
        if (!match($0, /(^ ?|, )"/)) next
        fields = substr($0, 1, RSTART)
        sub(/^ /, "", fields)
        fields = ", " fields
        while (match(fields, /, [%?]?[a-z_]+( =|,|\.)/) || match(fields, /, [%?]?[a-z_]+ ?$/)) {
            name = substr(fields, RSTART + 2, RLENGTH - 2)
            rest = substr(fields, RSTART + 2)
            sub(/^[%?]/, "", name)
            if (name !~ /\.$/) { gsub(/[ =,]/, "", name); print name }
            fields = substr(rest, 2)
        }
    }' "${sources[@]}" | sort -u >"$scratch/fields.code"

wrong=0
compare() { # KIND PAGE
    local name
    [[ -s $scratch/$1.code && -s $scratch/$1.written ]] || {
        echo "no $1 found: this script looks in the wrong place"
        wrong=1
    }
    while read -r name; do
        echo "$2 does not have \`$name\` among its $1"
        wrong=1
    done < <(comm -23 "$scratch/$1.code" "$scratch/$1.written")
    while read -r name; do
        echo "$2 has \`$name\` among its $1, which the code does not"
        wrong=1
    done < <(comm -13 "$scratch/$1.code" "$scratch/$1.written")
}
compare metrics docs/metrics.md
compare fields docs/logging.md
((wrong)) || echo "$(wc -l <"$scratch/metrics.code") metrics, $(wc -l <"$scratch/fields.code") fields of log lines"
exit $wrong
