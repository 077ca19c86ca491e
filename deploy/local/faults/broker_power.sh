#!/usr/bin/env bash
# The power of the broker's machine is cut while files are imported: all that it has not synced to the disk is gone. Every accepted
# upload must come whole, every record applied once, within SOON seconds of the broker's return. Persistent messages that were
# confirmed to a publisher must be there again. The control sends messages that are not persistent, and must lose some.
#
#   ROUNDS=20 broker_power.sh
#
# As root: a loop device with ext4, and its "going down" call. Needs TEST_DATABASE_URL (services.sh urls).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
ROUNDS=${ROUNDS:-3} LOAD=${LOAD:-4} RECORDS=400 SOON=${SOON:-60}
((EUID == 0)) || die "needs root for the loop device"
: "${TEST_DATABASE_URL:?}"
needs mkfs.ext4 e2fsprogs curl curl python3 python3

mount_image() { mount -o loop "$W/image" "$W/mount"; }
NODE=$W/mount/broker
broker() { (unset TEST_AMQP_URL && MUSTER_SERVICES_DIR=$NODE "$ROOT/deploy/local/services.sh" "$@") >>"$W/services.log" 2>&1 9>&-; }
at_end "broker down rabbitmq; umount '$W/mount' || umount -l '$W/mount'"
truncate -s 900M "$W/image"
mkfs.ext4 -q "$W/image"
mkdir -p "$W/mount"
mount_image
chmod 755 "$W/mount"
mkdir -p "$NODE"
broker up rabbitmq || die "RabbitMQ does not start: $(tail -n 3 "$W/services.log")"
amqp=$(sed -n "s/^TEST_AMQP_URL='\{0,1\}\([^']*\).*/\1/p" "$NODE/env")

# All processes of the node, by the mark that services.sh gives them: remembered while it can still be asked.
node_pids() { grep -zlxF "MUSTER_SERVICE=$NODE" /proc/[0-9]*/environ 2>/dev/null | sed -E 's#/proc/([0-9]+)/.*#\1#'; }
power_cut() {
    local pids pid
    mapfile -t pids < <(node_pids)
    python3 -c "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))" "$W/mount"
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    umounts() { umount "$W/mount" 2>/dev/null; }
    until_ok 30 umounts || die "the file system is still in use"
    mount_image
}
# publish NAME PERSISTENT: messages until the broker is gone; prints how many were confirmed.
cat >"$W/amqp.py" <<'PY'
"""A publisher with confirms of AMQP 0-9-1, by hand: no client library is needed. publish URL QUEUE PERSISTENT | count URL QUEUE"""
import os, socket, struct, sys
from urllib.parse import urlparse, unquote
what, url, queue = sys.argv[1:4]
at = urlparse(url)
s = socket.create_connection((at.hostname, at.port)); s.settimeout(20)
buffer = b''
def exactly(n):
    global buffer
    while len(buffer) < n:
        piece = s.recv(65536)
        if not piece: raise ConnectionError
        buffer += piece
    out, buffer = buffer[:n], buffer[n:]
    return out
def frame():
    kind, channel, size = struct.unpack('>BHI', exactly(7))
    payload = exactly(size); exactly(1)
    return kind, payload
def method(cls, number):
    while True:
        kind, payload = frame()
        if kind == 1 and struct.unpack('>HH', payload[:4]) == (cls, number): return payload[4:]
def send(kind, channel, payload): s.sendall(struct.pack('>BHI', kind, channel, len(payload)) + payload + b'\xce')
short = lambda text: bytes([len(text)]) + text.encode()
long = lambda data: struct.pack('>I', len(data)) + data
call = lambda channel, cls, number, args=b'': send(1, channel, struct.pack('>HH', cls, number) + args)
s.sendall(b'AMQP\0\0\x09\x01'); method(10, 10)
login = b'\0' + unquote(at.username).encode() + b'\0' + unquote(at.password).encode()
call(0, 10, 11, long(b'') + short('PLAIN') + long(login) + short('en_US'))
method(10, 30); call(0, 10, 31, struct.pack(">HIH", 100, 131072, 0)); call(0, 10, 40, short('/') + short('') + b'\0'); method(10, 41)
call(1, 20, 10, short('')); method(20, 11)
def declare():
    # durable; no other mark
    call(1, 50, 10, struct.pack('>H', 0) + short(queue) + bytes([2]) + long(b''))
    answer = method(50, 11)
    return struct.unpack('>II', answer[1 + answer[0]:])[0]
