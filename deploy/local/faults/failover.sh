#!/usr/bin/env bash
# The database fails over to its standby while files are uploaded and applied: the primary is killed, the standby promoted, and
# DATABASE_URL names both. With a synchronous standby each accepted upload must be complete, with every record applied once.
#
#   ROUNDS=5 failover.sh
#
# The queue is RabbitMQ where TEST_AMQP_URL is set, else PostgreSQL's rows.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
ROUNDS=${ROUNDS:-3} LOAD=${LOAD:-4} RECORDS=400
needs curl curl

worst=0 total=0
for ((round = 1; round <= ROUNDS; round++)); do
    a=$(free_port) b=$(free_port)
    pg_create "$W/a$round" "$a" "wal_keep_size = 256MB" "synchronous_standby_names = '*'" "synchronous_commit = on"
    pg_start "$W/a$round" || die "the primary does not start"
    primary=$PG_PID
    mkdir -p "$W/b$round"
    ((EUID != 0)) || chown postgres "$W/b$round"
    pg "$PGB/pg_basebackup" -h 127.0.0.1 -p "$a" -U muster -D "$W/b$round/d" -R -X stream 2>/dev/null
    sed -i "s/^port = .*/port = $b/" "$W/b$round/d/postgresql.conf"
    # The promoted one has no standby to wait for.
    sed -i "s/^synchronous_standby_names = .*/synchronous_standby_names = ''/" "$W/b$round/d/postgresql.conf"
    pg_start "$W/b$round" || die "the standby does not start"
    standby=$PG_PID
    settings "postgres://muster@127.0.0.1:$a,127.0.0.1:$b/postgres" "${TEST_AMQP_URL:-}"
    both=$DATABASE_URL
    DATABASE_URL=postgres://muster@127.0.0.1:$a/postgres
    streams() { [[ $(sql "select count(*) from pg_stat_replication where sync_state = 'sync'" 2>/dev/null) == 1 ]]; }
    until_ok 30 streams || die "the standby does not stream"
    DATABASE_URL=$both
    prepare
    producer
    worker
    : >"$W/accepted"
    stop=$W/stop-$round
    (
        n=0
        while [[ ! -e $stop ]]; do
            users "$W/load.csv" "$RECORDS" Name "load$n-"
            answer=$(curl -sS -m 10 -w '\n%{http_code}' "http://$HTTP/v1/imports?format=csv" -H "authorization: Bearer $TOKEN" \
                -H 'content-type: text/csv' --data-binary "@$W/load.csv" 2>/dev/null) || true
            [[ ${answer##*$'\n'} != 202 ]] || grep -o '"id":"[^"]*"' <<<"$answer" | head -1 | cut -d'"' -f4 >>"$W/accepted"
            n=$((n + 1))
        done
    ) &
    load=$!
    sleep "$LOAD"
    before=$(wc -l <"$W/accepted")
    end "$primary" KILL
    pg "$PGB/pg_ctl" -D "$W/b$round/d" -w promote >/dev/null
    promoted=$SECONDS
    goes_on() { (($(wc -l <"$W/accepted") > before + 1)); }
    until_ok 60 goes_on || fail "round $round: nothing is accepted after the fail-over"
    gap=$((SECONDS - promoted))
    ((gap <= worst)) || worst=$gap
    sleep 2
    touch "$stop"
    wait "$load" || true
    DATABASE_URL=postgres://muster@127.0.0.1:$b/postgres
    while read -r id; do
        ended "$id" 60 || fail "round $round: an accepted upload is lost"
        whole "$id" "$RECORDS"
        total=$((total + 1))
    done <"$W/accepted"
    double=$(sql "select count(*) from users where version <> 1")
    [[ $double == 0 ]] || fail "round $round: $double users were written twice"
    say "round $round: $before uploads accepted before the fail-over, $(wc -l <"$W/accepted") in all; goes on $gap s after the promotion"
    end "$PRODUCER"
    end "$WORKER"
    end "$standby" INT
done
((worst <= 10)) || fail "it takes $worst s until uploads are accepted again"
verdict "$ROUNDS fail-overs to a synchronous standby, $total accepted uploads, none lost; at most $worst s after the promotion"
