#!/usr/bin/env bash
# bitcaster-django in its versions 0.7 and 0.7.5, as they come from PyPI, each in a Django project with users of its own.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${MUSTER_CLIENTS_CACHE:?}"

# shellcheck source=../python.sh
source "$HERE/../python.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 0.7 0.7.5; do
    python=$(venv bitcaster-django/$version "$HERE/django-$version.txt")/bin/python
    token=$(bitcaster_token django-$$-$RANDOM '{"organizations": [{"slug": "my-org", "name": "My Organization"}]}')
    "$python" "$HERE/project.py" "${TEST_MUSTER_URL/:\/\//:\/\/$token@}/api/o/my-org/" "$version" 2>"$work/log" || {
        tail -n 20 "$work/log" >&2
        exit 1
    }
    echo "bitcaster-django $version: all well"
done
