# What the scripts of this folder share: a work folder, a PostgreSQL of one's own, the services, imports and the oracle.
# Sourced, not run. Everything listens on loopback or in a network namespace of its own, and ends with its script.
# shellcheck shell=bash
# shellcheck disable=SC2034  # names that the scripts use

set -euo pipefail
FAULTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
ROOT=$(cd "$FAULTS/../../.." && pwd -P)
PROGRAM=${FAULTS_PROGRAM:-${CARGO_TARGET_DIR:-$ROOT/target}/debug/muster}
NAME=$(basename "$0" .sh)
W=$(mktemp -d "${TMPDIR:-/tmp}/muster-faults.XXXXXX")
chmod 755 "$W"
PIDS=()
FAILURES=()
IN=() # how to get to where the services run: a network namespace, for one

say() { printf '%s: %s\n' "$NAME" "$*"; }
die() {
    say "error: $*" >&2
    exit 2
}

# ---- Processes ------------------------------------------------------------------------------------------------------

# A pid with the moment its process began: a recycled pid is never hit.
began() { awk '{sub(/.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null || true; }
remember() { PIDS+=("$1:$(began "$1")"); }
end() { # PID [SIGNAL]: ends a process that this script started, and waits for it
    local pid=$1 signal=${2:-TERM} entry
    for entry in "${PIDS[@]}"; do
        [[ $entry == "$pid:"* && $(began "$pid") == "${entry#*:}" && -n ${entry#*:} ]] || continue
        kill "-$signal" "$pid" 2>/dev/null || true
        for _ in $(seq 300); do
            [[ $(began "$pid") == "${entry#*:}" && $(state_of "$pid") != Z ]] || break
            sleep 0.1
        done
        wait "$pid" 2>/dev/null || true
    done
}
state_of() { awk '{sub(/.*\) /, ""); print $1}' "/proc/$1/stat" 2>/dev/null || echo gone; }
lives() { [[ $(state_of "$1") != [ZX] && $(state_of "$1") != gone ]]; }
cleanups=()
at_end() { cleanups+=("$1"); } # a command for the end, the last one first
finish() {
    local rc=$? entry i
    trap '' INT TERM HUP
    set +e
    for entry in "${PIDS[@]}"; do [[ $(began "${entry%%:*}") != "${entry#*:}" ]] || kill -KILL "${entry%%:*}" 2>/dev/null; done
    for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do eval "${cleanups[i]}" >/dev/null 2>&1; done
    if ((rc == 0 && ${#FAILURES[@]} == 0)) || [[ -z ${KEEP:-} ]]; then rm -rf "$W"; else say "kept: $W"; fi
    exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    FAILURES+=("$*")
    say "WRONG: $*"
}
# The last line of a script: what it came to.
verdict() {
    if ((${#FAILURES[@]})); then
        echo "FAILED $NAME: ${#FAILURES[@]} wrong of: $*"
        exit 1
    fi
    echo "PASSED $NAME: $*"
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# until_ok SECONDS COMMAND…: repeats it until it succeeds.
until_ok() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}
needs() { # COMMAND PACKAGE…
    local -a missing=()
    while (($#)); do
        command -v "$1" >/dev/null || [[ -x /usr/sbin/$1 ]] || missing+=("$2")
        shift 2
    done
    ((${#missing[@]} == 0)) || "$ROOT/deploy/local/services.sh" apt-install "${missing[@]}" >&2
}
PATH=$PATH:/usr/sbin:/sbin

# ---- A PostgreSQL of one's own --------------------------------------------------------------------------------------

PGB=$(pg_config --bindir 2>/dev/null || ls -d /usr/lib/postgresql/*/bin | tail -1)
pg() { # as the user that may run it
    if ((EUID == 0)); then setpriv --reuid postgres --regid postgres --clear-groups -- "$@"; else "$@"; fi
}
# pg_create DIR PORT [SETTING…]: a new server; nothing is started.
pg_create() {
    local dir=$1 port=$2 setting
    shift 2
    mkdir -p "$dir"
    if ((EUID == 0)); then chown postgres "$dir"; fi
    chmod 700 "$dir"
    pg "$PGB/initdb" -D "$dir/d" -A trust -U muster --no-locale -E UTF8 --no-sync >/dev/null
    {
        printf "port = %s\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n" "$port"
        printf "shared_buffers = 32MB\nmax_connections = 60\nlog_min_messages = warning\n"
        for setting in "$@"; do printf '%s\n' "$setting"; done
    } >>"$dir/d/postgresql.conf"
}
# pg_start DIR: starts it, and waits until it answers. Its postmaster's pid is in PG_PID.
pg_start() {
    local dir=$1
    (
        cd /
        exec 9>&-
        if ((EUID == 0)); then
            exec "${IN[@]}" setpriv --reuid postgres --regid postgres --clear-groups -- "$PGB/postgres" -D "$dir/d"
        else
            exec "${IN[@]}" "$PGB/postgres" -D "$dir/d"
        fi
    ) >>"$W/postgres-$(basename "$dir").log" 2>&1 </dev/null &
    PG_PID=$!
    remember "$PG_PID"
    disown "$PG_PID"
    local port
    port=$(sed -n 's/^port = //p' "$dir/d/postgresql.conf" | tail -1)
    pg_answers() { "${IN[@]}" "$PGB/pg_isready" -q -h 127.0.0.1 -p "$port" || ! lives "$PG_PID"; }
    until_ok 60 pg_answers && lives "$PG_PID"
}
sql() { # SQL: against DATABASE_URL
    "${IN[@]}" psql -XqAt -v ON_ERROR_STOP=1 -c "$1" "$DATABASE_URL"
}

# ---- The services ---------------------------------------------------------------------------------------------------

# settings DATABASE_URL [AMQP_URL]: what the services of this script run with.
settings() {
    export DATABASE_URL=$1
    if [[ -n ${2:-} ]]; then export AMQP_URL=$2; else unset AMQP_URL; fi
    HTTP=127.0.0.1:$(free_port)
    export MUSTER_HTTP_LISTEN=$HTTP MUSTER_BROKER_PREFIX=faults_$$_$RANDOM MUSTER_DATABASE_MAX_CONNECTIONS=8
    export MUSTER_WORKER_CONCURRENCY=2 MUSTER_INTAKE_CHUNK_RECORDS=${CHUNK:-50} MUSTER_DISPATCH_LEASE=5s
    export MUSTER_WORKER_BACKOFF_INITIAL=200ms MUSTER_WORKER_BACKOFF_MAX=2s
    unset FAILPOINTS MUTANT FAULT_NOTES
}
# prepare: migrates, and makes a tenant's token.
prepare() {
    [[ -x $PROGRAM ]] || die "no program $PROGRAM: cargo build --workspace --all-features, or set FAULTS_PROGRAM"
    "${IN[@]}" "$PROGRAM" migrate --log warn >"$W/migrate.log" 2>&1 || die "cannot migrate: $(cat "$W/migrate.log")"
    "${IN[@]}" "$PROGRAM" tenant create default >/dev/null 2>&1 || true
    TOKEN=$("${IN[@]}" "$PROGRAM" token create --name faults --scope import:write --scope import:read 2>/dev/null | grep -o 'mst_[^ ]*' | head -1)
}
# service NAME [WRAPPER…]: starts it; its pid is in SERVICE.
service() {
    local name=$1
    shift
    "${IN[@]}" "$@" "$PROGRAM" "$name" --log info >>"$W/$name.log" 2>&1 </dev/null &
    SERVICE=$!
    remember "$SERVICE"
    disown "$SERVICE" # or the shell tells of every death
}
answers() { "${IN[@]}" curl -fsS -o /dev/null "http://$HTTP/healthz" 2>/dev/null; }
producer() { service producer "$@" && PRODUCER=$SERVICE && until_ok 60 answers; }
worker() { service worker "$@" && WORKER=$SERVICE; }

# ---- Imports and what must have become of them ----------------------------------------------------------------------

# users FILE COUNT NAME [PREFIX]: a file of that many users. The same prefix again is the same users.
users() {
    awk -v n="$2" -v name="$3" -v prefix="${4:-user}" \
        'BEGIN { print "email,first_name"; for (i = 0; i < n; i++) printf "%s%d@example.com,%s\n", prefix, i, name }' >"$1"
}
# upload FILE KEY [SECONDS]: sends it until it is accepted; prints the import's id.
upload() {
    local file=$1 key=$2 deadline=$((SECONDS + ${3:-90})) answer
    while :; do
        answer=$("${IN[@]}" curl -sS -m 20 -w '\n%{http_code}' "http://$HTTP/v1/imports?format=csv" -H "authorization: Bearer $TOKEN" \
            -H 'content-type: text/csv' -H "idempotency-key: $key" --data-binary "@$file" 2>/dev/null) || true
        if [[ ${answer##*$'\n'} == 202 ]]; then
            grep -o '"id":"[^"]*"' <<<"$answer" | head -1 | cut -d'"' -f4
            return 0
        fi
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}
import_state() { sql "select state from imports where id = '$1'" 2>/dev/null || true; }
# ended ID SECONDS: waits until it is completed.
ended() {
    completed() { [[ $(import_state "$1") == completed ]]; }
    until_ok "$2" completed "$1" || {
        fail "import $1 is $(import_state "$1") after $2 s"
        return 1
    }
}
# whole ID RECORDS: every record has exactly one outcome, and none failed.
whole() {
    local got
    got=$(sql "select coalesce(sum(records), 0), coalesce(sum(inserted + updated + skipped), 0), coalesce(sum(pending + failed), 0)
                 from chunks where import_id = '$1'")
    [[ $got == "$2|$2|0" ]] || fail "import $1 of $2 records came to records|applied|rest $got"
}
# witness USERS VERSIONS: each write counts its user's version up, so a record that was applied twice shows.
witness() {
    local got
    got=$(sql "select count(*), coalesce(sum(version), 0) from users")
    [[ $got == "$1|$2" ]] || fail "users|versions are $got, not $1|$2"
}
