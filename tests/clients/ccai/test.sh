#!/usr/bin/env bash
# A client of the Bulk User Management API as its documents describe one: template, upload, proceed, poll, error logs.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${DATABASE_URL:?}" "${AMQP_URL:?}" "${MUSTER_CLIENTS_CACHE:?}"
VENV=$MUSTER_CLIENTS_CACHE/ccai/venv

python3 -c 'import venv, ensurepip' 2>/dev/null || {
    echo "this client needs python3 with venv (Debian: python3-venv)" >&2
    exit 1
}
# Remade whenever what it needs changed; marked as whole at the end.
if ! cmp -s "$HERE/requirements.txt" "$VENV/requirements.txt"; then
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$HERE/requirements.txt"
    cp "$HERE/requirements.txt" "$VENV/requirements.txt"
fi

tenant=ccai-$$-$RANDOM
catalog=$(mktemp)
trap 'rm -f "$catalog"' EXIT
cat >"$catalog" <<'JSON'
{"roles": ["Admin", "Manager", "Manager Data", "Manager Teams", "Manager Admin", "Agent"],
 "teams": ["Support", "Sales"], "locations": ["Mexico", "Rome"], "limits": {"max_chat_limit": 10}}
JSON
"$TEST_MUSTER_PROGRAM" tenant create "$tenant" --name "Client test" >/dev/null
"$TEST_MUSTER_PROGRAM" catalog apply --tenant "$tenant" "$catalog" >/dev/null
token=$("$TEST_MUSTER_PROGRAM" token create --tenant "$tenant" --name api_user_name_1 \
    --scope import:write --scope import:read --scope users:read | grep -o 'mst_[A-Za-z0-9_-]*')

SUBDOMAIN=$tenant API_TOKEN=$token BASE_URL=$TEST_MUSTER_URL/apps/api/v1 "$VENV/bin/python" "$HERE/client.py"
