#!/usr/bin/env python3
"""Finds circles between the files of one crate: A uses what is in B, and B, directly or by others, what is in A.

    circles.py              every crate; exit code 1 where there is a circle
    circles.py --self-test  the rules below, on small crates

What counts as a use: a path of the code, or an item of a `use`, that leads to an item which another file of the crate defines. A name
that a module only hands on (`pub use`, or an import that a child takes by `super::`) leads to the file that defines it.

What does not count:
  * tests: items under `#[cfg(test)]`, and files that only those declare;
  * `mod x;`, and a `use` that nobody follows;
  * a parent's use of its own children, however deep: they are its parts. So a child may use what its parent's file defines. But the
    parent and all its parts are one where others are concerned: if anything in `a/` uses anything in `b/`, then nothing in `b/` uses
    anything in `a/`. Likewise the parts of one module among themselves.
"""
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


# ---- Reading ------------------------------------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"""//[^\n]* | /\*(?:[^*]|\*(?!/))*\*/ | (?P<raw>b?r(?P<h>\#*)"[\s\S]*?"(?P=h)) | b?"(?:\\[\s\S]|[^"\\])*"
    | b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])' | '[A-Za-z_]\w* | r\#[A-Za-z_]\w* | [A-Za-z_]\w* | \d\w* | :: | . | \n""",
    re.X,
)


def tokens(text):
    """Words and signs, without comments; a text becomes one `""`."""
    out = []
    for match in TOKEN.finditer(text):
        token = match.group()
        if token.isspace() or token.startswith(("//", "/*")):
            continue
        if match.group("raw") or token.startswith(('"', 'b"')) or (token[-1] == "'" and len(token) > 1):
            token = '""'
        out.append(token)
    return out


OPEN, CLOSE = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}


def skip(code, at):
    """The place behind the bracket that opens at `at`."""
    depth = 0
    while at < len(code):
        depth += (code[at] in OPEN) - (code[at] in CLOSE)
        at += 1
        if not depth:
            break
    return at


def item_end(code, at):
    """The place behind the item that begins at `at`: its block, or its semicolon (or the comma of a field)."""
    while at < len(code):
        if code[at] in (";", ","):
            return at + 1
        if code[at] in CLOSE:
            return at
        if code[at] == "{":
            return skip(code, at)
        at = skip(code, at) if code[at] in OPEN else at + 1
    return at


def is_test(attribute):
    return attribute[:2] == ["cfg", "("] and "test" in attribute and "not" not in attribute or attribute == ["test"]


def without_tests(code):
    out, at = [], 0
    while at < len(code):
        if code[at] == "#" and at + 1 < len(code) and code[at + 1] in ("[", "!"):
            begin = at + (2 if code[at + 1] == "!" else 1)
            end = skip(code, begin)
            if code[at + 1] == "[" and is_test(code[begin + 1 : end - 1]):
                while end < len(code) and code[end] == "#":
                    end = skip(code, end + 1)
                at = item_end(code, end)
            else:
                at = end
            continue
        out.append(code[at])
        at += 1
    return out


def word(token):
    return bool(re.match(r"(r#)?[A-Za-z_]\w*$", token))


def use_tree(code, at, prefix):
    """The paths of a `use` from `at`: [(path, name)], and the place behind."""
    path, out = list(prefix), []
    while at < len(code):
        token = code[at]
        if token == "{":
            at += 1
            while code[at] != "}":
                more, at = use_tree(code, at, path)
                out += more
                if code[at] == ",":
                    at += 1
            return out, at + 1
        if token == "*":
            return out + [(path, "*")], at + 1
        if token == "::":
            at += 1
        elif token == "as":
            return out + [(path, code[at + 1])], at + 2
        elif word(token):
            if not (token == "self" and path):
                path = path + [token]
            elif code[at + 1] == "as":
                return out + [(path, code[at + 2])], at + 3
            at += 1
            if code[at] not in ("::", "as"):
                return out + [(path, path[-1])], at
        else:
            return out + [(path, path[-1])], at
    return out, at


class Module:
    def __init__(self, path, file):
        self.path, self.file = path, file
        self.children, self.names, self.globs, self.paths = {}, {}, [], []
        self.defined, self.words, self.handed_on = set(), set(), set()


