# What clients in Python have in common; to be sourced.
# shellcheck shell=bash

# venv FOLDER REQUIREMENTS: an environment with these packages, made anew when they change; prints its folder.
venv() {
    local folder=$MUSTER_CLIENTS_CACHE/$1 wanted=$2
    if ! cmp -s "$wanted" "$folder/requirements.txt"; then
        rm -rf "$folder"
        python3 -m venv "$folder" >&2
        "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" >&2
        cp "$wanted" "$folder/requirements.txt"
    fi
    printf '%s\n' "$folder"
}

# bitcaster_token TENANT CATALOG: makes a tenant with this catalog; prints the token of a client of the door for Bitcaster.
bitcaster_token() {
    "$TEST_MUSTER_PROGRAM" tenant create "$1" >/dev/null
    "$TEST_MUSTER_PROGRAM" catalog --tenant "$1" apply - <<<"$2" >/dev/null
    "$TEST_MUSTER_PROGRAM" token create --tenant "$1" --name client --scope users:write 2>/dev/null
}
