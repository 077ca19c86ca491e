#!/usr/bin/env python3
"""Finds dependencies that a crate names and does not use.

    unused.py    every crate of the workspace; exit code 1 where there is one

A dependency is used where its name stands in the crate's code as a word: in `src` and `build.rs` for [dependencies], in any Rust file of
the crate for [dev-dependencies]. Those of which there is no word
in the code stand below with the reason.
"""
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "no Rust code: build.rs takes the engine out of it"
NOT_IN_CODE = {
    ("shared/engine", f"pglite-rs-lib-{target}"): ENGINE
    for target in ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin", "aarch64-apple-darwin")
}
COMMENT = re.compile(r'//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/')


def words(paths):
    return {word for path in paths for word in re.findall(r"\w+", COMMENT.sub("", path.read_text()))}


def main():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    wrong, named, crates = [], set(), [*workspace["members"], *workspace.get("exclude", [])]
    for crate in crates:
        folder = ROOT / crate
        manifest = tomllib.loads((folder / "Cargo.toml").read_text())
        product = words([*folder.glob("src/**/*.rs"), *folder.glob("build.rs")])
        everything = words(path for path in folder.glob("**/*.rs") if "target" not in path.relative_to(folder).parts)
        tables = [manifest, *manifest.get("target", {}).values()]
        for kind, used in (("dependencies", product), ("build-dependencies", product), ("dev-dependencies", everything)):
            for name in {name for table in tables for name in table.get(kind, {})}:
                named.add(name)
                # A fuzz target is a program of its own.
                used_here = everything if crate.endswith("fuzz") else used
                if name.replace("-", "_") not in used_here and (crate, name) not in NOT_IN_CODE:
                    wrong.append(f"{crate}/Cargo.toml: {name} of [{kind}] is used nowhere")
    for name in workspace["dependencies"]:
        if name not in named:
            wrong.append(f"Cargo.toml: {name} is used by no crate")
    wrong += [f"deploy/local/unused.py: {crate} does not name {name}" for crate, name in NOT_IN_CODE if name not in named]
    if len(crates) < 5 or len(named) < 20:
        wrong.append("few crates found: this script looks in the wrong place")
    print("\n".join(sorted(wrong)) if wrong else f"{len(named)} dependencies of {len(crates)} crates, all of them used")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