def read(crate, module, code, folder):
    """Fills `module` and the modules inside it from its tokens."""
    at = 0
    while at < len(code):
        token = code[at]
        before = code[at - 1] if at else ";"
        if token == "mod" and at + 2 < len(code) and word(code[at + 1]) and code[at + 2] in (";", "{"):
            name = code[at + 1]
            if code[at + 2] == ";":
                file = next((f for f in (folder / f"{name}.rs", folder / name / "mod.rs") if f.exists()), None)
                if file:
                    child = Module(module.path + (name,), file)
                    read(crate, child, without_tests(tokens(file.read_text())), folder / name)
                    module.children[name] = crate[child.path] = child
                at += 3
            else:
                end = skip(code, at + 2)
                child = Module(module.path + (name,), module.file)
                read(crate, child, code[at + 3 : end - 1], folder / name)
                module.children[name] = crate[child.path] = child
                at = end
        elif token == "use" and before in (";", "{", "}", "pub", ")") and at + 1 < len(code):
            tree, at = use_tree(code, at + 1, [])
            public = before in ("pub", ")")
            for path, name in tree:
                if name == "*":
                    module.globs.append(path)
                else:
                    module.names[name] = path
                    module.paths.append((path, True))
                    if public:
                        module.handed_on.add(name)
        elif word(token) and at + 1 < len(code) and code[at + 1] == "::" and before != "::":
            path = [token]
            module.words.add(token)
            at += 1
            while at + 1 < len(code) and code[at] == "::" and word(code[at + 1]):
                path.append(code[at + 1])
                at += 2
            module.paths.append((path, False))
        else:
            module.words.add(token)
            if token in ("struct", "enum", "fn", "trait", "type", "const", "static", "union", "!") and at + 1 < len(code):
                module.defined.add(code[at + 1])
            at += 1


def crate_of(root):
    crate = {}
    top = Module((), root)
    crate[()] = top
    read(crate, top, without_tests(tokens(root.read_text())), root.parent)
    return crate


# ---- Resolving ----------------------------------------------------------------------------------------------------------------


def resolve(crate, module, path, depth=0):
    """The module that defines what `path` means in `module`, or None for what is of another crate."""
    if depth > 12 or not path:
        return module if path == [] else None
    head, rest = path[0], path[1:]
    if head == "crate":
        return down(crate, crate[()], rest, depth)
    if head in ("self", "super"):
        here = module
        if head == "super":
            here = crate[module.path[:-1]] if module.path else None
        return here and down(crate, here, rest, depth)
    if head in module.names and module.names[head] != path:
        return resolve(crate, module, module.names[head] + rest, depth + 1)
    if head in module.children:
        return down(crate, module.children[head], rest, depth)
    return None


def down(crate, module, path, depth):
    if depth > 12:
        return None
    if not path:
        return module
    head, rest = path[0], path[1:]
    if head == "super" and module.path:
        return down(crate, crate[module.path[:-1]], rest, depth + 1)
    if head == "self":
        return down(crate, module, rest, depth + 1)
    if head in module.children:
        return down(crate, module.children[head], rest, depth + 1)
    if head in module.names:
        return resolve(crate, module, module.names[head] + rest, depth + 1)
    if head not in module.defined:
        for glob in module.globs:
            target = resolve(crate, module, glob, depth + 1)
            if target and target is not module and (head in target.defined or head in target.names or head in target.children):
                return down(crate, target, path, depth + 1)
    return module


def uses(crate):
    """{(module, module): a path that shows it}, by the modules that are files."""
    found = {}

    def file_module(module):
        while module.path and crate[module.path[:-1]].file == module.file:
            module = crate[module.path[:-1]]
        return module

    for module in crate.values():
        here = file_module(module)
        for path, imported in module.paths:
            target = resolve(crate, module, path)
            if imported and path[-1] in module.handed_on and path[-1] not in module.words:
                continue
            # A module that is only brought into view is not used yet: the paths through it are seen by themselves.
            if target is None or (imported and target.path and is_module(crate, module, path)):
                continue
            there = file_module(target)
            if there is not here:
                found.setdefault((here.path, there.path), "::".join(path))
        for glob in module.globs:
            target = resolve(crate, module, glob)
            if target is not None and file_module(target) is not here and not is_parent(target, here):
                found.setdefault((here.path, file_module(target).path), "::".join(glob) + "::*")
    return found


def is_parent(above, below):
    return below.path[: len(above.path)] == above.path


def is_module(crate, module, path):
    target = resolve(crate, module, path)
    return bool(target and target.path and target.path[-1] == path[-1] and path[-1] not in target.defined)


# ---- Circles ------------------------------------------------------------------------------------------------------------------


