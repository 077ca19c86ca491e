#!/usr/bin/env bash
# Sends what /openapi.json allows, and what it does not, to every operation of every front door, each with credentials of its
# own, alone and in sequences: no answer may be a server error, and none one that the document does not have (schemathesis,
# property-based).
#
# SCHEMATHESIS_EXAMPLES: examples an operation (default 25). A failure prints the request to send again.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
CACHE=${MUSTER_CLIENTS_CACHE:?}/schemathesis
EXAMPLES=${SCHEMATHESIS_EXAMPLES:-25}

venv=$CACHE/$(sha256sum "$HERE/requirements.txt" | cut -c1-16)
if [[ ! -e $venv/ready ]]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" -q install --disable-pip-version-check -r "$HERE/requirements.txt"
    touch "$venv/ready"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" # what the tool keeps of its own goes here

tenant=fuzz-$$-$RANDOM
muster() { "$TEST_MUSTER_PROGRAM" "$@" --log off; }
muster tenant create "$tenant" --name Fuzz >/dev/null
cat >catalog.json <<'JSON'
{"organizations": [{"slug": "acme", "name": "Acme"}], "groups": ["Staff"], "roles": ["Agent", "Admin"],
 "teams": ["Night"], "locations": ["Mexico"], "custom_attributes": {"member_id": {"type": "string"}},
 "limits": {"max_chat_limit": 10}}
JSON
muster catalog apply --tenant "$tenant" catalog.json >/dev/null
token=$(muster token create --tenant "$tenant" --name fuzz --scope ops | grep -o 'mst_[A-Za-z0-9_-]*')

# A signed credential for the front door that takes no tokens.
openssl genrsa -out key.pem 2048 2>/dev/null
openssl rsa -in key.pem -pubout -out key.pub 2>/dev/null
muster tenant key add --tenant "$tenant" --kid fuzz key.pub >/dev/null
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
now=$(date +%s)
head=$(printf '{"alg":"RS256","typ":"JWT","kid":"fuzz"}' | base64url)
claims=$(printf '{"aud":"%s","iat":%d,"exp":%d}' "$tenant" "$((now - 30))" "$((now + 3600))" | base64url)
jwt=$head.$claims.$(printf '%s.%s' "$head" "$claims" | openssl dgst -sha256 -sign key.pem -binary | base64url)

curl -fsS "$TEST_MUSTER_URL/openapi.json" -o openapi.json
fuzz() { # NAME ARGUMENTS…
    local name=$1
    shift
    echo "schemathesis: $name"
    "$venv/bin/schemathesis" run openapi.json --url "$TEST_MUSTER_URL" \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        --phases examples,coverage,fuzzing,stateful --max-examples "$EXAMPLES" --request-timeout 30 \
        --warnings off --suppress-health-check all --no-color "$@" >"$name.log" 2>&1 || {
        tail -n 120 "$name.log"
        return 1
    }
    tail -n 12 "$name.log"
}

fuzz native --exclude-tag authgear --exclude-tag ccai --exclude-tag bitcaster -H "Authorization: Bearer $token"
fuzz authgear --include-tag authgear -H "Authorization: Bearer $jwt"
fuzz ccai --include-tag ccai --auth "$tenant:$token"
fuzz bitcaster --include-tag bitcaster -H "Authorization: Token $token"
