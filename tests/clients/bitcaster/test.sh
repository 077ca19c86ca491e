#!/usr/bin/env bash
# A client of Bitcaster: what its document on user management prints (the folder `document`), with only the host and the
# key put in, and the program `bc`. Then the same script with 2,000 users, many at once, twice.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
: "${TEST_MUSTER_URL:?}" "${TEST_MUSTER_PROGRAM:?}" "${MUSTER_CLIENTS_CACHE:?}"
SCRIPTS=20 USERS=100

# shellcheck source=../python.sh
source "$HERE/../python.sh"
venv=$(venv bitcaster/venv "$HERE/requirements.txt")

tenant=bitcaster-$$-$RANDOM
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
muster() { "$TEST_MUSTER_PROGRAM" "$@"; }
muster tenant create "$tenant" >/dev/null
cat >"$work/catalog.json" <<'JSON'
{"organizations": [{"slug": "my-org", "name": "My Organization"}, {"slug": "my-company", "name": "My Company"}],
 "groups": ["developers"]}
JSON
muster catalog --tenant "$tenant" apply "$work/catalog.json" >/dev/null
token=$(muster token create --tenant "$tenant" --name client --scope users:write 2>/dev/null)

# What the document prints, host and key put in.
for file in "$HERE"/document/*; do
    sed -e "s|https://bitcaster.yourdomain.com|$TEST_MUSTER_URL|" -e "s|YOUR_API_KEY|$token|" "$file" >"$work/$(basename "$file")"
done
cd "$work"

fail() {
    printf 'bitcaster: %s\n' "$*" >&2
    exit 1
}
# is WANTED FOUND WHAT
is() { [[ $1 == "$2" ]] || fail "$3: wanted $1, found $2"; }
field() { "$venv/bin/python" -c 'import json, sys; print(json.loads(sys.argv[1])'"$2"')' "$1"; }
show() { curl -fsS -H "Authorization: Token $token" "$TEST_MUSTER_URL$1"; }

echo 'create or enroll, as printed'
answer=$(bash create.sh 2>/dev/null)
is user@company.com "$(field "$answer" "['username']")" 'the user created'
is 12345 "$(field "$answer" "['custom_fields']['external_id']")" 'its external id'
is "$(field "$answer" "['id']")" "$(field "$(bash create.sh 2>/dev/null)" "['id']")" 'the same again'

echo 'smart syncing, as printed'
curl -fsS -o /dev/null "$TEST_MUSTER_URL/api/v1/user/my-org/" -H "Authorization: Token $token" \
    -d '{"email": "john.doe@company.com", "custom_fields": {"office": "Milan", "department": "IT"}}'
answer=$(bash sync.sh 2>/dev/null)
is 'London IT' "$(field "$answer" "['custom_fields']['office']") $(field "$answer" "['custom_fields']['department']")" \
    'office changed, department left alone'

echo 'the command, as printed'
bc() { muster bc "$@" --tenant "$tenant"; }
is 'Success! Processed 2 lines, created/updated 2 users.' "$(. ./command.sh | tail -n 1)" 'the last line'
is Mario "$(field "$(show /api/v1/user/my-company/mario.rossi@example.com/)" "['first_name']")" 'Mario'

echo 'parallel workers, as printed'
is 'User user1@example.com: 201 User user2@example.com: 201' \
    "$("$venv/bin/python" bulk_import.py | sort | xargs)" 'the script'

echo "the same script $SCRIPTS times, four at once, with $USERS users each"
# The script waits for a free connection for at most five seconds, which says more of the machine than of the server; and
# what httpx does for each request grows with those that wait, so one script with all of the users would mostly compute.
sed -e "s|# ... more users|*({'email': f'person{n}.{sys.argv[1]}@example.com', 'first_name': 'P'} for n in range($USERS)),|" \
    -e 's|^import asyncio|import asyncio, sys|' \
    -e 's|AsyncClient(headers=HEADERS)|AsyncClient(headers=HEADERS, timeout=300)|' bulk_import.py >many.py
for code in 201 200; do
    began=$(date +%s%N)
    # shellcheck disable=SC2016  # xargs' shell fills them in
    seq "$SCRIPTS" | xargs -P 4 -I{} sh -c '"$0" many.py {} >many.{}.log' "$venv/bin/python" 2>many.errors ||
        fail "$(tail -n 1 many.errors)"
    printf '  %s ms\n' $((($(date +%s%N) - began) / 1000000))
    is $((SCRIPTS * USERS)) "$(cat many.*.log | grep -c "^User person.*: $code$")" "answers with $code"
done
listed=$("$venv/bin/python" -c 'import json, sys; print(len(json.load(sys.stdin)))' < <(show /api/v1/user/my-org/))
is $((SCRIPTS * USERS + 4)) "$listed" 'users listed'
echo 'bitcaster: all well'
