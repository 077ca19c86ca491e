#!/usr/bin/env bash
# The description of the API judged by openapi-spec-validator, and a Python client that openapi-python-client makes of it, doing a
# whole job.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${MUSTER_CLIENTS_CACHE:?}"

# shellcheck source=../python.sh
source "$HERE/../python.sh"
venv=$(venv generated-python/venv "$HERE/requirements.txt")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curl -fsS "$TEST_MUSTER_URL/openapi.json" -o "$work/openapi.json"
"$venv/bin/openapi-spec-validator" "$work/openapi.json"
cd "$work"
"$venv/bin/openapi-python-client" generate --path openapi.json --config "$HERE/config.yml" --output-path made >made.log 2>&1 || {
    cat made.log >&2
    exit 1
}
# What the generator could not make is a hole in the client.
if grep -iE 'unsupported|unable to (parse|process)|error' made.log; then
    cat made.log >&2
    exit 1
fi

tenant=generated-$$-$RANDOM
"$TEST_MUSTER_PROGRAM" tenant create "$tenant" >/dev/null
token=$("$TEST_MUSTER_PROGRAM" token create --tenant "$tenant" --name client --scope ops 2>/dev/null)
MUSTER_URL=$TEST_MUSTER_URL MUSTER_TOKEN=$token PYTHONPATH=made "$venv/bin/python" "$HERE/job.py"
