#!/usr/bin/env bash
# Looks for what the documents name and the project does not have:
#
#   * in every Markdown file: links to files and headings that do not exist (addresses on the web are not tried);
#   * in the documents that describe the code: names in backticks that are not there. Checked are files and folders, functions and
#     tests (`file.rs::function`, `module::test`, any name_with_underscores), settings (`section.name`), metrics (`muster_…`),
#     and make's targets (`make name`);
#   * in the pages of the front doors: versions of clients that are not those which the tests install (tests/clients).
#
#   links.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
wrong=0
CODE=(shared producer worker cli bench migrations deploy tests)
# A changelog names what once was; pages that are made from tables have a check of their own.
SPEAKING=(README.md ARCHITECTURE.md CONTRIBUTING.md SECURITY.md bench/README.md deploy/README.md migrations/README.md
    docs/decisions/*.md docs/front-doors/*.md docs/contracts/README.md)
for page in docs/*.md; do
    case $page in
    docs/columns.md | docs/errors.md | docs/fields.md | docs/reliability.md) ;;
    *) SPEAKING+=("$page") ;;
    esac
done

find . \( -name target -o -name node_modules -o -name '.?*' \) ! -name .sqlx ! -name .ci ! -name .config -prune -o -print |
    sed 's/^\.\///' >"$scratch/files"
find .ci .config .cargo -type f >>"$scratch/files" 2>/dev/null || true
grep '\.md$' "$scratch/files" | sort >"$scratch/documents"

# ---- Links ------------------------------------------------------------------------------------------------------------------------

# Headings as GitHub names them: lower case, without punctuation, hyphens for blanks, -1 for the second of a name.
anchors() {
    awk '/^```/ { code = !code } !code && /^#+ / {
        sub(/^#+ +/, ""); $0 = tolower($0); gsub(/[`*]/, ""); $0 = gensub_links($0)
        gsub(/[^a-z0-9 _-]/, ""); gsub(/ /, "-")
        print (seen[$0]++ ? $0 "-" (seen[$0] - 1) : $0) }
        function gensub_links(text) { while (match(text, /\]\([^)]*\)/)) text = substr(text, 1, RSTART - 1) substr(text, RSTART + RLENGTH); return text }' "$1"
}
# FILE<tab>LINE<tab>TARGET of each link that leads to a file.
xargs awk '
    FNR == 1 { code = 0 }
    /^ *```/ { code = !code }
    code { next }
    {
        line = $0
        gsub(/`[^`]*`/, "", line)
        while (match(line, /\]\([^) ]+\)/)) {
            target = substr(line, RSTART + 2, RLENGTH - 3)
            line = substr(line, RSTART + RLENGTH)
            if (target !~ /^[a-z]+:/) print FILENAME "\t" FNR "\t" target
        }
    }' <"$scratch/documents" >"$scratch/links"
while IFS=$'\t' read -r file line target; do
    path=${target%%#*} anchor=
    [[ $target != *'#'* ]] || anchor=${target#*#}
    if [[ -z $path ]]; then path=$file; else path=$(dirname "$file")/$path; fi
    if [[ ! -e $path ]]; then
        echo "$file:$line: $target leads nowhere"
        wrong=1
    elif [[ -n $anchor && $path == *.md ]] && ! anchors "$path" | grep -qx -- "$anchor"; then
        echo "$file:$line: $target: there is no such heading"
        wrong=1
    fi
done <"$scratch/links"

# ---- Names ------------------------------------------------------------------------------------------------------------------------

grep -rhoE '[A-Za-z_][A-Za-z0-9_]*' --include='*.rs' --include='*.sql' --include='*.sh' --include='*.toml' --exclude-dir=target \
    --exclude-dir=node_modules "${CODE[@]}" Cargo.toml .config | sort -u >"$scratch/words"
# Every function, and every line of a table of tests (`name: …`).
grep -rhoE '(fn +[a-z_0-9]+|^ +[a-z_0-9]+:)' --include='*.rs' --exclude-dir=target shared producer worker cli bench |
    sed -E 's/^fn +//; s/[ :]//g' | sort -u >"$scratch/functions"
# Which file has which function: `dispatch.rs::round` must be in that file.
grep -roE '(fn|mod) +[a-z_0-9]+' --include='*.rs' --exclude-dir=target shared producer worker cli bench |
    sed -E 's/:(fn|mod) +/\t/' | sort -u >"$scratch/places"
awk '/^    [a-z_]+: [A-Z][A-Za-z]* \{/ { section = $1; sub(/:.*/, "", section) }
    /^        [a-z_]+: .* = / && section { name = $1; sub(/:.*/, "", name); print section "." name }' \
    shared/runtime/src/config/settings.rs >"$scratch/settings"
sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile | sort -u >"$scratch/targets"

present=()
for document in "${SPEAKING[@]}"; do [[ ! -e $document ]] || present+=("$document"); done
awk -v scratch="$scratch" '
    function load(name, into,    line) { while ((getline line < (scratch "/" name)) > 0) into[line] }
    BEGIN {
        load("words", word); load("functions", fn); load("settings", setting); load("targets", target); load("files", file)
        for (f in file) { tail = f; suffix[tail]; while (sub(/^[^\/]*\//, "", tail)) suffix[tail] = f }
        while ((getline line < (scratch "/places")) > 0) {
            split(line, part, "\t"); tail = part[1]; within[tail, part[2]]
            while (sub(/^[^\/]*\//, "", tail)) within[tail, part[2]]
        }
        for (s in setting) { split(s, part, "."); section[part[1]] }
    }
    function wrong(why) { print FILENAME ":" FNR ": `" name "`: " why; failed = 1 }
    function check(    path, last, parts, n) {
        if (name ~ /(^|\/)NAME/) {
            return # a place for a name
        } else if (name ~ /^make [a-z-]+$/) {
            if (!(substr(name, 6) in target)) wrong("no such target in the Makefile")
        } else if (name ~ /^[A-Za-z0-9_.\/-]+\.(rs|sh|tsv|sql)(::[a-z0-9_]+)?$/) {
            path = name; sub(/::.*/, "", path); last = name; sub(/.*::/, "", last)
            if (!(path in suffix)) wrong("there is no such file")
            else if (path != name && !((path, last) in within)) wrong("that file has no such function")
        } else if (name ~ /^(shared|producer|worker|cli|deploy|docs|migrations|bench|tests|examples)\/[A-Za-z0-9_.\/-]*$/) {
            path = name; sub(/\/$/, "", path)
            if (!(path in suffix)) wrong("there is no such file or folder")
        } else if (name ~ /^[a-z]+\.[a-z_]+$/) {
            split(name, parts, ".")
            if (parts[1] in section && !(name in setting) && parts[2] !~ /^(csv|json|rs|md|ndjson|toml|log)$/) wrong("no such setting")
        } else if (name ~ /^custom__|_$/) {
            return # a prefix, or a column that a user names
        } else if (name ~ /^[a-z][a-z0-9_]*(::[a-z0-9_]+)*(::\*)?$/) {
            sub(/::\*$/, "", name)
            n = split(name, parts, "::")
            last = parts[n]
            # Names that are whole sentences are those of tests.
            if (gsub(/_/, "_", last) >= 5 && !(last in fn)) wrong("no such function or test")
            else if (n > 1 && !(last in fn) && !(last in word)) wrong("no such function or module")
            else if (last ~ /_/ && !(last in word)) wrong("the code has no such name")
        }
    }
    FNR == 1 { code = 0 }
    /^ *```/ { code = !code; next }
    code { next }
    {
        text = $0
        while (match(text, /`[^`]+`/)) {
            name = substr(text, RSTART + 1, RLENGTH - 2)
            text = substr(text, RSTART + RLENGTH)
            checked++
            check()
        }
    }
    END { if (!checked) { print "no names found: this script looks in the wrong place"; failed = 1 } exit failed }
' "${present[@]}" || wrong=1
# ---- Versions of clients ----------------------------------------------------------------------------------------------------------

# The rows that tell which clients were run, and what the tests install: `name version`.
grep -hE '^\|.*\(\.\./\.\./tests/clients/' docs/front-doors/*.md >"$scratch/clients"
{
    sed -nE 's/^([A-Za-z0-9_-]+)==([0-9.]+)$/\1 \2/p' tests/clients/{bitcaster,bitcaster-sdk,bitcaster-django,ccai}/*.txt
    sed -nE 's/^ +"([a-z@/-]+)": "([0-9.]+)",?$/\1 \2/p' tests/clients/authgear/package.json
} | sort -u >"$scratch/installed"
told=0
while read -r name version; do
    grep -iE "(^|[^A-Za-z0-9_-])$name([^A-Za-z0-9_-]|\$)" "$scratch/clients" >"$scratch/rows" || continue
    # Of Django its series is told.
    if grep -qF -e "$version" -e " ${version%.*} " "$scratch/rows"; then
        told=$((told + 1))
    else
        echo "docs/front-doors: $name is run in version $version, and its row does not say so"
        wrong=1
    fi
done <"$scratch/installed"
((told >= 6)) || {
    echo "versions of $told clients found in docs/front-doors: this script looks in the wrong place"
    wrong=1
}
((wrong)) || echo "$(wc -l <"$scratch/links") links, and the names in ${#present[@]} documents"
exit $wrong
