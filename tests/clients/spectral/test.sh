#!/usr/bin/env bash
# The description of the API judged by Spectral, by every rule that it has for OpenAPI: no error, no warning and no hint.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${MUSTER_CLIENTS_CACHE:?}"
cache=$MUSTER_CLIENTS_CACHE/spectral

for program in node npm; do
    command -v "$program" >/dev/null || {
        echo "Spectral needs $program (Debian: nodejs, npm)" >&2
        exit 1
    }
done
if ! cmp -s "$HERE/package-lock.json" "$cache/package-lock.json" || [[ ! -d $cache/node_modules ]]; then
    rm -rf "$cache/node_modules"
    cp "$HERE/package.json" "$HERE/package-lock.json" "$cache/"
    (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curl -fsS "$TEST_MUSTER_URL/openapi.json" -o "$work/openapi.json"
judged() { "$cache/node_modules/.bin/spectral" lint --fail-severity hint --ruleset "$HERE/ruleset.yaml" "$1"; }
judged "$work/openapi.json"

# It judges: a document without its contact, and one with a credential that there is not, are refused.
for change in 's/"contact":/"kontact":/' 's/"token": *\[/"tokem":[/g'; do
    sed "$change" "$work/openapi.json" >"$work/wrong.json"
    if cmp -s "$work/openapi.json" "$work/wrong.json" || judged "$work/wrong.json" >"$work/log" 2>&1; then
        echo "Spectral takes a document that is wrong: $change" >&2
        exit 1
    fi
done
echo "Spectral: the document is clean"
