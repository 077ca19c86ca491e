#!/usr/bin/env bash
# A worker dies at its Nth system call that sends or writes, for N from 1 to LAST (300), every STEP (10) of them; another worker
# finishes. For each N the import must be complete, with every record applied once. A run counts only if the process died.
#
#   LAST=300 STEP=1 sweep.sh
#
# Needs TEST_DATABASE_URL and TEST_AMQP_URL (services.sh urls).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
LAST=${LAST:-300} STEP=${STEP:-10} RECORDS=60
: "${TEST_DATABASE_URL:?}" "${TEST_AMQP_URL:?}"
needs strace strace curl curl

database=muster_faults_$$
psql -Xq -c "create database $database template template0" "$TEST_DATABASE_URL"
at_end "psql -Xq -c 'drop database if exists $database with (force)' '$TEST_DATABASE_URL'"
CHUNK=10 settings "$(sed -E "s#^([a-z]+://[^/?]*)(/[^?]*)?#\1/$database#" <<<"$TEST_DATABASE_URL")" "$TEST_AMQP_URL"
# One thread, so that the calls of a run are counted in one place.
export TOKIO_WORKER_THREADS=1
prepare
producer
runs=0 died=0
for ((n = 1; n <= LAST; n += STEP)); do
    users "$W/users.csv" "$RECORDS" "Run$n"
    import=$(upload "$W/users.csv" "run$n") || die "the upload was not accepted"
    worker strace -f -qq -o /dev/null -e trace=sendto,sendmsg,write,writev \
        -e "inject=sendto,sendmsg,write,writev:signal=KILL:when=$n"
    over() { ! lives "$WORKER" || [[ $(import_state "$import") == completed ]]; }
    until_ok 60 over || fail "run $n stands still"
    runs=$((runs + 1))
    if ! lives "$WORKER"; then
        died=$((died + 1))
    else
        # The calls of a worker that has nothing left to do may be fewer than N.
        pkill -TERM -P "$WORKER" muster || true
        end "$WORKER"
    fi
    worker
    ended "$import" 90 || break
    whole "$import" "$RECORDS"
    witness "$RECORDS" $((RECORDS * runs))
    end "$WORKER"
done
end "$PRODUCER"
((died * 2 > runs)) || fail "only $died of $runs workers died of it: the sweep proves nothing"
verdict "$runs runs, the worker died at its Nth call in $died of them, $((runs * RECORDS)) records applied once"
