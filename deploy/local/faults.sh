#!/usr/bin/env bash
# The slow faults: each script of deploy/local/faults once, with its verdict, and all verdicts at the end.
#
#   faults.sh            all of them (make faults)
#   faults.sh NAME…      these: sweep power failover disk_full partition clock memory broker_power rabbit4
#
# As root. Needs TEST_DATABASE_URL and TEST_AMQP_URL (services.sh urls) for some, and the program that the tests build
# (FAULTS_PROGRAM names another). Options of a script are variables; its head names them.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$HERE/../.."
command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
[[ -n ${FAULTS_PROGRAM:-} ]] || cargo build --locked --workspace --all-features

names=("$@")
((${#names[@]})) || mapfile -t names < <(cd "$HERE/faults" && printf '%s\n' *.sh | sed 's/\.sh$//' | grep -vx common)
verdicts=() failed=0
for name in "${names[@]}"; do
    [[ -x $HERE/faults/$name.sh ]] || {
        echo "there is no $name"
        exit 2
    }
    printf '\n== %s\n' "$name"
    began=$SECONDS last=
    while IFS= read -r line; do
        printf '%s\n' "$line"
        [[ $line != PASSED* && $line != FAILED* ]] || last=$line
    done < <("$HERE/faults/$name.sh" 2>&1 </dev/null || true)
    [[ $last == PASSED* ]] || failed=1
    verdicts+=("${last:-FAILED $name: it came to no verdict} ($((SECONDS - began)) s)")
done
printf '\n== verdicts\n'
printf '%s\n' "${verdicts[@]}"
exit $failed
