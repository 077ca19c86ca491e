#!/usr/bin/env bash
# bitcaster-sdk, the client library that Bitcaster gives out, in its versions 0.2 and 0.4, as they come from PyPI.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${MUSTER_CLIENTS_CACHE:?}"

muster() { "$TEST_MUSTER_PROGRAM" "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 0.2 0.4; do
    venv=$MUSTER_CLIENTS_CACHE/bitcaster-sdk/$version
    if ! cmp -s "$HERE/sdk-$version.txt" "$venv/requirements.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$HERE/sdk-$version.txt"
        cp "$HERE/sdk-$version.txt" "$venv/requirements.txt"
    fi
    tenant=sdk-$$-$RANDOM
    muster tenant create "$tenant" >/dev/null
    echo '{"organizations": [{"slug": "my-org", "name": "My Organization"}, {"slug": "other", "name": "Other"}]}' >"$work/catalog.json"
    muster catalog --tenant "$tenant" apply "$work/catalog.json" >/dev/null
    token=$(muster token create --tenant "$tenant" --name client --scope users:write 2>/dev/null)
    if [[ $version == 0.2 ]]; then
        curl -fsS -o /dev/null "$TEST_MUSTER_URL/api/o/my-org/u/" -H "Authorization: Key $token" -d '{"email": "ann@example.com"}'
    fi
    "$venv/bin/python" "$HERE/client.py" "${TEST_MUSTER_URL/:\/\//:\/\/$token@}/api/o/my-org/" "$version" 2>"$work/log" || {
        tail -n 20 "$work/log" >&2
        exit 1
    }
    echo "bitcaster-sdk $version: all well"
done
