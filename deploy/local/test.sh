#!/usr/bin/env bash
# The whole check in one go: installs what is missing, starts PostgreSQL and RabbitMQ, runs the static checks and every
# test against them, and stops what it started, on failure and on Ctrl-C too.
#
#   test.sh            everything (make test)
#   test.sh --check    the static checks alone: no server, no test (make check)
#
# Every step runs even when an earlier one failed; the exit code is the tests', or 1 when only another step failed.
# TEST_DATABASE_URL and TEST_AMQP_URL in the environment name servers to use instead of private ones.
# MUSTER_TOOLS: folder for the cargo tools this installs (default: the user's cache folder).
# shellcheck disable=SC2317  # the functions that `step` and the traps call
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$HERE/../.."

NEXTEST_VERSION=0.9.143
DENY_VERSION=0.20.2
TOOLS=${MUSTER_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/muster/tools}
PATH=$TOOLS/bin:$PATH
command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
export PATH

check_only=0
case ${1:-} in
'') ;;
--check) check_only=1 ;;
*)
    sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac

results=()
failed=0
scratch=$(mktemp -d)

# step NAME COMMAND…: runs it, notes how it went, goes on.
step() {
    local name=$1 rc=0 began=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" || rc=$?
    if ((rc == 0)); then
        results+=("ok      $name ($((SECONDS - began)) s)")
    else
        results+=("FAILED  $name (exit code $rc, $((SECONDS - began)) s)")
        failed=1
    fi
    return $rc
}
not_run() {
    results+=("NOT RUN $1: $2")
    failed=1
}

# cargo_tool NAME VERSION: there already, or built once into the cache folder.
cargo_tool() {
    command -v "$1" >/dev/null || cargo install --locked "$1" --version "$2" --root "$TOOLS"
}

# The arrows of ARCHITECTURE.md between the crates, as cargo sees them; what only tests depend on may point anywhere.
arrows() {
    local wrong=0 crate expected found
    while read -r crate expected; do
        found=$(direct "$crate" | tr '\n' ' ')
        [[ ${found% } == "$expected" ]] || {
            echo "$crate depends on: ${found:-nothing}; ARCHITECTURE.md draws: ${expected:-nothing}"
            wrong=1
        }
    done <<'ARROWS'
muster-domain
muster-runtime muster-domain
muster-queue muster-domain muster-runtime
muster-store muster-domain muster-runtime
muster-engine
muster-producer muster-domain muster-queue muster-runtime muster-store
muster-worker muster-domain muster-queue muster-runtime muster-store
muster-cli muster-domain muster-engine muster-producer muster-queue muster-runtime muster-store muster-worker
ARROWS
    if tree -p muster-domain | grep -E '^(tokio|sqlx|lapin|axum) '; then
        echo "these are in the tree of the domain: cargo tree -p muster-domain -e normal"
        wrong=1
    fi
    found=$(tree --workspace -i sqlx --depth 1 | sed -n 's/^\(muster-[a-z]*\) .*/\1/p' | sort -u | tr '\n' ' ')
    [[ $found == "muster-engine muster-queue muster-store muster-testkit " ]] || {
        echo "sqlx is a dependency of: $found"
        wrong=1
    }
    return $wrong
}
tree() { cargo tree --locked --all-features --target all --edges normal --prefix none --format '{p}' "$@"; }
direct() { tree -p "$1" --depth 1 | sed -n "/^$1 /d; s/^\\(muster-[a-z]*\\) .*/\\1/p" | sort -u; }


# Two TLS providers in one process can panic at the first connection; ring is the one.
one_tls_provider() {
    local tree
    tree=$(cargo tree --locked --workspace --all-features --target all --prefix none --format '{p}') || return 1
    if grep -E '^aws-lc-(rs|sys) ' <<<"$tree"; then
        echo "aws-lc is in the dependency graph: cargo tree --workspace --all-features --target all -i aws-lc-rs"
        return 1
    fi
}

# The container is built with the toolchain that everything was tested with.
container_toolchain() {
    local pinned
    pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    grep -qx "ARG RUST_VERSION=$pinned" deploy/container/Containerfile || {
        echo "deploy/container/Containerfile does not name the toolchain $pinned of rust-toolchain.toml"
        return 1
    }
}

