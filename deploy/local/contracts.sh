#!/usr/bin/env bash
# Makes sure that every rule of docs/contracts that code, tests or documents cite by its number is there, and once.
#
#   contracts.sh
#
# A citation is such a number in a comment of a Rust file, or anywhere in a document or script. So that a reader finds the rule, its
# line or the line before names the page: docs/contracts/authgear.md A.3.3, and ccai.md B.1.1 for another page in the same list.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mapfile -t citing < <(grep -rlE '[ABC]\.[0-9]' --include='*.rs' --include='*.md' --include='*.sh' --include='*.sql' --include='*.py' \
    --include='*.js' --include='*.mjs' --exclude-dir=node_modules --exclude-dir=contracts \
    shared producer worker cli docs deploy migrations tests bench ./*.md)

awk '
    FNR == 1 { page = FILENAME; before = "" }
    page ~ /^docs\/contracts\/.*\.md$/ && /^#+ [A-Z]\.?[0-9. ]/ {
        number = $2
        sub(/\.$/, "", number)
        if (number in rule) wrong(page ":" FNR ": " number " is also in " rule[number])
        rule[number] = page
        next
    }
    page ~ /\.rs$/ {
        if ($0 !~ /\/\//) {
            before = ""
            next
        }
        sub(/^.*\/\//, "//")
    }
    {
        text = $0
        while (match(text, /(^|[^A-Za-z0-9_.\/-])[ABC]\.[0-9]+(\.[0-9]+)*/)) {
            number = substr(text, RSTART, RLENGTH)
            sub(/^[^ABC]/, "", number)
            text = substr(text, RSTART + RLENGTH)
            cited++
            place[cited] = page ":" FNR
            near[cited] = before " " $0
            cites[cited] = number
        }
    }
    { before = $0 }
    function wrong(message) { print message; failed = 1 }
    END {
        for (i = 1; i <= cited; i++) {
            name = rule[cites[i]]
            sub(/.*\//, "", name)
            if (!(cites[i] in rule)) wrong(place[i] ": there is no rule " cites[i] " in docs/contracts")
            else if (place[i] !~ /^docs\/contracts\// && (!index(near[i], name) || !index(near[i], "docs/contracts/")))
                wrong(place[i] ": name the page of " cites[i] ": docs/contracts/" name)
        }
        if (!cited) wrong("nothing cites docs/contracts: this script looks in the wrong place")
        if (!failed) print cited " citations, all of them in docs/contracts"
        exit failed
    }
' docs/contracts/*.md "${citing[@]}"
