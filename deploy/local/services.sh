#!/usr/bin/env bash
# The two servers that tests and benchmarks run against, private to this checkout: a PostgreSQL and a RabbitMQ on free
# ports of 127.0.0.1, with everything they write under .services/. Linux with Debian's packages; no container engine.
#
#   services.sh install                      install what is missing (Debian packages; root or sudo)
#   services.sh up     [postgres] [rabbitmq] start what does not run yet, wait till it answers, print the URLs
#   services.sh down   [postgres] [rabbitmq] [--purge]
#                                            stop what `up` started; --purge also removes the data
#   services.sh status                       what runs, where; exit code 3 unless everything does
#   services.sh urls                         print TEST_DATABASE_URL and TEST_AMQP_URL (also in .services/env)
#   services.sh ctl ARGUMENTS…               rabbitmqctl for the private node
#   services.sh running                      the names of the servers that `up` started and that still run
#   services.sh versions                     the servers' versions, asked of the servers themselves
#
# TEST_DATABASE_URL or TEST_AMQP_URL in the environment: that server is used and none is started in its place.
# MUSTER_SERVICES_DIR      another folder than .services
# MUSTER_PG_BINDIR         folder of initdb and postgres     (default: the newest in /usr/lib/postgresql)
# MUSTER_RABBITMQ_SBIN     folder of rabbitmq-server         (default: the newest in /usr/lib/rabbitmq/lib)
#
# PostgreSQL runs with its durable defaults (fsync, full_page_writes, synchronous_commit on); only sizes are set.
# Ports and passwords are kept with the data, so a server that died comes back at the same URL.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
DIR=${MUSTER_SERVICES_DIR:-$ROOT/.services}
SELF=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/$(basename "${BASH_SOURCE[0]}")
SERVICES=(postgres rabbitmq)
CLEAN_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