# Each alert is made to fire once, and is silent where nothing is wrong.
alerts() {
    promtool check rules deploy/prometheus/rules.yml && promtool check config deploy/prometheus/prometheus.yml &&
        promtool test rules deploy/prometheus/rules_test.yml
}

# Links in comments lead somewhere, and code in them is marked as such.
documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --all-features --no-deps; }

# What clients were generated from stays as it is, and what is told of a break is what breaks.
api_breaks() { "$HERE/api_breaks.py" --self-test && "$HERE/api_breaks.py"; }

# Files of one crate use each other one way.
circles() { "$HERE/circles.py" --self-test && "$HERE/circles.py"; }

checks() {
    step "format" cargo fmt --all --check || true
    step "clippy" cargo clippy --locked --workspace --all-features --all-targets -- -D warnings || true
    step "documentation" documentation || true
    step "arrows between the crates" arrows || true
    step "one TLS provider" one_tls_provider || true
    step "the container's toolchain" container_toolchain || true
    step "docs/reliability.md is up to date, and its tests exist" "$HERE/reliability.sh" --check || true
    step "cited rules are in docs/contracts" "$HERE/contracts.sh" || true
    step "links and names in the documents" "$HERE/links.sh" || true
    step "metrics and fields of log lines are described" "$HERE/names.sh" || true
    step "shell scripts" "$HERE/shellcheck.sh" || true
    if command -v python3 >/dev/null; then
        step "the API breaks no client" api_breaks || true
        step "no circle of files" circles || true
        step "sizes of files and functions" "$HERE/sizes.py" || true
        step "dependencies that nothing uses" "$HERE/unused.py" || true
        step "queries in .sqlx" "$HERE/queries.py" || true
    else
        results+=("skipped the API breaks no client, circles, sizes, dependencies, queries: there is no python3; deploy/local/services.sh install brings it")
    fi
    if command -v promtool >/dev/null; then
        step "alerts" alerts || true
    else
        results+=("skipped alerts: there is no promtool; deploy/local/services.sh install brings it")
    fi
    if step "cargo-deny is there" cargo_tool cargo-deny "$DENY_VERSION"; then
        step "bans, licences, sources" cargo deny --all-features check bans licenses sources || true
    else
        not_run "bans, licences, sources" "no cargo-deny"
    fi
}

# On a full disk tests fail for reasons that say nothing: RabbitMQ takes no more messages, and PostgreSQL stops.
room_on_the_disks() {
    local target=${CARGO_TARGET_DIR:-target} needed=4 short=0 folder free
    [[ -d $target/debug/deps ]] || needed=18 # a first build
    mkdir -p "$target" .services
    for folder in "$target" .services; do
        free=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1048576) }')
        ((free >= needed)) || {
            echo "$folder: $needed GiB must be free on its disk, and $free are: remove what you do not need there, and start again"
            short=1
        }
    done
    return $short
}

# Which servers the tests run against, by their own answer. A server that does not answer fails here, not in a hundred tests.
backends() {
    local bundled
    "$HERE/services.sh" versions >"$scratch/backends" || return 1
    bundled=$(sed -n '/^name = "pglite-rs-lib/{s/.*"\(.*\)"/\1/;N;s/\nversion = "\(.*\)"/ \1/p}' Cargo.lock | tr '\n' ',')
    echo "bundled engine: ${bundled:-none in this version}" >>"$scratch/backends"
    cat "$scratch/backends"
}

# Ignored tests run as well; otherwise nobody would notice one that is left out.
tests() {
    local -a run=(cargo nextest run --locked --workspace --all-features --run-ignored all)
    if [[ -t 1 ]]; then
        "${run[@]}"
    else
        "${run[@]}" 2>&1 | tee "$scratch/nextest"
    fi
}

# The program as the tests build it, on a database of its own: contract tests and clients talk to it.
start_server() {
    local env
    cargo build --locked --workspace --all-features || return 1
    "$HERE/server.sh" up "${CARGO_TARGET_DIR:-target}/debug/muster" >"$scratch/server" 8>&- || return 1
    env=$(<"$scratch/server")
    set -a
    eval "$env"
    set +a
    server_started=1
}

