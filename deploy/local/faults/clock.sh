#!/usr/bin/env bash
# Clocks that are wrong: the worker's a hundred days ahead, then the producer's an hour behind, then each with the other. Leases and
# due times are the database's, so nothing may change.
#
# Needs TEST_DATABASE_URL and TEST_AMQP_URL (services.sh urls).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
RECORDS=500
: "${TEST_DATABASE_URL:?}" "${TEST_AMQP_URL:?}"
needs faketime faketime curl curl

database=muster_faults_$$
psql -Xq -c "create database $database template template0" "$TEST_DATABASE_URL"
at_end "psql -Xq -c 'drop database if exists $database with (force)' '$TEST_DATABASE_URL'"
settings "$(sed -E "s#^([a-z]+://[^/?]*)(/[^?]*)?#\1/$database#" <<<"$TEST_DATABASE_URL")" "$TEST_AMQP_URL"
prepare
runs=0
# The clock of a process: how far it is off.
off() { [[ $1 == 0 ]] && echo env || echo faketime -f "$1"; }
for clocks in '0 +100d' '-1h 0' '+100d -1h' '-100d +100d'; do
    read -r of_producer of_worker <<<"$clocks"
    # shellcheck disable=SC2046  # a command and its arguments
    producer $(off "$of_producer")
    # shellcheck disable=SC2046
    worker $(off "$of_worker")
    runs=$((runs + 1))
    users "$W/users.csv" "$RECORDS" "Run$runs"
    import=$(upload "$W/users.csv" "run$runs") || die "the upload was not accepted"
    # Another worker takes over what the first one held, whatever its clock says.
    kill -KILL "$WORKER" $(pgrep -P "$WORKER") 2>/dev/null || true
    worker
    ended "$import" 90 || break
    whole "$import" "$RECORDS"
    witness "$RECORDS" $((RECORDS * runs))
    end "$WORKER"
    pkill -TERM -P "$PRODUCER" || true
    end "$PRODUCER"
done
verdict "$runs pairs of wrong clocks, $((runs * RECORDS)) records applied once"