if what == 'count':
    print(declare()); sys.exit()
declare(); call(1, 85, 10, b'\0'); method(85, 11)
mode = 2 if sys.argv[4] == 'yes' else 1
sent = confirmed = 0
try:
    while True:
        for _ in range(20):
            body = b'x' * 200
            call(1, 60, 40, struct.pack('>H', 0) + short('') + short(queue) + b'\0')
            send(2, 1, struct.pack('>HHQHB', 60, 0, len(body), 0x1000, mode)); send(3, 1, body)
            sent += 1
        while confirmed < sent:
            kind, payload = frame()
            if kind == 1 and struct.unpack('>HH', payload[:4]) == (60, 80):
                tag, many = struct.unpack('>QB', payload[4:13])
                confirmed = tag if many else confirmed + 1
                # In place of the file, so that a reader never finds it empty.
                open(sys.argv[5] + '.new', 'w').write(str(confirmed)); os.replace(sys.argv[5] + '.new', sys.argv[5])
except OSError:
    pass
PY

settings_of_round() {
    database=muster_faults_$$_$1
    psql -Xq -c "create database $database template template0" "$TEST_DATABASE_URL"
    at_end "psql -Xq -c 'drop database if exists $database with (force)' '$TEST_DATABASE_URL'"
    settings "$(sed -E "s#^([a-z]+://[^/?]*)(/[^?]*)?#\1/$database#" <<<"$TEST_DATABASE_URL")" "$amqp"
}
total=0 lost_by_control=0 confirmed_in_all=0
for ((round = 1; round <= ROUNDS; round++)); do
    settings_of_round "$round"
    prepare
    producer
    worker
    : >"$W/accepted"
    stop=$W/stop-$round
    (
        n=0
        while [[ ! -e $stop ]]; do
            n=$((n + 1))
            users "$W/load.csv" "$RECORDS" Name "load$n-"
            if id=$(upload "$W/load.csv" "load$n" 20); then echo "$id" >>"$W/accepted"; fi
        done
    ) &
    load=$!
    publishers=()
    for persistent in yes no; do
        echo 0 >"$W/confirmed-$persistent"
        python3 "$W/amqp.py" publish "$amqp" "probe-$round-$persistent" "$persistent" "$W/confirmed-$persistent" &
        publishers+=($!)
    done
    under_way() { (($(<"$W/confirmed-yes") > 100 && $(<"$W/confirmed-no") > 100)) && [[ -s $W/accepted ]]; }
    until_ok 90 under_way || die "nothing is under way: $(wc -l <"$W/accepted") uploads accepted"
    sync -f "$W/mount"
    sleep "$LOAD"
    power_cut
    wait "${publishers[@]}" || true
    sleep 1
    broker up rabbitmq || die "RabbitMQ does not start after the cut: $(tail -n 3 "$W/services.log")"
    back=$SECONDS
    touch "$stop"
    wait "$load" || true
    count=0
    while read -r id; do
        ended "$id" "$SOON" || continue
        whole "$id" "$RECORDS"
        count=$((count + 1))
    done <"$W/accepted"
    took=$((SECONDS - back))
    ((count > 0)) || fail "round $round: nothing was accepted"
    witness $((count * RECORDS)) $((count * RECORDS))
    for persistent in yes no; do
        confirmed=$(<"$W/confirmed-$persistent")
        there=$(python3 "$W/amqp.py" count "$amqp" "probe-$round-$persistent")
        missing=$((confirmed > there ? confirmed - there : 0))
        say "round $round: of $confirmed confirmed messages (persistent: $persistent) $missing are lost"
        if [[ $persistent == yes ]]; then
            ((missing == 0)) || fail "round $round: $missing persistent messages that were confirmed are lost"
            ((confirmed > 0)) || fail "round $round: no message was confirmed"
            confirmed_in_all=$((confirmed_in_all + confirmed))
        else
            lost_by_control=$((lost_by_control + missing))
        fi
    done
    say "round $round: $count accepted uploads are whole $took s after the broker was back"
    total=$((total + count))
    end "$PRODUCER"
    end "$WORKER"
done
((lost_by_control > 0)) || fail "the control lost nothing: the cut is none"
verdict "$ROUNDS power cuts of the broker, $total accepted uploads whole, of $confirmed_in_all persistent confirmed messages none lost; the control lost $lost_by_control"
