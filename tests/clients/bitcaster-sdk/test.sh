#!/usr/bin/env bash
# bitcaster-sdk, the client library that Bitcaster gives out, in its versions 0.2 and 0.4, as they come from PyPI.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${MUSTER_CLIENTS_CACHE:?}"

# shellcheck source=../python.sh
source "$HERE/../python.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 0.2 0.4; do
    python=$(venv bitcaster-sdk/$version "$HERE/sdk-$version.txt")/bin/python
    token=$(bitcaster_token sdk-$$-$RANDOM '{"organizations": [{"slug": "my-org", "name": "My Organization"}, {"slug": "other", "name": "Other"}]}')
    if [[ $version == 0.2 ]]; then
        curl -fsS -o /dev/null "$TEST_MUSTER_URL/api/o/my-org/u/" -H "Authorization: Key $token" -d '{"email": "ann@example.com"}'
    fi
    "$python" "$HERE/client.py" "${TEST_MUSTER_URL/:\/\//:\/\/$token@}/api/o/my-org/" "$version" 2>"$work/log" || {
        tail -n 20 "$work/log" >&2
        exit 1
    }
    echo "bitcaster-sdk $version: all well"
done
