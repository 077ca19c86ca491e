#!/usr/bin/env bash
# A worker with little memory: a chunk that is too large for it kills it again and again. That chunk must end dead when its attempts
# are spent, its import must end, no other chunk may be harmed, and with more memory `retry` must bring its records in (V11, F5).
#
#   LIMIT=40M memory.sh
#
# As root: a memory cgroup (version 1 or 2); without one, the address space of the worker is limited by ulimit. Needs
# TEST_DATABASE_URL and TEST_AMQP_URL (services.sh urls).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
LIMIT=${LIMIT:-40M} SMALL=200 LARGE=${LARGE:-24} ATTEMPTS=3
: "${TEST_DATABASE_URL:?}" "${TEST_AMQP_URL:?}"
needs curl curl

# ---- How memory is limited: the first way that works -----------------------------------------------------------------

way=
limit_v1() {
    local root
    root=$(findmnt -t cgroup -n -o TARGET | grep -w memory | head -1)
    [[ -n $root ]] && mkdir "$root/muster-$$" 2>/dev/null && echo "$LIMIT" >"$root/muster-$$/memory.limit_in_bytes" || return 1
    # Swap would only make it slow; where swap is not counted there is none to limit.
    echo "$LIMIT" >"$root/muster-$$/memory.memsw.limit_in_bytes" 2>/dev/null || true
    GROUP=$root/muster-$$ way="a memory cgroup of version 1"
}
limit_v2() {
    local root
    root=$(findmnt -t cgroup2 -n -o TARGET | head -1)
    [[ -n $root ]] && grep -qw memory "$root/cgroup.controllers" && echo +memory >"$root/cgroup.subtree_control" 2>/dev/null &&
        mkdir "$root/muster-$$" && echo "$LIMIT" >"$root/muster-$$/memory.max" || return 1
    echo 0 >"$root/muster-$$/memory.swap.max" 2>/dev/null || true
    GROUP=$root/muster-$$ way="a memory cgroup of version 2"
}
((EUID != 0)) || limit_v1 2>/dev/null || limit_v2 2>/dev/null || true
if [[ -n $way ]]; then
    at_end "rmdir '$GROUP'"
    limited() { service worker bash -c "echo \$\$ >'$GROUP/cgroup.procs' && exec \"\$@\"" limited; }
else
    way="ulimit -v (no memory cgroup can be made here: neither version 1 nor version 2)"
    # Address space is more than memory: threads' stacks and the program itself count.
    limited() { service worker bash -c "ulimit -v ${VIRTUAL:-420000} && exec \"\$@\"" limited; }
fi
say "memory is limited to $LIMIT by $way"

# ---- An import with one large chunk among small ones -----------------------------------------------------------------

database=muster_faults_$$
psql -Xq -c "create database $database template template0" "$TEST_DATABASE_URL"
at_end "psql -Xq -c 'drop database if exists $database with (force)' '$TEST_DATABASE_URL'"
settings "$(sed -E "s#^([a-z]+://[^/?]*)(/[^?]*)?#\1/$database#" <<<"$TEST_DATABASE_URL")" "$TEST_AMQP_URL"
export MUSTER_WORKER_ATTEMPTS=$ATTEMPTS MUSTER_WORKER_CONCURRENCY=1
export MUSTER_INTAKE_CHUNK_BYTES=8MiB MUSTER_INTAKE_CHUNK_RECORDS=100000
prepare
producer
# A neighbour of small records, and a file whose chunks hold LARGE MiB of one record's values each time they are decoded.
users "$W/small.csv" "$SMALL" Small small
python3 - "$W/large.ndjson" "$LARGE" <<'PY'
import json, sys
with open(sys.argv[1], 'w') as out:
    # Each record just below the limit of a record; what repeats itself is small in the message and large in memory.
    for n in range(int(sys.argv[2]) * 20):
        out.write(json.dumps({'email': f'large{n}@example.com', 'metadata': {f'k{i}': 'x' * 900 for i in range(14)}}) + '\n')
PY
curl -sS -m 60 "http://$HTTP/v1/imports?format=ndjson" -H "authorization: Bearer $TOKEN" -H 'idempotency-key: large' \
    -H 'content-type: application/x-ndjson' --data-binary "@$W/large.ndjson" >"$W/large.answer" || true
large=$(grep -o '"id":"[^"]*"' "$W/large.answer" | head -1 | cut -d'"' -f4)
[[ -n $large ]] || die "the large file was not accepted: $(head -c 300 "$W/large.answer")"
small=$(upload "$W/small.csv" small) || die "the small file was not accepted"

# ---- The worker dies of it, and is started again as a supervisor would ------------------------------------------------

deaths=0 deadline=$((SECONDS + 240))
while ((SECONDS < deadline)); do
    limited
    both_ended() { [[ $(import_state "$large") == completed && $(import_state "$small") == completed ]]; }
    until_ok $((deadline - SECONDS)) eval '! lives "$SERVICE" || both_ended' || true
    if lives "$SERVICE"; then break; fi
    deaths=$((deaths + 1))
done
for import in "$large" "$small"; do ended "$import" 1 || true; done
whole "$small" "$SMALL"
dead=$(sql "select count(*) from chunks where import_id = '$large' and state = 'dead'")
chunks=$(sql "select count(*) from chunks where import_id = '$large'")
unexplained=$(sql "select coalesce(sum(failed), 0) - (select count(*) from record_issues where import_id = '$large' and failed)
                     from chunks where import_id = '$large'")
say "the worker died $deaths times; of $chunks chunks of the large import $dead are dead"
((deaths > 0)) || fail "the worker never died of it: LIMIT=$LIMIT is too much, or LARGE=$LARGE too little"
((dead > 0)) || fail "no chunk is dead"
# The note of a worker that died stands for an attempt; what it was not applying costs nothing.
((deaths <= dead * ATTEMPTS + 2)) || fail "$dead chunks of $ATTEMPTS attempts each cost $deaths deaths"
[[ $unexplained == 0 ]] || fail "$unexplained failed records have no error"
end "$SERVICE"

# ---- With enough memory, retry brings it in ----------------------------------------------------------------------------

worker
curl -fsS -o /dev/null -X POST "http://$HTTP/v1/imports/$large/retry" -H "authorization: Bearer $TOKEN" || fail "retry is refused"
brought_in() { [[ $(import_state "$large") == completed && $(sql "select coalesce(sum(pending + failed), 0) from chunks where import_id = '$large'") == 0 ]]; }
until_ok 120 brought_in || fail "retry does not bring the large import in"
witness $((SMALL + LARGE * 20)) $((SMALL + LARGE * 20))
verdict "$deaths deaths of a worker in $LIMIT ($way) ended $dead of $chunks chunks after $ATTEMPTS attempts, the neighbour was unharmed, retry brought all in"