# Clients of the three systems, in their own languages; each says how it went.
clients() { "$HERE/../../tests/clients/run.sh"; }

# The short kill soak: a flood of duplicates, a broker that is away with its data gone, and 60 kills, by a fixed seed and by a
# random one; then its database is damaged on purpose, and the comparison must see all of that. About two minutes; the time that it
# may take is for busy machines. Evidence of what was wrong stays in .services/soak.
kill_soak() {
    local built=${CARGO_TARGET_DIR:-target}/debug
    stop_soak
    rm -rf .services/soak
    "$built/muster-soak" --program "$built/muster" --dir .services/soak --seed 20251126,random \
        --flood 50000 --broker-away 30 --kills 60 --minutes 6 --every 0.7 --most 8000 --settle 300 --spoil 8>&-
}
# Servers of a soak that was itself killed.
stop_soak() {
    local server
    for server in postgres rabbitmq; do
        [[ ! -d .services/soak/$server ]] ||
            MUSTER_SERVICES_DIR=.services/soak/$server "$HERE/services.sh" down "$server" --purge 8>&- || true
    done
}

# What ran before this script did is left running.
stop_services() {
    local service
    stop_soak
    [[ -z ${server_started:-} ]] || "$HERE/server.sh" down 8>&- || true
    server_started=
    local -a ours=()
    [[ -n ${services_started:-} ]] || return 0
    for service in postgres rabbitmq; do
        [[ $service == postgres && -n ${given_database:-} ]] && continue
        [[ $service == rabbitmq && -n ${given_amqp:-} ]] && continue
        [[ " $before " == *" $service "* ]] || ours+=("$service")
    done
    services_started=
    ((${#ours[@]} == 0)) || "$HERE/services.sh" down "${ours[@]}" 8>&-
}

at_exit() {
    local rc=$?
    trap '' INT TERM HUP # let the servers be stopped in peace
    stop_services || rc=1
    rm -rf "$scratch"
    exit "$rc"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

summary() {
    printf '\n== summary\n'
    printf '%s\n' "${results[@]}"
    if [[ -s $scratch/backends ]]; then
        printf 'tested against: %s\n' "$(paste -sd ';' "$scratch/backends" | sed 's/;/; /g')"
    fi
    # The summary of nextest again, so that the end of a long log has everything.
    if [[ -s $scratch/nextest ]]; then sed -n '/^ *Summary \[/,$p' "$scratch/nextest"; fi
}

if ((check_only)); then
    checks
    summary
    exit $failed
fi

mkdir -p .services
exec 8>.services/test.lock
flock -n 8 || {
    echo "another test run is going on in this checkout; waiting for it"
    flock 8
}

if ! step "room on the disks" room_on_the_disks; then
    summary
    exit 1
fi

tests_rc=1
if step "install what is missing" "$HERE/services.sh" install; then
    step "cargo-nextest is there" cargo_tool cargo-nextest "$NEXTEST_VERSION" || true
fi
# Where it is missing, the tests of the console fail and say so.
if step "a browser for the tests of the console" "$HERE/browser.sh" install; then
    eval "$("$HERE/browser.sh" env)"
fi
checks

given_database=${TEST_DATABASE_URL:-}
given_amqp=${TEST_AMQP_URL:-}
before=$("$HERE/services.sh" running | tr '\n' ' ')
services_started=1
if step "start the services" "$HERE/services.sh" up 8>&-; then
    urls=$("$HERE/services.sh" urls)
    set -a
    eval "$urls"
    set +a
    if step "which backends" backends; then
        step ".sqlx is what the database says" "$HERE/sqlx-prepare.sh" --look || true
        step "doc tests" cargo test --locked --workspace --all-features --doc || true
        tests_rc=0
        if step "start Muster" start_server; then
            step "tests" tests || tests_rc=$?
            step "clients" clients || true
            step "nothing private is left behind" "$HERE/canary.sh" || true
            # `make soak` is the long form.
            step "kill soak" kill_soak || true
        else
            not_run "tests" "Muster does not start"
        fi
    else
        not_run "tests" "a server does not answer"
    fi
else
    not_run "tests" "no servers"
fi

stop_services || failed=1
summary
((tests_rc == 0)) || exit $tests_rc
exit $failed
