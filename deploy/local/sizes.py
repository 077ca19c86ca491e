#!/usr/bin/env python3
"""Keeps files and functions of the product small: no file over 500 lines, no function over 60.

    sizes.py            what is over; exit code 1 where something is
    sizes.py --list N   the N longest of each

A function is counted from its `fn` to its last brace, comments and SQL included. Only
tables may be longer, files and functions that have one entry a line or two; they stand below with what is in them. Tests are no product.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES, FUNCTION_LINES = 500, 60
PRODUCT = ["shared/domain", "shared/runtime", "shared/queue", "shared/store", "shared/engine", "producer", "worker", "cli"]
TABLES = {
    "shared/domain/src/request/table.rs": "every option of an import, a row each",
    "shared/domain/src/fault.rs": "every failpoint and every mutant, a line each",
    "shared/domain/src/error_code.rs": "every error code with its meaning, place and advice, and nothing else",
    "shared/domain/src/import_profile.rs": "the built-in import profiles",
    "shared/runtime/src/limits.rs": "every bound with its reason, from which docs/limits.md is made",
}

FUNCTION_TABLES = {
    "shared/domain/src/field/form.rs: form_of": "what each field takes, an arm a field",
    "producer/src/api/document/options.rs: of_route": "what each parameter may be, an arm a parameter",
}

# Comments and texts, whose braces count for nothing.
OTHER = re.compile(
    r"""//[^\n]* | /\*(?:[^*]|\*(?!/))*\*/ | b?r(\#*)"[\s\S]*?"\1 | b?"(?:\\[\s\S]|[^"\\])*" | b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])'""",
    re.X,
)


def bare(text):
    """The text with everything that is no code made blank, line by line."""
    return OTHER.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def end_of(code, at):
    """The place of the brace that closes the one at `at`."""
    depth = 0
    for at in range(at, len(code)):
        depth += (code[at] == "{") - (code[at] == "}")
        if not depth:
            return at
    return len(code)


def test_parts(code):
    """Where modules of tests begin and end."""
    for match in re.finditer(r"#\[cfg\((?:all\()?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*mod \w+ \{", code):
        yield match.start(), end_of(code, match.end() - 1)


def functions(text):
    """(name, first line, lines) of each function that is no test."""
    code = bare(text)
    parts = list(test_parts(code))
    for match in re.finditer(r"\bfn (\w+)", code):
        if any(begin < match.start() < end for begin, end in parts):
            continue
        body = re.compile(r"[{;]").search(code, match.end())
        # A `;` inside of an array's type is none of the function's.
        while body and body.group() == ";" and code.count("[", match.end(), body.start()) > code.count("]", match.end(), body.start()):
            body = re.compile(r"[{;]").search(code, body.end())
        if not body or body.group() == ";":
            continue
        end = end_of(code, body.start())
        first = code.count("\n", 0, match.start()) + 1
        yield match.group(1), first, code.count("\n", match.start(), end) + 1


def product():
    for crate in PRODUCT:
        for path in sorted((ROOT / crate / "src").rglob("*.rs")):
            if path.name != "tests.rs" and "tests" not in path.relative_to(ROOT / crate / "src").parts[:-1]:
                yield path


def main():
    files, found = [], []
    for path in product():
        name, text = str(path.relative_to(ROOT)), path.read_text()
        files.append((text.count("\n"), name))
        found += [(lines, f"{name}:{first}", function) for function, first, lines in functions(text)]
    if "--list" in sys.argv:
        most = int(sys.argv[-1])
        for lines, *what in sorted(files, reverse=True)[:most] + sorted(found, reverse=True)[:most]:
            print(f"{lines:5} {' '.join(what)}")
        return False
    wrong = [f"{name}: {lines} lines, {FILE_LINES} are allowed" for lines, name in files if lines > FILE_LINES and name not in TABLES]
    for lines, where, name in found:
        table = f"{where.split(':')[0]}: {name}" in FUNCTION_TABLES
        if lines > FUNCTION_LINES and not table:
            wrong.append(f"{where}: {name} has {lines} lines, {FUNCTION_LINES} are allowed")
    sizes = {name: lines for lines, name in files}
    wrong += [f"deploy/local/sizes.py lets {name} be long, and it is not" for name in TABLES if sizes.get(name, 0) <= FILE_LINES]
    if len(found) < 1000:
        wrong.append("few functions found: this script looks in the wrong place")
    print("\n".join(wrong) if wrong else f"{len(files)} files, {len(found)} functions")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
