#!/usr/bin/env bash
# PostgreSQL's disk is full for a while, then its write-ahead log's disk (which stops the server): uploads are refused or wait,
# nothing is half accepted, no chunk dies, and everything goes on when there is room again.
#
# As root: two small file systems in memory. The queue is PostgreSQL's rows.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
FULL=${FULL:-10} RECORDS=2000
((EUID == 0)) || die "needs root for the file systems"
needs curl curl

for part in data wal; do
    mkdir -p "$W/$part"
    mount -t tmpfs -o "size=$([[ $part == data ]] && echo 160m || echo 96m)" tmpfs "$W/$part"
    at_end "umount '$W/$part' || umount -l '$W/$part'"
    chown postgres "$W/$part"
done
port=$(free_port)
pg "$PGB/initdb" -D "$W/data/d" --waldir="$W/wal/w" -A trust -U muster --no-locale -E UTF8 --no-sync >/dev/null
printf "port = %s\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nshared_buffers = 16MB\nmin_wal_size = 32MB\nmax_wal_size = 32MB\nmax_connections = 60\n" \
    "$port" >>"$W/data/d/postgresql.conf"
pg_start "$W/data" || die "PostgreSQL does not start"
settings "postgres://muster@127.0.0.1:$port/postgres"
# Few attempts: an outage must not spend any.
export MUSTER_WORKER_ATTEMPTS=2
prepare
producer
worker
ballast() { # PART BYTES_LEFT
    fallocate -l $(($(df --output=avail -B1 "$W/$1" | tail -1) - $2)) "$W/$1/ballast"
}

sent=0
# send: one upload, as a client that does not give up.
send() {
    sent=$((sent + 1))
    users "$W/users-$sent.csv" "$RECORDS" Name "disk$sent-"
    upload "$W/users-$sent.csv" "disk$sent" 120 >"$W/id-$sent" || fail "upload $sent was never accepted"
}
send
for part in data wal; do
    ballast "$part" "$([[ $part == data ]] && echo 1000000 || echo 1000)"
    waiting=()
    for _ in 1 2 3; do
        sent=$((sent + 1))
        users "$W/users-$sent.csv" "$RECORDS" Name "disk$sent-"
        (upload "$W/users-$sent.csv" "disk$sent" 120 >"$W/id-$sent" || true) &
        waiting+=($!)
    done
    # The files alone are too small to fill it up for certain.
    for _ in 1 2 3; do
        sql "create table filler_$part as select repeat('x', 900) from generate_series(1, 60000)" >/dev/null 2>&1 || true
        sleep $((FULL / 3))
    done
    if lives "$PG_PID"; then state="the server lives"; else state="the server has stopped"; fi
    full=$(grep -c 'No space left on device' "$W/postgres-data.log" || true)
    ((full > 0)) || fail "$part: the disk was never full"
    rm -f "$W/$part/ballast"
    lives "$PG_PID" || pg_start "$W/data" || die "PostgreSQL does not start again"
    sql "drop table if exists filler_$part"
    wait "${waiting[@]}" || true
    say "$part full for $FULL s: $full complaints of the server, $state"
    : >"$W/postgres-data.log"
done
for ((n = 1; n <= sent; n++)); do
    id=$(<"$W/id-$n")
    if [[ -z $id ]]; then
        fail "upload $n was never accepted"
        continue
    fi
    ended "$id" 120 || continue
    whole "$id" "$RECORDS"
done
witness $((sent * RECORDS)) $((sent * RECORDS))
[[ $(sql "select count(*) from imports where state = 'completed'") == "$sent" ]] || fail "more imports than files"
verdict "$sent uploads before and while the disks were full, all of them whole, no chunk dead"