say() { printf 'services: %s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}
# A server that did not start says why in its log: show the end of it.
die_with_log() {
    local log=$1
    shift
    say "error: $*"
    if [[ -s $log ]]; then
        say "the end of $log:"
        tail -n 30 "$log" | sed 's/^/    /' >&2
    fi
    exit 1
}

# ---- Processes ----------------------------------------------------------------------------------------------------
# A pid file holds "pid start-time boot-id": together they name one process for ever, so a recycled pid is never hit.

proc_start() {
    local stat rest
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    rest=${stat##*) } # the fields after "(command)", which itself may hold spaces and brackets
    local -a field
    read -ra field <<<"$rest"
    # A zombie is dead; in a container nobody may come to reap it.
    [[ ${field[0]} != [ZX] ]] || return 1
    printf '%s\n' "${field[19]}"
}
remember() {
    local name=$1 pid=$2 start
    start=$(proc_start "$pid") || return 1
    printf '%s %s %s\n' "$pid" "$start" "$(cat /proc/sys/kernel/random/boot_id)" >"$DIR/$name.pid"
}
# Prints the pid when the process that was remembered under this name still runs.
pid_of() {
    local pid start boot
    [[ -s $DIR/$1.pid ]] || return 1
    read -r pid start boot <"$DIR/$1.pid" || return 1
    [[ $boot == "$(cat /proc/sys/kernel/random/boot_id)" && $(proc_start "$pid") == "$start" ]] || return 1
    printf '%s\n' "$pid"
}
alive() { pid_of "$1" >/dev/null; }

wait_gone() {
    local name=$1 tenths=$(($2 * 10))
    while alive "$name"; do
        ((tenths-- > 0)) || return 1
        sleep 0.1
    done
}
# end_process NAME SIGNAL SECONDS: asks with SIGNAL, insists with KILL when it is not gone in time.
end_process() {
    local name=$1 signal=$2 seconds=$3 pid
    if pid=$(pid_of "$name"); then
        kill -s "$signal" "$pid" 2>/dev/null || true
        kill -s CONT "$pid" 2>/dev/null || true # a frozen process cannot follow a polite signal
        if ! wait_gone "$name" "$seconds"; then
            say "$name did not stop within ${seconds}s: killing it"
            if pid=$(pid_of "$name"); then kill -s KILL "$pid" 2>/dev/null || true; fi
            wait_gone "$name" 10 || die "$name cannot be killed (pid file $DIR/$name.pid)"
        fi
    fi
    rm -f "$DIR/$name.pid"
}

# Server processes whose parent was killed outlive it for a moment. PostgreSQL's have the data folder as working
# folder (and only the user they run as may always look); RabbitMQ's carry our mark in their environment.
postgres_leftovers() {
    [[ -d $DIR/postgres/data ]] || return 0
    # shellcheck disable=SC2016  # expanded by the inner shell
    as_pg "$BASH" -c 'for p in /proc/[0-9]*; do
        [[ $(readlink "$p/cwd" 2>/dev/null) == "$1" && $(cat "$p/comm" 2>/dev/null) == postgres ]] || continue
        [[ $(cat "$p/stat" 2>/dev/null) == *") Z "* ]] || echo "${p#/proc/}"
    done; true' find "$(pg_home)/data"
}
rabbitmq_leftovers() {
    local file pid
    # -z: the variables in there end in a null byte. Other users' processes are none of ours and stay unread.
    while IFS= read -r file; do
        pid=${file#/proc/}
        pid=${pid%/environ}
        if proc_start "$pid" >/dev/null; then echo "$pid"; fi
    done < <(grep -zlxF "MUSTER_SERVICE=$DIR" /proc/[0-9]*/environ 2>/dev/null)
}
end_leftovers() {
    local service=$1 i pid
    for ((i = 0; i < 100; i++)); do
        [[ -n $("${service}_leftovers") ]] || return 0
        sleep 0.1
    done
    for pid in $("${service}_leftovers"); do
        say "$service left process $pid behind: killing it"
        kill -s KILL "$pid" 2>/dev/null || true
    done
}

# ---- Ports, passwords, folders ------------------------------------------------------------------------------------

port_free() {
    # Columns 2 and 4 of the socket tables: local address and state (0A listens).
    ! awk -v want="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == want { hit = 1 }
        END { exit !hit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}
# Below the range that outgoing connections take theirs from, so none of those can sit on the port first.
new_port() {
    local port i
    for ((i = 0; i < 200; i++)); do
        port=$((15000 + RANDOM % 16000))
        if port_free "$port"; then
            printf '%s\n' "$port"
            return 0
        fi
    done
    die "found no free port between 15000 and 31000"
}
# port_for NAME: the port used last time while it is free, else a new one.
port_for() {
    local port=
    [[ -s $DIR/$1.port ]] && read -r port <"$DIR/$1.port"
    if [[ -z $port ]] || ! port_free "$port"; then
        port=$(new_port)
        printf '%s\n' "$port" >"$DIR/$1.port"
    fi
}
port() { cat "$DIR/$1.port"; }

secret() {
    [[ -s $DIR/secret ]] || (umask 077 && head -c 18 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' >"$DIR/secret")
    cat "$DIR/secret"
}

# place NAME USER: makes $DIR/NAME a folder that USER can reach. Where the checkout is closed to that user, or has a
# blank in its path (which RabbitMQ's scripts do not bear), the folder lies in the temporary folder and is linked.
place() {
    local link=$DIR/$1 user=$2 base target
    [[ -d $link ]] && return 0
    rm -f "$link" # a link whose folder was cleaned away
    if [[ $DIR != *[[:space:]]* ]] && as_user "$user" test -x "$DIR"; then
        mkdir -m 700 "$link"
    else
        for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
            [[ $base != *[[:space:]]* ]] && as_user "$user" test -x "$base" && break
            base=
        done
        [[ -n $base ]] || die "user $user can reach neither $DIR nor a temporary folder"
        target=$(mktemp -d "$base/muster-$1.XXXXXX")
        ln -s "$target" "$link"
    fi
    [[ $user == "$(id -un)" ]] || chown "$user:" "$link/"
}
unplace() {
    local link=$DIR/$1
    if [[ -L $link && -d $link ]]; then rm -rf -- "$(readlink -f "$link")"; fi
    rm -rf -- "$link"
}

# ---- PostgreSQL ---------------------------------------------------------------------------------------------------

# By its real path: where $DIR/postgres is a link, the server's user cannot go through $DIR.
pg_home() { readlink -f "$DIR/postgres"; }
# PostgreSQL refuses to run as root.
pg_user() { if ((EUID == 0)); then echo postgres; else id -un; fi; }
as_user() {
    local user=$1
    shift
    if [[ $user == "$(id -un)" ]]; then "$@"; else setpriv --reuid="$user" --regid="$user" --init-groups "$@"; fi
}
as_pg() { as_user "$(pg_user)" "$@"; }

pg_bindir() {
    local found
    found=${MUSTER_PG_BINDIR:-$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)}
    [[ -x $found/postgres && -x $found/initdb ]] || found=$(dirname "$(command -v postgres || true)")
    [[ -x $found/postgres && -x $found/initdb ]] && printf '%s\n' "$found"
}
postgres_url() { printf 'postgres://muster:%s@127.0.0.1:%s/postgres\n' "$(secret)" "$(port postgres)"; }
postgres_running() { alive postgres; }

init_postgres() {
    local bin=$1 home=$2 log=$DIR/postgres.log fresh=$2/fresh password=$2/password
    [[ -s $home/data/PG_VERSION ]] && return 0
    rm -rf "$fresh" "$password"
    (umask 077 && secret >"$password")
    chown "$(pg_user):" "$password"
    (cd / && as_pg "$bin/initdb" --pgdata="$fresh" --username=muster --pwfile="$password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8) >>"$log" 2>&1 9>&- ||
        die_with_log "$log" "initdb failed"
    rm -f "$password"
    mv "$fresh" "$home/data"
}

start_postgres() {
    local bin home data version pid log=$DIR/postgres.log attempt
    bin=$(pg_bindir) || die "PostgreSQL's server is not installed: run $0 install"
    ((EUID != 0)) || id postgres >/dev/null 2>&1 || die "running as root needs a user named postgres: run $0 install"
    : >"$log"
    place postgres "$(pg_user)"
    home=$(pg_home)
    data=$home/data
    init_postgres "$bin" "$home"
    version=$(cat "$data/PG_VERSION")
    [[ $("$bin/postgres" --version) =~ \ "$version"([^0-9]|$) ]] ||
        die "the data in $data is of PostgreSQL $version, the server is another: $0 down --purge"
    # After a kill the old server's processes need a moment to notice; starting beside them would be refused.
    end_leftovers postgres
    # PostgreSQL takes the pid in its lock file for alive while anything has it: a zombie that no parent reaps, or a
    # stranger. No process of the server is left here, so that lock is void.
    pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null || true)
    if [[ -n $pid && -e /proc/$pid ]]; then rm -f "$data/postmaster.pid"; fi
    for attempt in 1 2 3; do
        port_for postgres
        # shellcheck disable=SC2016  # expanded by the inner shell
        (cd / && exec setsid env -i PATH="$CLEAN_PATH" LANG=C.UTF-8 "$BASH" -c '
            user=$1; shift
            if [[ $user == "$(id -un)" ]]; then exec "$@"; fi
            exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"' start "$(pg_user)" \
            "$bin/postgres" -D "$data" -p "$(port postgres)" \
            -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c logging_collector=off \
            -c max_connections=200 -c shared_buffers=512MB -c max_wal_size=4GB) \
            </dev/null >>"$log" 2>&1 9>&- &
        remember postgres $! || true
        if wait_postgres "$bin"; then
            say "PostgreSQL started on port $(port postgres), log in $log"
            return 0
        fi
        end_process postgres INT 20
        # Someone may have taken the port between the choice and the start.
        grep -q 'could not create any TCP/IP sockets' "$log" || break
        rm -f "$DIR/postgres.port"
    done
    die_with_log "$log" "PostgreSQL did not start (attempt $attempt)"
}
wait_postgres() {
    local i
    for ((i = 0; i < 300; i++)); do
        alive postgres || return 1
        # A cold start after a crash replays its log first; only an answered query counts.
        "$1/psql" -XqAt -c 'select 1' "$(postgres_url)?connect_timeout=2" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    return 1
}
stop_postgres() {
    end_process postgres INT 60 # fast shut-down: roll back, checkpoint, exit
    end_leftovers postgres
}

# ---- RabbitMQ -----------------------------------------------------------------------------------------------------

rabbitmq_sbin() {
    local found
    found=${MUSTER_RABBITMQ_SBIN:-$(printf '%s\n' /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin | sort -V | tail -n 1)}
    # The packaged /usr/sbin/rabbitmq-server insists on a system user and on the system's folders: not that one.
    [[ -x $found/rabbitmq-server && -x $found/rabbitmqctl ]] && printf '%s\n' "$found"
}
epmd_program() {
    local found
    found=$(command -v epmd || printf '%s\n' /usr/lib/erlang/erts-*/bin/epmd | sort -V | tail -n 1)
    [[ -x $found ]] && printf '%s\n' "$found"
}
rabbitmq_url() {
    printf 'amqp://muster:%s@127.0.0.1:%s/%%2f?heartbeat=10\n' "$(secret)" "$(port rabbitmq)"
}
rabbitmq_running() { alive rabbitmq; }

# Becomes a program of RabbitMQ's, with nothing of the caller's environment: the system's configuration, a cookie in the
# home folder or a RABBITMQ_… variable must not reach a private node.
exec_rabbitmq() {
    local home=$DIR/rabbitmq
    home=$(readlink -f "$home")
    cd "$home"
    exec env -i PATH="$CLEAN_PATH" LANG=C.UTF-8 HOME="$home" \
        ERL_EPMD_PORT="$(port epmd)" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_BASE="$home" RABBITMQ_NODENAME=muster@localhost RABBITMQ_DIST_PORT="$(port distribution)" \
        RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/log" RABBITMQ_SCHEMA_DIR="$home/schema" \
        RABBITMQ_GENERATED_CONFIG_DIR="$home/generated" RABBITMQ_PID_FILE="$home/node.pid" \
        RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_CONFIG_FILES="$home/conf.d" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" RABBITMQ_CONF_ENV_FILE="$home/env.conf" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        RABBITMQ_CTL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' "$@"
}
rabbitmqctl() { (exec_rabbitmq "$(rabbitmq_sbin)/rabbitmqctl" -q "$@") </dev/null 9>&-; }

configure_rabbitmq() {
    local home=$DIR/rabbitmq
    # A start has its own log, so that what it failed on is at the end; the one before is kept.
    rm -rf "$home/log.before"
    [[ ! -d $home/log ]] || mv "$home/log" "$home/log.before"
    mkdir -p "$home"/{data,log,schema,generated,conf.d}
    : >"$home/env.conf"
    echo '[].' >"$home/enabled_plugins"
    echo '[].' >"$home/advanced.config"
    if [[ ! -s $home/.erlang.cookie ]]; then
        head -c 30 /dev/urandom | base64 | tr -dc 'A-Za-z' >"$home/.erlang.cookie"
    fi
    chmod 400 "$home/.erlang.cookie"
    (umask 077 && cat >"$home/rabbitmq.conf") <<CONF
listeners.tcp.1 = 127.0.0.1:$(port rabbitmq)
default_user = muster
default_pass = $(secret)
log.file.level = info
CONF
}

start_epmd() {
    (exec_rabbitmq MUSTER_SERVICE="$DIR" setsid "$(epmd_program)" -port "$(port epmd)" -address 127.0.0.1) \
        </dev/null >>"$DIR/rabbitmq.log" 2>&1 9>&- &
    remember epmd $! || true
}
# A node that misses its epmd starts another and registers there, within a minute: that one is ours as well.
adopt_epmd() {
    local pid
    alive epmd && return 0
    for pid in $(rabbitmq_leftovers); do
        if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == epmd ]]; then
            remember epmd "$pid"
            return
        fi
    done
    return 1
}
# Clients do not notice that epmd is gone, rabbitmqctl does: bring it back without disturbing the node.
mend_rabbitmq() {
    local i
    adopt_epmd && return 0
    start_epmd
    for ((i = 0; i < 80; i++)); do
        if rabbitmqctl await_startup --timeout 5 >/dev/null 2>&1; then
            say "rabbitmq: started its epmd again"
            return 0
        fi
        sleep 1
    done
    say "rabbitmq: does not find its new epmd, so it is started anew"
    start_rabbitmq
}

start_rabbitmq() {
    local sbin out=$DIR/rabbitmq.log attempt
    sbin=$(rabbitmq_sbin) || die "RabbitMQ is not installed: run $0 install"
    epmd_program >/dev/null || die "Erlang's epmd is not installed: run $0 install"
    : >"$out"
    place rabbitmq "$(id -un)"
    stop_rabbitmq # what a killed node left behind
    for attempt in 1 2 3; do
        port_for rabbitmq
        port_for distribution
        port_for epmd
        configure_rabbitmq
        rm -f "$DIR/rabbitmq/node.pid"
        start_epmd # first: otherwise the node would start one that nobody knows the pid of
        (exec_rabbitmq MUSTER_SERVICE="$DIR" setsid "$sbin/rabbitmq-server") </dev/null >>"$out" 2>&1 9>&- &
        if wait_rabbitmq $!; then
            say "RabbitMQ started on port $(port rabbitmq), log in $DIR/rabbitmq/log"
            return 0
        fi
        stop_rabbitmq
        grep -qE 'eaddrinuse|already in use' "$out" "$DIR"/rabbitmq/log/* 2>/dev/null || break
        rm -f "$DIR"/{rabbitmq,distribution,epmd}.port
    done
    die_with_log "$out" "RabbitMQ did not start (attempt $attempt)"
}

# amqp_version HOST PORT: the product and version a broker names in its greeting.
amqp_version() {
    local greeting
    greeting=$(
        exec 2>/dev/null 3<>"/dev/tcp/$1/$2" || exit 1
        printf 'AMQP\0\0\11\1' >&3
        timeout 3 dd bs=4096 count=1 <&3 | tr -c '[:print:]' ' '
    ) || return 1
    # Field names and values stand in the greeting as text between length octets: "product" S "RabbitMQ" …
    [[ $greeting =~ product\ *S[^A-Za-z0-9]*([A-Za-z0-9]+) ]] || return 1
    printf '%s ' "${BASH_REMATCH[1]}"
    [[ $greeting =~ version\ *S[^A-Za-z0-9]*([0-9][0-9A-Za-z.+~-]*) ]] || return 1
    printf '%s\n' "${BASH_REMATCH[1]}"
}

wait_rabbitmq() {
    local launcher=$1 i pid
    for ((i = 0; i < 600; i++)); do
        proc_start "$launcher" >/dev/null && alive epmd || return 1
        if ! alive rabbitmq && [[ -s $DIR/rabbitmq/node.pid ]]; then
            read -r pid <"$DIR/rabbitmq/node.pid" || true
            remember rabbitmq "$pid" || true
        fi
        # rabbitmqctl costs a second of work: ask it only once the port answers. It fails at once while the node is
        # not registered, hence the loop around it.
        if alive rabbitmq && amqp_version 127.0.0.1 "$(port rabbitmq)" >/dev/null &&
            rabbitmqctl await_startup --timeout 60 >/dev/null 2>&1; then
            return 0
        fi
        sleep 0.2
    done
    return 1
}
stop_rabbitmq() {
    adopt_epmd || true
    end_process rabbitmq TERM 60 # Erlang takes it as an orderly stop
    end_process epmd TERM 10
    end_leftovers rabbitmq
}

# ---- Commands -----------------------------------------------------------------------------------------------------

missing_packages() {
    pg_bindir >/dev/null && command -v psql >/dev/null || echo postgresql
    rabbitmq_sbin >/dev/null && epmd_program >/dev/null || echo rabbitmq-server
    command -v setsid >/dev/null && command -v setpriv >/dev/null && command -v flock >/dev/null || echo util-linux
    command -v awk >/dev/null || echo mawk
    command -v make >/dev/null || echo make
    command -v shellcheck >/dev/null || echo shellcheck
    command -v cc >/dev/null || echo gcc libc6-dev
    # What the clients of tests/clients are written in, and what starts the server they talk to.
    command -v curl >/dev/null || echo curl
    command -v openssl >/dev/null || echo openssl
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3 python3-venv
    command -v node >/dev/null && command -v npm >/dev/null || echo nodejs npm
    # The alerts: promtool checks them, and a Prometheus scrapes the programs of the tests.
    command -v promtool >/dev/null && command -v prometheus >/dev/null || echo prometheus
}

install_missing() {
    local -a packages sudo=()
    mapfile -t packages < <(missing_packages | tr ' ' '\n')
    if ((${#packages[@]} == 0)); then
        say "nothing to install"
        return 0
    fi
    command -v apt-get >/dev/null ||
        die "missing: ${packages[*]} (names of Debian's packages), and there is no apt-get here to install them"
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            die "missing: ${packages[*]}. Install them as root: apt-get install --no-install-recommends ${packages[*]}"
        sudo=(sudo)
        [[ -t 0 ]] || sudo=(sudo -n) # nobody there to type a password
    fi
    say "installing ${packages[*]}"
    "${sudo[@]}" "$BASH" "$SELF" apt-install "${packages[@]}" ||
        die "installing failed. By hand, as root: apt-get install --no-install-recommends ${packages[*]}"
    mapfile -t packages < <(missing_packages)
    ((${#packages[@]} == 0)) || die "still missing after the installation: ${packages[*]}"
}

# As root. Packages of servers start them at once, as system services; policy-rc.d is Debian's way to say no.
apt_install() {
    local policy=/usr/sbin/policy-rc.d kept=
    ((EUID == 0)) || die "apt-install is for root"
    export DEBIAN_FRONTEND=noninteractive
    if [[ -e $policy || -L $policy ]]; then
        kept=$policy.muster-kept
        [[ -e $kept ]] || mv "$policy" "$kept" # left there by an interrupted run: that one is the original
    fi
    # shellcheck disable=SC2064  # the paths of now
    trap "rm -f '$policy'; [[ -z '$kept' ]] || mv '$kept' '$policy'" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    local -a get=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    "${get[@]}" install --no-install-recommends "$@" </dev/null && return 0
    # Most often the lists are absent or older than the mirror.
    "${get[@]}" update </dev/null
    "${get[@]}" install --no-install-recommends "$@" </dev/null
}

given() {
    case $1 in
    postgres) printf '%s' "${TEST_DATABASE_URL:-}" ;;
    rabbitmq) printf '%s' "${TEST_AMQP_URL:-}" ;;
    esac
}
url_of() {
    if [[ -n $(given "$1") ]]; then
        given "$1"
    elif "${1}_running"; then
        "${1}_url"
    fi
}
# A line that shells and readers of .env files take alike: quoted only where it must be.
assignment() {
    if [[ $2 =~ ^[A-Za-z0-9:/@%?=._~+-]*$ ]]; then printf '%s=%s\n' "$@"; else printf '%s=%q\n' "$@"; fi
}
write_env() {
    local database amqp
    database=$(url_of postgres)
    amqp=$(url_of rabbitmq)
    (
        umask 077
        {
            [[ -z $database ]] || assignment TEST_DATABASE_URL "$database"
            [[ -z $amqp ]] || assignment TEST_AMQP_URL "$amqp"
        } >"$DIR/env.new"
    )
    mv "$DIR/env.new" "$DIR/env"
}

up() {
    local service
    for service in "$@"; do
        if [[ -n $(given "$service") ]]; then
            say "$service: the environment names one, none started"
        elif "${service}_running"; then
            say "$service: runs already on port $(port "$service")"
            [[ $service != rabbitmq ]] || mend_rabbitmq
        else
            "start_$service"
        fi
    done
    write_env
    cat "$DIR/env"
}
down() {
    local service was
    for service in "$@"; do
        was="was not running"
        if alive "$service"; then was=stopped; fi
        "stop_$service"
        if ((purge)); then
            unplace "$service"
            rm -f "$DIR/$service.port" "$DIR/$service.log"
        fi
        say "$service: $was"
    done
    if ((purge)) && ! [[ -e $DIR/postgres || -e $DIR/rabbitmq ]]; then
        rm -f "$DIR"/{env,secret,distribution.port,epmd.port}
    else
        write_env
    fi
}
status() {
    local service pid rc=0
    for service in "$@"; do
        if [[ -n $(given "$service") ]]; then
            echo "$service: named by the environment"
        elif "${service}_running" && pid=$(pid_of "$service"); then
            echo "$service: running, pid $pid, port $(port "$service")"
        else
            echo "$service: not running"
            rc=3
        fi
    done
    return $rc
}
urls() {
    local database amqp
    database=$(url_of postgres)
    amqp=$(url_of rabbitmq)
    [[ -n $database && -n $amqp ]] || die "not everything runs: $0 up"
    assignment TEST_DATABASE_URL "$database"
    assignment TEST_AMQP_URL "$amqp"
}
running() {
    local service
    for service in "$@"; do
        if alive "$service"; then echo "$service"; fi
    done
}
versions() {
    local url authority
    url=$(url_of postgres)
    [[ -z $url ]] || printf 'PostgreSQL %s\n' "$(psql -XqAt -c 'show server_version' "$url")"
    url=$(url_of rabbitmq)
    if [[ -n $url ]]; then
        authority=${url#*://}
        authority=${authority%%[/?]*}
        authority=${authority##*@}
        [[ $authority == *:* ]] || authority+=:5672
        amqp_version "${authority%:*}" "${authority##*:}" || die "no AMQP 0-9-1 broker answers at $authority"
    fi
}

usage() { sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "$SELF"; }

main() {
    local command=${1:-help} argument
    local -a chosen=()
    purge=0
    shift || true
    if [[ $command == apt-install ]]; then
        apt_install "$@"
        return
    fi
    if [[ $command == ctl ]]; then
        rabbitmq_running || die "RabbitMQ does not run: $0 up"
        rabbitmqctl "$@"
        return
    fi
    for argument in "$@"; do
        case $argument in
        postgres | rabbitmq) chosen+=("$argument") ;;
        --purge) purge=1 ;;
        *) die "unknown argument $argument (see $0 help)" ;;
        esac
    done
    ((${#chosen[@]})) || chosen=("${SERVICES[@]}")
    case $command in
    install) install_missing ;;
    up | down)
        mkdir -p "$DIR"
        DIR=$(cd "$DIR" && pwd -P)
        ((EUID != 0)) || chmod 711 "$DIR" # the postgres user passes through; what is private is so by its own mode
        exec 9>"$DIR/lock"
        flock -w 300 9 || die "another services.sh has been at work in $DIR for five minutes"
        "$command" "${chosen[@]}"
        ;;
    status | running) "$command" "${chosen[@]}" ;;
    urls | versions) "$command" ;;
    help | -h | --help) usage ;;
    *) die "unknown command $command (see $0 help)" ;;
    esac
}
main "$@"
