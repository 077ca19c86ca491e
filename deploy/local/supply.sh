#!/usr/bin/env bash
# What the program is made of, and what must not be in its repository.
#
#   supply.sh sbom        a list of all dependencies as CycloneDX, in target/sbom (cargo-cyclonedx)
#   supply.sh auditable   a release build that carries the list inside (cargo-auditable); `cargo audit bin` reads it
#   supply.sh secrets     looks for secrets in every file under version control, and fails where there is one
#
# The cargo tools are built once into the user's cache folder (MUSTER_TOOLS).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cd "$HERE/../.."
TOOLS=${MUSTER_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/muster/tools}
PATH=$TOOLS/bin:$PATH
command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
export PATH

tool() {
    command -v "$1" >/dev/null || cargo install --locked "$1" --version "$2" --root "$TOOLS"
}

# What begins like a key that somebody could use. Keys that are for tests alone stand in files of tests, named here.
secrets() {
    local found=0 pattern
    local -a exempt=(':!producer/tests/api/tls/*.key' ':!cli/tests/contract/authgear/*.pem' ':!shared/domain/src/rsa_key.rs' ':!deploy/local/supply.sh')
    for pattern in \
        '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----' \
        '\bAKIA[0-9A-Z]{16}\b' \
        '\bgh[pousr]_[A-Za-z0-9]{36,}' \
        '\bxox[abprs]-[A-Za-z0-9-]{20,}' \
        '\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}' \
        '\bmst_[A-Za-z0-9_-]{43}\b' \
        '(postgres|postgresql|amqp|amqps)://[^:@/ ]+:[^@$*{< ]{16,}@'; do
        # A token of one letter again and again is nobody's.
        if git grep -nIE -e "$pattern" -- . "${exempt[@]}" | grep -vE 'mst_(.)\1{20}'; then
            echo "looks like a secret: $pattern"
            found=1
        fi
    done
    ((found == 0)) && echo "no secret in $(git ls-files | wc -l) files"
}

case ${1:-} in
sbom)
    tool cargo-cyclonedx 0.5.9
    mkdir -p target/sbom
    cargo cyclonedx --manifest-path cli/Cargo.toml --format json --all-features --override-filename muster
    mv cli/muster.json target/sbom/muster.cdx.json
    find . -name muster.json -path '*/*' -not -path './target/*' -delete
    echo "target/sbom/muster.cdx.json"
    ;;
auditable)
    tool cargo-auditable 0.7.4
    cargo auditable build --locked --release -p muster-cli
    ;;
secrets) secrets ;;
*)
    sed -n '2,/^set -e/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
