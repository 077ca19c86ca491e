#!/usr/bin/env bash
# bitcaster-django in its versions 0.7 and 0.7.5, as they come from PyPI, each in a Django project with users of its own.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${MUSTER_CLIENTS_CACHE:?}"

muster() { "$TEST_MUSTER_PROGRAM" "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 0.7 0.7.5; do
    venv=$MUSTER_CLIENTS_CACHE/bitcaster-django/$version
    if ! cmp -s "$HERE/django-$version.txt" "$venv/requirements.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$HERE/django-$version.txt"
        cp "$HERE/django-$version.txt" "$venv/requirements.txt"
    fi
    tenant=django-$$-$RANDOM
    muster tenant create "$tenant" >/dev/null
    echo '{"organizations": [{"slug": "my-org", "name": "My Organization"}]}' >"$work/catalog.json"
    muster catalog --tenant "$tenant" apply "$work/catalog.json" >/dev/null
    token=$(muster token create --tenant "$tenant" --name client --scope users:write 2>/dev/null)
    "$venv/bin/python" "$HERE/project.py" "${TEST_MUSTER_URL/:\/\//:\/\/$token@}/api/o/my-org/" "$version" 2>"$work/log" || {
        tail -n 20 "$work/log" >&2
        exit 1
    }
    echo "bitcaster-django $version: all well"
done
