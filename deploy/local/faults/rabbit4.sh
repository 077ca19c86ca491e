#!/usr/bin/env bash
# RabbitMQ 4 instead of Debian's 3.10: the tests of the queue, then a short kill soak, against a node of Debian trixie.
#
#   MINUTES=2 SEED=7 rabbit4.sh
#
# As root. Debian trixie's RabbitMQ is installed once, by debootstrap and apt, into .services/rabbit4 (ignored by git, about 500 MB) and
# run from there in a mount namespace of its own; nothing is installed in the system. RABBIT4_MIRROR names the mirror (default: that
# of the system's own apt sources).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
MINUTES=${MINUTES:-2} SEED=${SEED:-7}
((EUID == 0)) || die "needs root for the mount namespace"
needs debootstrap debootstrap unshare util-linux
TREE=$ROOT/.services/rabbit4

mirror() {
    local found
    found=$(sed -nE 's/^(URIs: *|deb (\[[^]]*\] )?)(https?:[^ ]+).*/\3/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        grep -v security | head -1)
    printf '%s\n' "${RABBIT4_MIRROR:-${found:-http://deb.debian.org/debian}}"
}
# The wrapper that services.sh takes for RabbitMQ's own folder of programs: the same program inside of the tree. The data folder is
# bound to the same path in there, in a namespace that ends with the process.
wrapper() {
    mkdir -p "$TREE/run-from-outside"
    cat >"$TREE/run-from-outside/inside" <<'INSIDE'
#!/usr/bin/env bash
set -euo pipefail
tree=$1 program=$2 home=$HOME
shift 2
mkdir -p "$tree$home"
mount --bind "$home" "$tree$home"
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
exec chroot "$tree" /usr/bin/env -C "$home" "$program" "$@"
INSIDE
    local program
    for program in rabbitmq-server rabbitmqctl; do
        cat >"$TREE/run-from-outside/$program" <<OUTSIDE
#!/usr/bin/env bash
exec unshare --mount --propagation private '$TREE/run-from-outside/inside' '$TREE' '$INNER/$program' "\$@"
OUTSIDE
    done
    chmod 755 "$TREE"/run-from-outside/*
}
install_tree() {
    INNER=$(cd "$TREE" 2>/dev/null && ls -d usr/lib/rabbitmq/lib/rabbitmq_server-4*/sbin 2>/dev/null | head -1 || true)
    if [[ -z $INNER || ! -e $TREE/ready ]]; then
        say "installing RabbitMQ 4 from $(mirror) into .services/rabbit4"
        rm -rf "$TREE"
        debootstrap --variant=minbase trixie "$TREE" "$(mirror)" >"$W/debootstrap.log" 2>&1 ||
            die "debootstrap of trixie from $(mirror) failed: $(tail -n 3 "$W/debootstrap.log")"
        cp /etc/resolv.conf /etc/hosts "$TREE/etc/"
        # The system's own settings of apt (a proxy, a clock that is no authority) hold in there too.
        cp /etc/apt/apt.conf.d/[0-9]* "$TREE/etc/apt/apt.conf.d/" 2>/dev/null || true
        printf '#!/bin/sh\nexit 101\n' >"$TREE/usr/sbin/policy-rc.d" # nothing is started in there
        chmod 755 "$TREE/usr/sbin/policy-rc.d"
        DEBIAN_FRONTEND=noninteractive chroot "$TREE" sh -c \
            'apt-get -q update && apt-get -q -y install --no-install-recommends rabbitmq-server' >"$W/apt.log" 2>&1 ||
            die "RabbitMQ cannot be installed in the tree: $(tail -n 3 "$W/apt.log")"
        INNER=$(cd "$TREE" && ls -d usr/lib/rabbitmq/lib/rabbitmq_server-4*/sbin | head -1)
        [[ -n $INNER ]] || die "the tree has no RabbitMQ 4"
        : >"$TREE/ready"
    fi
    INNER=/$INNER
}
install_tree
wrapper

# ---- The tests of the queue ------------------------------------------------------------------------------------------

NODE=$ROOT/.services/rabbit4-node
# Not in the environment of the tests: the program under test refuses settings that it does not know.
services() { env -u TEST_DATABASE_URL -u TEST_AMQP_URL MUSTER_SERVICES_DIR="$NODE" MUSTER_RABBITMQ_SBIN="$TREE/run-from-outside" \
    "$ROOT/deploy/local/services.sh" "$@"; }
at_end "services down --purge"
services up >"$W/up.log" 2>&1 || die "the servers do not start: $(tail -n 5 "$W/up.log")"
set -a
eval "$(services urls)"
set +a
version=$(services versions | tail -1)
[[ $version == "RabbitMQ 4."* ]] || die "the broker is $version"
say "the broker is $version"
cd "$ROOT" || exit 2
PATH=${MUSTER_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/muster/tools}/bin:$PATH
if [[ -z ${WITHOUT_TESTS:-} ]]; then
    # By the queue's contract, and whatever of the pipeline depends on the broker's ways.
    cargo nextest run --locked --workspace --all-features --no-fail-fast -E \
        'binary(queue_contract) | (binary(pipeline) & test(/rabbit/)) | (binary(faults) & test(rabbit::publish))' \
        >"$W/tests.log" 2>&1 || true
    summary=$(grep -E '^ *Summary \[' "$W/tests.log" || true)
    say "the tests: ${summary:-did not run: $(tail -n 3 "$W/tests.log")}"
    [[ $summary == *" passed"* && $summary != *" failed"* && $summary != *"timed out"* ]] || {
        grep -E '^ +(FAIL|TIMEOUT|SIG)' "$W/tests.log" | sort -u | while read -r line; do say "$line"; done
        fail "tests of the queue"
    }
fi
services down --purge >/dev/null 2>&1

# ---- The kill soak ---------------------------------------------------------------------------------------------------

soak=$(dirname "$PROGRAM")/muster-soak
[[ -x ${FAULTS_SOAK:-$soak} ]] || die "no program $soak: cargo build --workspace --all-features, or set FAULTS_SOAK"
MUSTER_RABBITMQ_SBIN=$TREE/run-from-outside "${FAULTS_SOAK:-$soak}" --program "$PROGRAM" --dir "$W/soak" --seed "$SEED" --minutes "$MINUTES" --every 2 --most 6000 \
    >"$W/soak.log" 2>&1 || fail "the kill soak: $(grep -E 'VIOLATION|not reached|Error' "$W/soak.log" | head -5 || true)"
while read -r line; do say "$line"; done < <(grep -E '^  (records|faults|SIGKILLs)|until work|: [0-9]+ times' "$W/soak.log" || true)
verdict "$version: the queue's tests and $MINUTES minutes of kills, nothing was wrong"
