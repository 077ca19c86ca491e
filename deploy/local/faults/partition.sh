#!/usr/bin/env bash
# Three RabbitMQ nodes, PostgreSQL and Muster in network namespaces of their own. While files are imported the network is cut in
# several shapes, packets are lost, and nodes are killed or frozen. Each time every accepted import must be complete once the
# fault is over, every record applied once, and no message may be left.
#
#   SECONDS_CUT='15 30' SHAPES='alone other ring random loss kill freeze majority all' partition.sh
#
# As root. Nothing outside of the namespaces is touched.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
CUTS=${SECONDS_CUT:-15} RECORDS=2000
SHAPES=${SHAPES:-alone other ring random loss kill freeze majority all}
((EUID == 0)) || die "needs root for the network namespaces"
needs ip iproute2 nft nftables curl curl rabbitmqctl rabbitmq-server
SB=$(dirname "$(dpkg -L rabbitmq-server | grep 'rabbitmq_server-.*/sbin/rabbitmq-server$')")
ID=mf$((RANDOM % 1000))
NET=10.78.$((RANDOM % 200))

# ---- The network: a switch and four hosts; the fourth has PostgreSQL and Muster --------------------------------------

ip netns add "${ID}sw"
at_end "ip netns del ${ID}sw"
ip -n "${ID}sw" link add br0 type bridge
ip -n "${ID}sw" link set br0 up
for n in 1 2 3 4; do
    ip netns add "$ID$n"
    at_end "ip netns del $ID$n; rm -rf /etc/netns/$ID$n"
    ip link add "${ID}v$n" type veth peer name e0 netns "$ID$n"
    ip link set "${ID}v$n" netns "${ID}sw"
    ip -n "${ID}sw" link set "${ID}v$n" master br0 up
    ip -n "$ID$n" link set lo up
    ip -n "$ID$n" addr add "$NET.$n/24" dev e0
    ip -n "$ID$n" link set e0 up
    mkdir -p "/etc/netns/$ID$n"
    {
        echo "127.0.0.1 localhost"
        for k in 1 2 3 4; do echo "$NET.$k mq$k"; done
    } >"/etc/netns/$ID$n/hosts"
done
# shellcheck disable=SC2034  # common.sh uses it
IN=(ip netns exec "${ID}4")
on() { ip netns exec "$ID$1" "${@:2}"; } # NODE COMMAND…

# sever NODE PEER…: the node and these peers hear nothing of each other.
sever() {
    local node=$1 peers
    peers=$(printf "$NET.%s, " "${@:2}")
    on "$node" nft add table inet cut
    on "$node" nft add chain inet cut i '{ type filter hook input priority 0; }'
    on "$node" nft add chain inet cut o '{ type filter hook output priority 0; }'
    on "$node" nft add rule inet cut i ip saddr "{ ${peers%, } }" drop
    on "$node" nft add rule inet cut o ip daddr "{ ${peers%, } }" drop
}
lose() { # NODE PERCENT
    printf 'table inet cut {\n chain i {\n type filter hook input priority 0;\n iifname "e0" numgen random mod 100 < %s drop\n }\n}\n' "$2" >"$W/loss.nft"
    on "$1" nft -f "$W/loss.nft"
}
heal() { for n in 1 2 3 4; do on "$n" nft delete table inet cut 2>/dev/null || true; done; }

# ---- RabbitMQ -------------------------------------------------------------------------------------------------------

export HOME=$W
head -c 20 </dev/urandom | base64 | tr -dc A-Za-z >"$W/.erlang.cookie"
chmod 400 "$W/.erlang.cookie"
echo '[].' >"$W/plugins"
: >"$W/none.conf"
node_env() {
    export RABBITMQ_NODENAME=rl$1@mq$1 RABBITMQ_NODE_PORT=5672 RABBITMQ_DIST_PORT=25672 RABBITMQ_BASE=$W
    export RABBITMQ_MNESIA_BASE=$W/n$1 RABBITMQ_LOG_BASE=$W/n$1/log RABBITMQ_PID_FILE=$W/n$1.pid RABBITMQ_CONFIG_FILE=$W/n$1.conf
    export RABBITMQ_ENABLED_PLUGINS_FILE=$W/plugins RABBITMQ_CONF_ENV_FILE=$W/none.conf
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel net_ticktime 5 +S 1:1'
}
ctl() { (
    node_env "$1"
    on "$1" "$SB/rabbitmqctl" -q -n "rl$1@mq$1" "${@:2}"
); }
start_node() { # also after a kill
    rm -f "$W/n$1.pid"
    (
        node_env "$1"
        cd "$W" || exit
        exec ip netns exec "$ID$1" setsid "$SB/rabbitmq-server" >>"$W/n$1.out" 2>&1 </dev/null
    ) &
    disown $!
    has_pid() { [[ -s $W/n$1.pid ]]; }
    until_ok 60 has_pid "$1" || die "node $1 does not start: $(tail -n 3 "$W/n$1.out")"
    NODE[$1]=$(<"$W/n$1.pid")
    remember "${NODE[$1]}"
}
declare -a NODE
kill_node() { kill -KILL "${NODE[$1]}"; }
at_end "for n in 1 2 3; do ip netns pids $ID\$n | xargs -r kill -KILL; done"
for n in 1 2 3; do
    mkdir -p "$W/n$n/log"
    {
        echo "cluster_formation.peer_discovery_backend = rabbit_peer_discovery_classic_config"
        for k in 1 2 3; do echo "cluster_formation.classic_config.nodes.$k = rl$k@mq$k"; done
        printf 'cluster_partition_handling = pause_minority\nvm_memory_high_watermark.absolute = 1GB\n'
        printf 'disk_free_limit.absolute = 50MB\nraft.wal_max_size_bytes = 64000000\nloopback_users = none\n'
    } >"$W/n$n.conf"
    start_node "$n"
    sleep 1