def components(nodes, edges):
    """Strongly connected components of more than one node (Tarjan's algorithm)."""
    index, low, stack, on, out, count = {}, {}, [], set(), [], [0]

    def visit(node):
        index[node] = low[node] = count[0]
        count[0] += 1
        stack.append(node)
        on.add(node)
        for other in sorted(edges[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = []
            while True:
                part.append(stack.pop())
                on.discard(part[-1])
                if part[-1] == node:
                    break
            if len(part) > 1:
                out.append(sorted(part))

    for node in sorted(nodes):
        if node not in index:
            visit(node)
    return out


def circles(found):
    """[(parent, parts that use each other, the uses among them)]"""
    levels = defaultdict(lambda: (defaultdict(set), defaultdict(list)))
    for (source, target), shown in found.items():
        common = 0
        while common < min(len(source), len(target)) and source[common] == target[common]:
            common += 1
        if common in (len(source), len(target)):
            continue  # one is a part of the other
        edges, why = levels[source[:common]]
        edges[source[common]].add(target[common])
        why[source[common], target[common]].append((source, target, shown))
    out = []
    for parent, (edges, why) in sorted(levels.items()):
        nodes = set(edges) | {t for targets in edges.values() for t in targets}
        for part in components(nodes, edges):
            among = [w for pair, ws in sorted(why.items()) if pair[0] in part and pair[1] in part for w in ws]
            out.append((parent, part, among))
    return out


def roots():
    for manifest in sorted(ROOT.glob("**/Cargo.toml")):
        if "target" in manifest.relative_to(ROOT).parts or "node_modules" in manifest.parts:
            continue
        for name in ("lib.rs", "main.rs"):
            if (manifest.parent / "src" / name).exists():
                yield manifest.parent / "src" / name


def shown_name(path):
    return "::".join(path) or "(the crate)"


# A small crate (file: text), and the circles that are to be found in it.
CASES = [
    ("two files", {"lib": "mod a; mod b;", "a": "use crate::b::f; fn g() { f() }", "b": "use super::a; fn f() { a::g() }"}, [["a", "b"]]),
    ("one way", {"lib": "mod a; mod b;", "a": "use crate::b::f; fn g() { f() }", "b": "pub fn f() {} // a::g()"}, []),
    (
        "three files",
        {"lib": "mod a; mod b; mod c;", "a": "fn f() { crate::b::f() }", "b": "pub fn f() { super::c::f() }", "c": "pub fn f() { crate::a::f() }"},
        [["a", "b", "c"]],
    ),
    ("parent and child", {"lib": "mod a;", "a": "mod b; fn f() { b::f() } fn g() {}", "a/b": "pub fn f() { super::g() }"}, []),
    (
        "a child for its parent",
        {"lib": "mod a; mod c;", "a": "mod b;", "a/b": "fn f() { crate::c::f() }", "c": "pub fn f() { crate::a::g() }"},
        [["a", "c"]],
    ),
    ("handed on", {"lib": "mod a; mod b;", "a": "pub use crate::b::f; pub fn g() {}", "b": "pub fn f() { crate::a::g() }"}, []),
    (
        "by what hands it on",
        {"lib": "mod a; mod b; mod c;", "a": "pub use crate::b::f;", "b": "pub fn f() { crate::c::g() }", "c": "pub fn g() { crate::a::f() }"},
        [["b", "c"]],
    ),
    ("tests", {"lib": "mod a; mod b;", "a": "fn f() {} #[cfg(test)] mod tests { use crate::b; fn t() { b::g() } }", "b": "fn g() { crate::a::f() }"}, []),
    ("texts", {"lib": "mod a; mod b;", "a": 'fn f() { let t = "crate::b::g()"; }', "b": "fn g() { crate::a::f() }"}, []),
]


def self_test():
    failed = False
    for case, files, expected in CASES:
        with tempfile.TemporaryDirectory() as folder:
            for file, text in files.items():
                path = Path(folder) / f"{file}.rs"
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            found = [part for _, part, _ in circles(uses(crate_of(Path(folder) / "lib.rs")))]
        if found != expected:
            failed = True
            print(f"self-test: {case}: found {found}, expected {expected}")
    return failed


def main():
    if "--self-test" in sys.argv:
        return self_test()
    wrong, files = 0, 0
    for root in roots():
        crate = crate_of(root)
        files += len({m.file for m in crate.values()})
        for parent, part, among in circles(uses(crate)):
            wrong += 1
            print(f"{root.relative_to(ROOT)}: in {shown_name(parent)} a circle of {', '.join(part)}")
            for source, target, shown in among:
                print(f"    {shown_name(source)} uses {shown_name(target)}: {shown}")
    if files < 100:
        print("few files found: this script looks in the wrong place")
        wrong += 1
    if not wrong:
        print(f"{files} files, no circle")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
