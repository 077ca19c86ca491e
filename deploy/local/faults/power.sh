#!/usr/bin/env bash
# The power of PostgreSQL's machine is cut while files are uploaded and applied: all that was not synced to the disk is gone. Each
# upload that was answered 202 must be complete, with every record applied once. The control is the same with fsync = off. It must
# lose something; otherwise the test proves nothing.
#
#   ROUNDS=20 power.sh
#
# As root: a loop device with ext4, and its "going down" call. The queue is PostgreSQL's rows.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
ROUNDS=${ROUNDS:-3} LOAD=${LOAD:-4} RECORDS=400
((EUID == 0)) || die "needs root for the loop device"
needs mkfs.ext4 e2fsprogs curl curl python3 python3

mount_image() { mount -o loop "$W/image" "$W/mount"; }
at_end "umount '$W/mount' || umount -l '$W/mount'"
going_down() { # 2: what is not synced is dropped
    python3 -c "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))" "$W/mount"
}
power_cut() {
    going_down
    local child
    # The children first, by the parent: none of them can write any more.
    for child in $(pgrep -P "$PG_PID"); do kill -KILL "$child" 2>/dev/null || true; done
    end "$PG_PID" KILL
    until_ok 30 umount "$W/mount" || die "the file system is still in use"
    mount_image
    rm -f "$W/mount/a/d/postmaster.pid"
}
fresh() { # SETTING…: a new file system with a new server, and the services on it
    umount "$W/mount" 2>/dev/null || true
    rm -f "$W/image"
    truncate -s 700M "$W/image"
    mkfs.ext4 -q "$W/image"
    mkdir -p "$W/mount"
    mount_image
    chmod 755 "$W/mount"
    port=$(free_port)
    pg_create "$W/mount/a" "$port" "$@"
    pg_start "$W/mount/a" || die "PostgreSQL does not start"
    settings "postgres://muster@127.0.0.1:$port/postgres"
    prepare
    sql checkpoint
    sync -f "$W/mount"
    producer
    worker
    : >"$W/accepted"
}
# Uploads files until it is told to stop; notes each that was answered 202.
load() {
    local n=$1 stop=$2 id answer
    while [[ ! -e $stop ]]; do
        users "$W/load-$n.csv" "$RECORDS" Name "load$n-"
        answer=$(curl -sS -m 10 -w '\n%{http_code}' "http://$HTTP/v1/imports?format=csv" -H "authorization: Bearer $TOKEN" \
            -H 'content-type: text/csv' --data-binary "@$W/load-$n.csv" 2>/dev/null) || true
        if [[ ${answer##*$'\n'} == 202 ]]; then
            id=$(grep -o '"id":"[^"]*"' <<<"$answer" | head -1 | cut -d'"' -f4)
            echo "$id $n" >>"$W/accepted"
        fi
        n=$((n + 2))
    done
}
# One cut in the middle of the load; false if the server does not come up again.
cut_once() {
    local round=$1 stop=$W/stop-$1 first
    load "${round}000000" "$stop" &
    first=$!
    load "${round}000001" "$stop" &
    sleep "$LOAD"
    power_cut
    touch "$stop"
    wait $first $! || true
    pg_start "$W/mount/a"
}

for ((round = 1; round <= ROUNDS; round++)); do
    fresh
    cut_once "$round" || die "PostgreSQL does not start after the cut"
    count=0 lost=0
    while read -r id _; do
        ended "$id" 60 || lost=$((lost + 1))
        whole "$id" "$RECORDS"
        count=$((count + 1))
    done <"$W/accepted"
    ((count > 0)) || fail "round $round: nothing was accepted before the cut"
    double=$(sql "select count(*) from users where version <> 1")
    [[ $double == 0 ]] || fail "round $round: $double users were written twice"
    say "round $round: $count uploads were accepted before the cut, $lost lost, $double users written twice"
    end "$PRODUCER"
    end "$WORKER"
    end "$PG_PID" INT
done

fresh 'fsync = off'
missing=all
if cut_once 9 2>/dev/null; then
    missing=0
    while read -r id _; do
        [[ -n $(import_state "$id") && $(sql "select coalesce(sum(records), 0) from chunks where import_id = '$id'") == "$RECORDS" ]] ||
            missing=$((missing + 1))
    done <"$W/accepted"
fi
accepted=$(wc -l <"$W/accepted")
say "control (fsync = off): of $accepted accepted uploads $missing are lost"
[[ $missing != 0 ]] || fail "the control loses nothing: the test proves nothing"
verdict "$ROUNDS power cuts of PostgreSQL, no accepted upload lost; the control lost $missing of $accepted"
