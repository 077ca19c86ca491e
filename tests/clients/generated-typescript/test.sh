#!/usr/bin/env bash
# Types that openapi-typescript makes of the description of the API, and a client of openapi-fetch with them, compiled and doing a whole
# job.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${MUSTER_CLIENTS_CACHE:?}"
cache=$MUSTER_CLIENTS_CACHE/generated-typescript

for program in node npm; do
    command -v "$program" >/dev/null || {
        echo "this client needs $program (Debian: nodejs, npm)" >&2
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
cp "$HERE/job.ts" "$HERE/tsconfig.json" "$HERE/package.json" "$work/"
ln -s "$cache/node_modules" "$work/node_modules"
cd "$work"
curl -fsS "$TEST_MUSTER_URL/openapi.json" -o openapi.json
node_modules/.bin/openapi-typescript openapi.json --output schema.d.ts >made.log 2>&1 || {
    cat made.log >&2
    exit 1
}
node_modules/.bin/tsc --project tsconfig.json

tenant=generated-$$-$RANDOM
"$TEST_MUSTER_PROGRAM" tenant create "$tenant" >/dev/null
token=$("$TEST_MUSTER_PROGRAM" token create --tenant "$tenant" --name client --scope ops 2>/dev/null)
MUSTER_URL=$TEST_MUSTER_URL MUSTER_TOKEN=$token node made/job.js
