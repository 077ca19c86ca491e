#!/usr/bin/env bash
# What the tests of the console need: Chromium with its driver (Debian's packages), and axe-core, which looks for what keeps people
# with a screen reader, a keyboard or weak eyes out (npm; into the user's cache folder, no part of the program).
#
#   browser.sh install   install what is missing, and print TEST_AXE
#   browser.sh env       print TEST_AXE, and fail where something is missing
# MUSTER_TOOLS: folder for what is not Debian's (default: the user's cache folder).
set -euo pipefail

AXE_VERSION=4.14.1
TOOLS=${MUSTER_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/muster/tools}
AXE=$TOOLS/axe-$AXE_VERSION/node_modules/axe-core/axe.min.js

die() {
    printf 'browser: error: %s\n' "$*" >&2
    exit 1
}
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

packages() {
    local -a missing=()
    command -v chromium >/dev/null || missing+=(chromium)
    command -v chromedriver >/dev/null || missing+=(chromium-driver)
    # A font of its own, so that pages look the same wherever the tests run.
    [[ -d /usr/share/fonts/truetype/liberation ]] || missing+=(fonts-liberation)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "install ${missing[*]}: there is no apt-get here"
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

axe() {
    [[ ! -s $AXE ]] || return 0
    command -v npm >/dev/null || die "axe-core comes from npm, which is not here"
    npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix "$TOOLS/axe-$AXE_VERSION" "axe-core@$AXE_VERSION" >&2
    [[ -s $AXE ]] || die "npm brought no axe-core"
}

case ${1:-} in
install)
    packages
    axe
    ;;
env)
    command -v chromedriver >/dev/null || die "there is no chromedriver: run $0 install"
    [[ -s $AXE ]] || die "there is no axe-core: run $0 install"
    ;;
*)
    sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
printf 'export TEST_AXE=%q\n' "$AXE"
