#!/usr/bin/env bash
# Renews .sqlx, the descriptions that let the checked queries compile without a database, from the migrations.
#
#   sqlx-prepare.sh           replace .sqlx
#   sqlx-prepare.sh --check   replace nothing; exit code 1 when .sqlx is out of date
#   sqlx-prepare.sh --look    the same in seconds: nothing is compiled, the database describes each query (deploy/local/queries.py)
#
# A scratch database gets the migrations in the order of their numbers, as the migrator would apply them; it is removed
# afterwards, and so are the servers when they did not run before. .sqlx is replaced only when everything compiled.
# shellcheck disable=SC2317  # the function that the trap calls
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$HERE/../.."

check=0 look=0
[[ ${1:-} != --check ]] || check=1
[[ ${1:-} != --look ]] || look=1

die() {
    printf 'sqlx-prepare: error: %s\n' "$*" >&2
    exit 1
}

# "NUMBER FILE" lines in order; a name without a number, or two files with one number, leave the order open.
migrations() {
    local file name
    for file in migrations/*.sql; do
        [[ -e $file ]] || die "there is no migration in migrations/"
        [[ $file != *.down.sql ]] || continue
        name=${file#migrations/}
        [[ $name =~ ^([0-9]+)_ ]] || die "$file does not start with its number"
        printf '%d %s\n' "$((10#${BASH_REMATCH[1]}))" "$file"
    done | sort -n
}
list=$(migrations)
twice=$(cut -d' ' -f1 <<<"$list" | uniq -d)
[[ -z $twice ]] || die "two migrations have the number $twice"

scratch=$(mktemp -d)
database=muster_prepare_$$_$RANDOM
admin=
started=0
at_exit() {
    local rc=$?
    trap '' INT TERM HUP
    [[ -z $admin ]] || psql -Xq -c "drop database if exists $database with (force)" "$admin" || rc=1
    ((!started)) || "$HERE/services.sh" down postgres || rc=1
    rm -rf "$scratch"
    exit "$rc"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

if [[ -z ${TEST_DATABASE_URL:-} ]]; then
    "$HERE/services.sh" install
    [[ $("$HERE/services.sh" running) == *postgres* ]] || started=1
    urls=$("$HERE/services.sh" up postgres)
    eval "$urls"
fi
admin=$TEST_DATABASE_URL
psql -Xq -v ON_ERROR_STOP=1 -c "create database $database template template0" "$admin"
# The same server, another database: the path of the URL is replaced, its parameters stay.
[[ $admin =~ ^([a-z]+://[^/?]*)(/[^?]*)?(\?.*)?$ ]] || die "TEST_DATABASE_URL is not a URL"
url=${BASH_REMATCH[1]}/$database${BASH_REMATCH[3]:-}

while read -r _ file; do
    echo "applying $file" >&2
    one=(--single-transaction)
    # sqlx's own mark for statements that no transaction may hold.
    if head -n 1 "$file" | grep -q '^-- no-transaction'; then one=(); fi
    psql -Xq -v ON_ERROR_STOP=1 "${one[@]}" -f "$file" "$url"
done <<<"$list"

if ((look)); then
    "$HERE/queries.py" --database "$url"
    exit
fi

mkdir "$scratch/sqlx"
# The macros run, and write, only in what gets compiled anew.
find shared/{queue,store} -name '*.rs' -exec touch {} +
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$scratch/sqlx DATABASE_URL=$url \
    cargo check --locked -p muster-queue -p muster-store --all-features --all-targets

if ((check)); then
    mkdir -p "$scratch/none"
    [[ -d .sqlx ]] && now=.sqlx || now=$scratch/none
    diff -r "$now" "$scratch/sqlx" >&2 || die ".sqlx is out of date: make sqlx-prepare"
    echo ".sqlx is up to date"
else
    mkdir -p .sqlx
    find .sqlx -name 'query-*.json' -delete
    find "$scratch/sqlx" -name 'query-*.json' -exec cp -t .sqlx {} +
    echo ".sqlx holds $(find .sqlx -name 'query-*.json' | wc -l) queries"
fi