done
running() { ctl "$1" await_online_nodes 3 --timeout 20 >/dev/null 2>&1; }
until_ok 120 running 1 || die "the three nodes do not come together"

# ---- PostgreSQL and Muster ------------------------------------------------------------------------------------------

port=15432
pg_create "$W/pg" "$port"
pg_start "$W/pg" || die "PostgreSQL does not start"
settings "postgres://muster@127.0.0.1:$port/postgres" "amqp://guest:guest@$NET.1:5672/%2f?heartbeat=5"
prepare
producer
worker
leader() { # the number of the queue's leader
    ctl "$1" list_queues --quiet name leader 2>/dev/null | sed -n "s/^${MUSTER_BROKER_PREFIX}[^ \t]*[ \t]*rl\([123]\)@.*/\1/p" | head -1
}

runs=0
for shape in $SHAPES; do
    for seconds in $CUTS; do
        runs=$((runs + 1))
        users "$W/users-$runs.csv" "$RECORDS" "Run$runs"
        first=$(upload "$W/users-$runs.csv" "run$runs") || die "the upload was not accepted"
        began=$SECONDS
        case $shape in
        alone) sever 1 2 3 ;;          # Muster's own node, apart from the two others
        other) sever 2 1 3 ;;          # another one
        ring) sever 2 3 ;;             # 2 and 3 hear 1, not each other
        random) # any of them, apart from the two others
            case $((RANDOM % 3)) in 0) sever 1 2 3 ;; 1) sever 2 1 3 ;; 2) sever 3 1 2 ;; esac
            ;;
        loss) lose 4 15 ;;
        kill) kill_node "$(leader 1 || true)" 2>/dev/null || kill_node 2 ;;
        freeze) kill -STOP "${NODE[2]}" ;;
        majority) kill_node 2 && kill_node 3 ;;
        all) for n in 1 2 3; do kill_node "$n"; done ;;
        esac
        users "$W/more-$runs.csv" "$RECORDS" "More$runs"
        second=$(upload "$W/more-$runs.csv" "more$runs" 30) || fail "$shape: no upload is accepted meanwhile"
        ((SECONDS - began >= seconds)) || sleep $((seconds - (SECONDS - began)))
        heal
        [[ $shape != freeze ]] || kill -CONT "${NODE[2]}"
        for n in 1 2 3; do lives "${NODE[$n]}" || start_node "$n"; done
        healed=$SECONDS
        for import in $first ${second:-}; do
            ended "$import" 120 || continue
            whole "$import" "$RECORDS"
        done
        say "$shape for $seconds s: whole $((SECONDS - healed)) s after it was over"
        # A cut that is over before all nodes have noticed it can leave them at odds for good; an operator starts them anew.
        until_ok 60 running 1 || {
            say "$shape: the nodes do not come together by themselves; started anew"
            for n in 1 2 3; do ! lives "${NODE[$n]}" || end "${NODE[$n]}" KILL; done
            for n in 1 2 3; do start_node "$n"; done
            until_ok 120 running 1 || die "the nodes do not come together"
        }
    done
done
witness "$RECORDS" $((RECORDS * runs * 2))
empty() { [[ $(ctl 1 list_queues --quiet messages 2>/dev/null | awk '$1 ~ /^[0-9]+$/ { sum += $1 } END { print sum + 0 }') == 0 ]]; }
until_ok 30 empty || fail "messages are left in the queues"
verdict "$runs faults of the broker's cluster, $((runs * 2)) imports, $((runs * 2 * RECORDS)) records applied once"
