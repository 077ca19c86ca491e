#!/usr/bin/env bash
# A Node.js client of Authgear's User Import API: a project with a key of its own, then client.js against it.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${DATABASE_URL:?}" "${AMQP_URL:?}" "${MUSTER_CLIENTS_CACHE:?}"
cache=$MUSTER_CLIENTS_CACHE/authgear

for program in node npm openssl; do
    command -v "$program" >/dev/null || {
        echo "this client needs $program (Debian: nodejs, npm, openssl)" >&2
        exit 1
    }
done

# The packages, exactly those of the lock file; once for each lock file.
if ! cmp -s "$HERE/package-lock.json" "$cache/package-lock.json" || [[ ! -d $cache/node_modules ]]; then
    rm -rf "$cache/node_modules"
    cp "$HERE/package.json" "$HERE/package-lock.json" "$cache/"
    (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
project=authgear-client-$$-$RANDOM
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$scratch/private.pem" 2>/dev/null

"$TEST_MUSTER_PROGRAM" tenant create "$project"
openssl pkey -in "$scratch/private.pem" -pubout | "$TEST_MUSTER_PROGRAM" tenant key add --tenant "$project" --kid key-1 -
"$TEST_MUSTER_PROGRAM" catalog apply --tenant "$project" - >/dev/null <<'JSON'
{"roles": ["role_a", "role_b"], "groups": ["group_a"], "custom_attributes": {"member_id": {"type": "string"}}}
JSON

AUTHGEAR_ENDPOINT=$TEST_MUSTER_URL AUTHGEAR_PROJECT_ID=$project AUTHGEAR_KEY_ID=key-1 \
    AUTHGEAR_PRIVATE_KEY_FILE=$scratch/private.pem NODE_PATH=$cache/node_modules node "$HERE/client.js"
