#!/usr/bin/env bash
# One `muster producer` and one `muster worker` on a database and queues of their own, for the tests that talk to a running
# Muster: the contract tests and the clients of tests/clients. Every test makes a tenant of its own.
#
#   server.sh up PROGRAM    start both from this `muster`, wait till they answer, print how to reach them
#   server.sh down          stop them and drop their database
#   server.sh env           print TEST_MUSTER_URL, TEST_MUSTER_DATABASE_URL and TEST_MUSTER_PROGRAM
#
# Needs TEST_DATABASE_URL and TEST_AMQP_URL (services.sh urls). State, logs and traces lie in .services/server.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
DIR=${MUSTER_SERVICES_DIR:-$HERE/../../.services}/server

die() {
    printf 'server: error: %s\n' "$*" >&2
    exit 1
}

# A pid with the moment its process began: a recycled pid is never hit.
began() { awk '{sub(/.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null; }

start() {
    local name=$1
    shift
    setsid "$@" >"$DIR/$name.log" 2>&1 </dev/null &
    printf '%s %s\n' "$!" "$(began $!)" >"$DIR/$name.pid"
}

stop() {
    local name=$1 pid at
    [[ -s $DIR/$name.pid ]] || return 0
    read -r pid at <"$DIR/$name.pid"
    if [[ $(began "$pid") == "$at" ]]; then
        kill -TERM "$pid"
        for _ in $(seq 300); do
            [[ $(began "$pid") == "$at" ]] || break
            sleep 0.1
        done
        [[ $(began "$pid") != "$at" ]] || kill -KILL "$pid"
    fi
    rm -f "$DIR/$name.pid"
}

with_path() { # URL PATH: the same server, another database
    [[ $1 =~ ^([a-z]+://[^/?]*)(/[^?]*)?(\?.*)?$ ]] || die "TEST_DATABASE_URL is not a URL"
    printf '%s/%s%s' "${BASH_REMATCH[1]}" "$2" "${BASH_REMATCH[3]:-}"
}

# Below the range that outgoing connections take theirs from, as in services.sh.
two_free_ports() {
    python3 -c 'import random, socket
def free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False
ports = filter(free, random.sample(range(15000, 31000), 1000))
print(next(ports), next(ports))'
}

down() {
    local database
    stop worker
    stop producer
    stop collector
    if [[ -s $DIR/database ]]; then
        database=$(<"$DIR/database")
        psql -Xq -c "drop database if exists $database with (force)" "${TEST_DATABASE_URL:?}"
        rm -f "$DIR/database"
    fi
}

up() {
    local program=$1 name port traces
    [[ -x $program ]] || die "there is no program $program"
    : "${TEST_DATABASE_URL:?}" "${TEST_AMQP_URL:?}"
    mkdir -p "$DIR"
    down
    name=muster_server_$$_$RANDOM
    psql -Xq -v ON_ERROR_STOP=1 -c "create database $name template template0" "$TEST_DATABASE_URL"
    printf '%s' "$name" >"$DIR/database"
    read -r port traces < <(two_free_ports)
    DATABASE_URL=$(with_path "$TEST_DATABASE_URL" "$name")
    export DATABASE_URL
    export AMQP_URL=$TEST_AMQP_URL MUSTER_BROKER_PREFIX=$name MUSTER_HTTP_LISTEN=127.0.0.1:$port
    export MUSTER_HTTP_PUBLIC_URL=http://127.0.0.1:$port
    # The suites show wrong credentials by the hundred, all from one address.
    export MUSTER_HTTP_AUTH_FAILURES=1000000 MUSTER_HTTP_TOKEN_FAILURES=1000000
    "$program" migrate --log warn >&2
    # Everything is traced, for canary.sh.
    rm -f "$DIR/traces.json"
    start collector python3 "$HERE/collector.py" "$traces" "$DIR/traces.json"
    export MUSTER_TRACE_ENDPOINT=http://127.0.0.1:$traces MUSTER_TRACE_RATIO=1
    # All that can be logged, for canary.sh.
    local filter=info,muster_producer=trace,muster_worker=trace,muster_runtime=trace,muster_queue=trace,muster_store=trace,muster_engine=trace
    start producer "$program" producer --log "$filter"
    start worker "$program" worker --log "$filter"
    for _ in $(seq 300); do
        if curl -fsS "http://127.0.0.1:$port/readyz" >/dev/null 2>&1; then
            printf 'TEST_MUSTER_URL=%s\nTEST_MUSTER_DATABASE_URL=%s\nTEST_MUSTER_PROGRAM=%s\n' \
                "http://127.0.0.1:$port" "$DATABASE_URL" "$(realpath "$program")" >"$DIR/env"
            cat "$DIR/env"
            return
        fi
        sleep 0.1
    done
    tail -n 20 "$DIR"/*.log >&2
    die "the producer does not answer"
}

case ${1:-} in
up) up "${2:?which program}" ;;
down) down ;;
env) cat "$DIR/env" ;;
*)
    sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
