#!/usr/bin/env bash
# Searches what the server under test has left (server.sh) for what must not be there after all suites of the front doors and all
# clients have run: addresses, secrets and tokens in logs, metrics and traces, secrets in tables. One hit fails (P9). The values that the
# suites send are its markers; before it searches it makes sure that each of them was really sent.
#
#   canary.sh    search, with the server still running
#
# Needs the variables that `server.sh up` prints, and its logs in .services/server.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
DIR=${MUSTER_SERVICES_DIR:-$HERE/../../.services}/server
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_DATABASE_URL:?}" "${TEST_MUSTER_PROGRAM:?}"

# As regular expressions of PostgreSQL and of grep -E.
ADDRESS='@([a-z0-9-]+\.)*(example|company)\.(com|org)'
# shellcheck disable=SC2016
HASH='\$(2[aby]\$[0-9]{2}|argon2id)\$[^ "]{20}'
TOTP='JBSWY3DPEHPK3PXP|GEZDGNBVGY3TQOJQ'
TOKEN='mst_[A-Za-z0-9]{20}|eyJ[A-Za-z0-9_-]+\.eyJ'

sql() { psql -XqAtv ON_ERROR_STOP=1 "$TEST_MUSTER_DATABASE_URL" "$@"; }

failed=0
hit() { # TEXT…: says where something was found, and how often; never the value itself
    printf 'canary: %s\n' "$*" >&2
    failed=1
}

# A search that finds nothing where nothing was sent proves nothing.
[[ $(sql -c "select count(*) from users where email ~* '$ADDRESS'") -gt 100 ]] || hit "the suites left no users with addresses"
[[ $(sql -c "select count(*) from user_credentials where password_hash ~ '$HASH'") -gt 0 ]] || hit "the suites left no hash"
[[ $(sql -c "select count(*) from user_credentials where totp_secret ~ '$TOTP'") -gt 0 ]] || hit "the suites left no TOTP secret"

for log in producer worker; do
    [[ -s $DIR/$log.log ]] || hit "there is no log of the $log"
    count=$(grep -ciE "$ADDRESS|$HASH|$TOTP|$TOKEN" "$DIR/$log.log" || true)
    ((count == 0)) || hit "$count lines of $DIR/$log.log have an address, a secret or a token"
done

# Metrics, for which a token is needed.
export DATABASE_URL=$TEST_MUSTER_DATABASE_URL
"$TEST_MUSTER_PROGRAM" tenant create canary >/dev/null
token=$("$TEST_MUSTER_PROGRAM" token create --tenant canary --name "canary-$$" --scope ops 2>/dev/null | grep -oE 'mst_[A-Za-z0-9_]+' | head -n 1)
metrics=$(curl -fsS -H "Authorization: Bearer $token" "$TEST_MUSTER_URL/metrics")
[[ $metrics == *muster_records_total* ]] || hit "the metrics have no records"
! grep -qiE "$ADDRESS|$HASH|$TOTP|$TOKEN" <<<"$metrics" || hit "the metrics have an address, a secret or a token"

# Traces, of which the last ones may still be on their way.
traces=$DIR/traces.json
grep -qs '"apply chunk"' "$traces" || hit "the collector has no traces of chunks"
! grep -qisE "$ADDRESS|$HASH|$TOTP|$TOKEN" "$traces" || hit "the traces have an address, a secret or a token"

# Tables: a secret is in the table of secrets alone, a token nowhere.
while IFS= read -r table; do
    count=$(sql -c "select count(*) from \"$table\" as t where t::text ~ '$HASH|$TOTP|mst_[A-Za-z0-9]{20}'")
    ((count == 0)) || hit "$count rows of the table $table have a secret or a token"
done < <(sql -c "select table_name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE' and table_name <> 'user_credentials'")

((failed == 0)) || exit 1
echo "no value of a user is in logs, metrics and traces, no secret in tables but its own"
