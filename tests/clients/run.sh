#!/usr/bin/env bash
# Runs every client in this folder against the Muster that TEST_MUSTER_URL names (deploy/local/server.sh), as its users
# would run it: each FOLDER/test.sh is one client, and passes when it exits with 0.
#
#   run.sh [FOLDER…]
#
# A client installs what it needs from its package registry into $MUSTER_CLIENTS_CACHE/FOLDER, once.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?run make test, or deploy/local/server.sh up}" "${TEST_MUSTER_PROGRAM:?}" "${TEST_MUSTER_DATABASE_URL:?}"
export MUSTER_CLIENTS_CACHE=${MUSTER_CLIENTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/muster/clients}
export DATABASE_URL=$TEST_MUSTER_DATABASE_URL AMQP_URL=${TEST_AMQP_URL:?}

(($#)) || set -- "$HERE"/*/
passed=0 failed=0
for folder in "$@"; do
    name=$(basename "$folder")
    [[ -x $HERE/$name/test.sh ]] || continue
    printf -- '-- client: %s\n' "$name"
    mkdir -p "$MUSTER_CLIENTS_CACHE/$name"
    if "$HERE/$name/test.sh"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'client %s FAILED\n' "$name" >&2
    fi
done
printf 'clients: %d passed, %d failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
