#!/usr/bin/env bash
# Runs shellcheck over every shell script of the project: each file that begins with bash's path, and what those source.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v shellcheck >/dev/null || {
    echo "there is no shellcheck: run deploy/local/services.sh install (or apt-get install shellcheck)"
    exit 1
}
mapfile -t scripts < <(grep -rlI --exclude-dir=node_modules '^#!.*bash$' .ci deploy tests/clients | sort)
shellcheck --severity=warning "${scripts[@]}" deploy/local/faults/common.sh
echo "${#scripts[@]} scripts"
