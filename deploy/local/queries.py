#!/usr/bin/env python3
"""Checks that .sqlx is up to date, in seconds and without a compiler.

    queries.py                every checked query of the code is in .sqlx, and nothing else is
    queries.py --database URL the same, and a database with this schema describes each query as .sqlx does

`make sqlx-check` compiles the queries against a database instead, and takes minutes. What that sees beyond this script is whether a
column can be null.
"""
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MACRO = re.compile(r"\bsqlx::query(?:_as|_scalar)?(?:_unchecked)?!\s*\(")
FILE = re.compile(r'\bsqlx::query_file(?:_as|_scalar)?(?:_unchecked)?!\s*\(\s*(?:\w[\w:]*\s*,\s*)?"([^"]+)"')
TEXT = re.compile(r'(?:\s|//[^\n]*)*(?:\w[\w:]*\s*,(?:\s|//[^\n]*)*)?(?:r(#*)"([\s\S]*?)"\1|"((?:\\[\s\S]|[^"\\])*)")(\s*\+)?')
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "0": "\0"}
# As PostgreSQL names types, and as .sqlx does.
TYPES = {
    "boolean": "Bool", "bytea": "Bytea", "bigint": "Int8", "smallint": "Int2", "integer": "Int4", "text": "Text", "oid": "Oid", "json": "Json",
    "jsonb": "Jsonb", "real": "Float4", "double precision": "Float8", "character varying": "Varchar", "date": "Date", "name": "Name",
    "timestamp with time zone": "Timestamptz", "interval": "Interval", "numeric": "Numeric", "uuid": "Uuid", '"char"': "Char",
    "xid8": "Xid8", "pg_lsn": "PgLsn", "void": "Void", "character": "Bpchar", "inet": "Inet",
}


def unescaped(text):
    """What a Rust text that is not raw stands for."""
    text = re.sub(r"\\\n\s*", "", text)
    return re.sub(r"\\(.)", lambda match: ESCAPES.get(match.group(1), match.group()), text)


def queries():
    """{hash: where it stands}"""
    found = {}
    for path in sorted(ROOT.glob("shared/*/**/*.rs")):
        if "target" in path.parts:
            continue
        text = path.read_text()
        for macro in MACRO.finditer(text):
            if text.rfind("//", text.rfind("\n", 0, macro.start()), macro.start()) >= 0:
                continue
            where = f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, macro.start()) + 1}"
            query = TEXT.match(text, macro.end())
            if not query:
                yield_wrong(f"{where}: the text of this query cannot be read")
                continue
            put_together = query.group(4)
            query = query.group(2) if query.group(2) is not None else unescaped(query.group(3))
            if put_together:
                beginnings[query] = where
                continue
            found[hashlib.sha256(query.encode()).hexdigest()] = where
        # The path begins at the folder of the crate.
        for macro in FILE.finditer(text):
            file = ROOT.joinpath(*path.relative_to(ROOT).parts[:2], macro.group(1))
            found[hashlib.sha256(file.read_bytes()).hexdigest()] = str(file.relative_to(ROOT))
    return found


wrong = []
beginnings = {}  # texts that a macro goes on with, and where


def yield_wrong(message):
    wrong.append(message)


def kept():
    """{hash: what .sqlx says of it}"""
    return {path.stem.removeprefix("query-"): json.loads(path.read_text()) for path in sorted((ROOT / ".sqlx").glob("query-*.json"))}


def named(kind):
    """A type as .sqlx names it."""
    array = kind.endswith("[]")
    kind = re.sub(r"\([^)]*\)", "", kind.removesuffix("[]")).strip()
    return TYPES.get(kind, kind) + ("Array" if array else "")


def psql(url, script):
    done = subprocess.run(["psql", "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=0", url], input=script, capture_output=True, text=True)
    return done.stdout, done.stderr


def described(url, all_queries):
    """What the database says of each query: {hash: (columns, parameters)}; None of one that it refuses."""
    script = []
    for number, hash_ in enumerate(all_queries):
        query = all_queries[hash_]["query"]
        script += [f"\\echo == {hash_}", f"prepare q{number} as", query, ";", "\\echo --"]
        script += [f"select unnest(parameter_types)::text from pg_prepared_statements where name = 'q{number}';", "\\echo --", query, "\\gdesc"]
    out, errors = psql(url, "\n".join(script) + "\n")
    found = {}
    for part in out.split("== ")[1:]:
        hash_, _, rest = part.partition("\n")
        _, parameters, columns = rest.split("--\n", 2)
        lines = [line.split("\t") for line in columns.splitlines() if "\t" in line]
        found[hash_] = ([(name, named(kind)) for name, kind in lines], [named(kind) for kind in parameters.split("\n") if kind])
    return found, errors


def compare(url, all_queries, code):
    found, errors = described(url, all_queries)
    for hash_, query in all_queries.items():
        where = code.get(hash_, f"query-{hash_}.json")
        describe = query["describe"]
        text = lambda kind: kind if isinstance(kind, str) else None  # an enum or a domain: named by the schema
        columns = [(column["name"], text(column["type_info"])) for column in describe["columns"]]
        parameters = [text(kind) for kind in describe["parameters"].get("Left", [])] if describe["parameters"] else []
        is_, are = found.get(hash_, ([], []))
        same = lambda said, seen: len(said) == len(seen) and all(a == b or a is None for a, b in zip(said, seen))
        if not same([kind for _, kind in columns], [kind for _, kind in is_]) or [n for n, _ in columns] != [n for n, _ in is_]:
            yield_wrong(f"{where}: the database gives {is_}, .sqlx says {columns}")
        if not same(parameters, are):
            yield_wrong(f"{where}: the database takes {are}, .sqlx says {parameters}")
    if wrong and errors:
        yield_wrong(errors.strip()[:2000])


def main():
    code, all_queries = queries(), kept()
    for hash_, where in sorted(code.items(), key=lambda item: item[1]):
        if hash_ not in all_queries:
            yield_wrong(f"{where}: .sqlx does not have this query: make sqlx-prepare")
    for hash_ in all_queries:
        begins = [where for text, where in beginnings.items() if all_queries[hash_]["query"].startswith(text)]
        if hash_ not in code and not begins:
            yield_wrong(f".sqlx/query-{hash_}.json: no code has this query: make sqlx-prepare")
        elif hashlib.sha256(all_queries[hash_]["query"].encode()).hexdigest() != hash_:
            yield_wrong(f".sqlx/query-{hash_}.json: its text was changed by hand")
    if len(code) < 100:
        yield_wrong("few queries found: this script looks in the wrong place")
    if "--database" in sys.argv:
        compare(sys.argv[sys.argv.index("--database") + 1], all_queries, code)
    print("\n".join(wrong) if wrong else f"{len(code)} queries, all of them in .sqlx")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
