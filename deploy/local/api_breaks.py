#!/usr/bin/env python3
"""Tells what of the API would break a client: compares docs/openapi.json with docs/openapi.released.json, the document that clients
out there were generated from, without its prose.

  api_breaks.py               compare; the exit code is 1 where a client would break (make check)
  api_breaks.py --release     take docs/openapi.json for the released one: at a release, or where a break is meant
  api_breaks.py --self-test   break the released document in many ways, and make sure that each is told and that additions are not

A client breaks where something that it sends is not taken any more, or something that it reads is not there any more. What is only
added breaks nobody: an address, a parameter that may be left out, a property of an answer, a value of an enumeration.
"""

import copy
import json
import pathlib
import sys

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
NOW, RELEASED = DOCS / "openapi.json", DOCS / "openapi.released.json"
VERBS = ("get", "put", "post", "delete", "patch")
PROSE = ("description", "summary", "example", "examples", "title")
# What a request may have at the least and at the most.
LEAST, MOST = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")


def without_prose(value, names=False):
    """The value without what is for people; `names`: its keys are names of clients, and not words of the format."""
    if isinstance(value, list):
        return [without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    keep = {key: part for key, part in value.items() if names or key not in PROSE}
    return {key: without_prose(part, not names and key in ("properties", "schemas", "responses", "headers")) for key, part in keep.items()}


class Comparison:
    """Two documents, and how the second one breaks clients of the first."""

    def __init__(self, old, new):
        self.old, self.new, self.breaks, self.seen = old, new, [], set()
        for path, item in old["paths"].items():
            for verb in VERBS:
                if verb in item:
                    self.operation(f"{verb} {path}", item[verb], new["paths"].get(path, {}).get(verb))

    def tell(self, place, what):
        self.breaks.append(f"{place}: {what}")

    def operation(self, place, old, new):
        if new is None:
            return self.tell(place, "is gone")
        if old["operationId"] != new["operationId"]:
            self.tell(place, f"is called {new['operationId']} and not {old['operationId']} any more")
        self.security(place, old["security"], new["security"])
        self.parameters(place, old.get("parameters", []), new.get("parameters", []))
        old_body, new_body = old.get("requestBody"), new.get("requestBody")
        if new_body and new_body.get("required") and not (old_body or {}).get("required"):
            self.tell(place, "wants a body")
        if old_body:
            self.content(f"{place}, body", old_body, new_body or {}, "sent")
        for status, response in old["responses"].items():
            if not status.startswith("2"):
                continue
            if status not in new["responses"]:
                self.tell(place, f"does not answer {status} any more")
                continue
            now = new["responses"][status]
            for header in response.get("headers", {}).keys() - now.get("headers", {}).keys():
                self.tell(place, f"the answer {status} has no header {header} any more")
            self.content(f"{place}, answer {status}", response, now, "read")

    def security(self, place, old, new):
        """Each credential that opened it still does."""
        for requirement in old:
            for scheme, scopes in requirement.items():
                if not any(set(now[scheme]) <= set(scopes) for now in new if scheme in now):
                    self.tell(place, f"the credential {scheme} with {', '.join(scopes) or 'no scope'} does not open it any more")

    def parameters(self, place, old, new):
        old_by, new_by = ({(one["in"], one["name"]): one for one in all_} for all_ in (old, new))
        for key, one in old_by.items():
            now = new_by.get(key)
            if now is None:
                self.tell(place, f"the parameter {key[1]} is gone")
                continue
            self.schema(f"{place}, {key[1]}", one["schema"], now["schema"], "sent")
        for key, one in new_by.items():
            if one.get("required") and not old_by.get(key, {}).get("required"):
                self.tell(place, f"the parameter {key[1]} is required")

    def content(self, place, old, new, way):
        for media_type, media in old.get("content", {}).items():
            now = new.get("content", {}).get(media_type)
            if now is None:
                self.tell(place, f"{media_type} is gone")
            else:
                self.schema(f"{place}, {media_type}", media.get("schema", {}), now.get("schema", {}), way)

    def schema(self, place, old, new, way):
        """`way`: clients send such values, or read them."""
        key = (json.dumps(old, sort_keys=True), json.dumps(new, sort_keys=True), way)
        if "$ref" in old and key in self.seen:
            return
        self.seen.add(key)
        (old, old_null), (new, new_null) = shape(self.old, old), shape(self.new, new)
        if way == "sent" and old_null and not new_null:
            self.tell(place, "must not be null any more")
        if way == "read" and new_null and not old_null:
            self.tell(place, "may be null")
        self.types(place, old, new, way)
        self.values(place, old, new, way)
        if way == "sent":
            self.bounds(place, old, new)
        self.alternatives(place, old, new, way)
        self.properties(place, old, new, way)
        for part in ("items", "additionalProperties"):
            if isinstance(old.get(part), dict) and isinstance(new.get(part), dict):
                self.schema(f"{place}, {part}", old[part], new[part], way)

    def types(self, place, old, new, way):
        given, taken = (old, new) if way == "sent" else (new, old)
        given, taken = types(given), types(taken)
        if taken and not given or not all(kind in taken or kind == "integer" and "number" in taken for kind in given if taken):
            self.tell(place, f"is {said(types(new))} and not {said(types(old))} any more")
        if old.get("format") != new.get("format") and (way == "read" or new.get("format")):
            self.tell(place, f"has the format {new.get('format')} and not {old.get('format')}")

    def values(self, place, old, new, way):
        old, new = values(old), values(new)
        if old is None and new is not None and way == "sent":
            self.tell(place, f"must be one of {said(new)}")
        gone = [value for value in old or [] if new is not None and value not in new]
        if gone:
            self.tell(place, f"is never {said(gone)} any more")

    def bounds(self, place, old, new):
        for names, narrower in ((LEAST, lambda now, before: now > before), (MOST, lambda now, before: now < before)):
            for name in names:
                if name in new and (name not in old or narrower(new[name], old[name])):
                    self.tell(place, f"{name} is {new[name]} and was {old.get(name, 'not there')}")
        if "pattern" in new and new["pattern"] != old.get("pattern"):
            self.tell(place, f"must look like {new['pattern']}")

    def alternatives(self, place, old, new, way):
        before, now = (schema.get("oneOf") or schema.get("anyOf") or [] for schema in (old, new))
        if way == "sent" and len(now) < len(before):
            self.tell(place, f"has {len(now)} alternatives and had {len(before)}")
        for number, (one, other) in enumerate(zip(before, now)):
            self.schema(f"{place}, alternative {number + 1}", one, other, way)

    def properties(self, place, old, new, way):
        before, now = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in now:
                self.tell(place, f"{name} is gone")
            else:
                self.schema(f"{place}, {name}", schema, now[name], way)
        before, now = set(old.get("required", [])), set(new.get("required", []))
        for name in sorted(now - before if way == "sent" else before - now):
            if way == "sent":
                self.tell(place, f"{name} is required")
            elif name in new.get("properties", {}):
                self.tell(place, f"{name} may be missing")
        if way == "sent" and new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
            self.tell(place, "takes no other properties any more")


def shape(document, schema):
    """The schema itself, its parts as one, and whether null is one of its values."""
    null = False
    while True:
        if "$ref" in schema:
            target = document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            schema = target
        elif "allOf" in schema:
            merged = {key: part for key, part in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                part, _ = shape(document, part)
                merged = {**merged, **part, "properties": {**merged.get("properties", {}), **part.get("properties", {})},
                          "required": merged.get("required", []) + part.get("required", [])}
            schema = merged
        else:
            others = [one for one in schema.get("oneOf", []) if one.get("type") != "null"]
            if len(others) == 1 and len(schema["oneOf"]) == 2:
                schema, null = others[0], True
                continue
            kinds = schema.get("type")
            return schema, null or isinstance(kinds, list) and "null" in kinds


def types(schema):
    kinds = schema.get("type", [])
    return [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]


def values(schema):
    return [schema["const"]] if "const" in schema else schema.get("enum")


def said(items):
    return ", ".join(map(str, items)) or "anything"


def self_test(released):
    """Each of these changes breaks somebody, except those of which nothing is said."""

    def at(document, *path):
        for part in path:
            document = document[part]
        return document

    def parameter(document, path, verb, name):
        return next(one for one in at(document, "paths", path, verb, "parameters") if one["name"] == name)

    schemas = ("components", "schemas")
    records, create = "/v1/imports/{id}/records", "/v1/imports"
    form = ("paths", create, "post", "requestBody", "content", "multipart/form-data", "schema")
    new = {"in": "query", "name": "colour", "schema": {"type": "string"}}
    changes = [
        (lambda d: d["paths"].pop(records), "is gone"),
        (lambda d: d["paths"][create].pop("get"), "is gone"),
        (lambda d: at(d, "paths", create, "get").update(operationId="imports_all"), "is called imports_all"),
        (lambda d: at(d, "paths", create, "get").update(security=[{"token": ["ops"]}]), "does not open it"),
        (lambda d: at(d, "paths", create, "get", "parameters").append({**new, "required": True}), "colour is required"),
        (lambda d: parameter(d, create, "get", "limit").update(required=True), "limit is required"),
        (lambda d: at(d, "paths", create, "get", "parameters").remove(parameter(d, create, "get", "before")), "before is gone"),
        (lambda d: parameter(d, create, "get", "limit")["schema"].update(maximum=100), "maximum is 100 and was 200"),
        (lambda d: parameter(d, create, "post", "on_existing")["schema"]["enum"].remove("enrol"), "is never enrol any more"),
        (lambda d: parameter(d, create, "post", "group")["schema"].update(enum=["Staff"]), "must be one of Staff"),
        (lambda d: parameter(d, create, "post", "organization")["schema"].update(pattern="^a"), "must look like ^a"),
        (lambda d: parameter(d, records, "get", "after")["schema"].update(type="string"), "is string and not integer"),
        (lambda d: at(d, "paths", create, "post", "requestBody", "content").pop("text/csv"), "text/csv is gone"),
        (lambda d: at(d, *form)["required"].append("format"), "format is required"),
        (lambda d: at(d, *form, "properties").pop("brake"), "brake is gone"),
        (lambda d: at(d, *schemas, "Catalog", "properties", "roles").update(maxItems=10), "maxItems is 10"),
        (lambda d: at(d, *schemas, "AttributeDefinition", "oneOf").pop(), "alternatives"),
        (lambda d: at(d, "paths", create, "post", "responses").pop("202"), "does not answer 202"),
        (lambda d: at(d, "paths", create, "post", "responses", "202", "headers").pop("Location"), "no header Location"),
        (lambda d: at(d, "paths", "/v1/users/export", "get", "responses", "200", "content").pop("text/csv"), "text/csv is gone"),
        (lambda d: at(d, *schemas, "Counts", "properties").pop("failed"), "failed is gone"),
        (lambda d: at(d, *schemas, "Counts", "required").remove("failed"), "failed may be missing"),
        (lambda d: at(d, *schemas, "Counts", "properties", "failed").update(type=["integer", "null"]), "may be null"),
        (lambda d: at(d, *schemas, "Counts", "properties", "failed").update(type="number"), "is number and not integer"),
        (lambda d: at(d, *schemas, "ImportState", "enum").remove("paused"), "is never paused any more"),
        (lambda d: at(d, "paths").update({"/v1/new": at(d, "paths", create)}), None),
        (lambda d: at(d, "paths", create, "get", "parameters").append(new), None),
        (lambda d: parameter(d, create, "get", "limit")["schema"].update(maximum=1_000), None),
        (lambda d: parameter(d, create, "post", "on_existing")["schema"]["enum"].append("replace"), None),
        (lambda d: at(d, *schemas, "Counts", "properties").update(other={"type": "integer"}), None),
        (lambda d: at(d, *schemas, "ErrorCode", "enum").append("other"), None),
        (lambda d: at(d, *form, "properties").update(colour={"type": "string"}), None),
        (lambda d: at(d, "paths", create, "get").update(description="Other words"), None),
    ]
    wrong = 0
    for number, (change, wanted) in enumerate([(lambda _: None, None), *changes]):
        changed = copy.deepcopy(released)
        change(changed)
        told = Comparison(released, changed).breaks
        if (wanted is None and told) or (wanted and not any(wanted in one for one in told)):
            wrong += 1
            print(f"change {number}: {wanted or 'nothing'} was to be told, and told was: {told or 'nothing'}")
    print(f"{len(changes)} changes of the API, {wrong} of them judged wrongly")
    return wrong


def main(arguments):
    if arguments == ["--release"]:
        RELEASED.write_text(json.dumps(without_prose(json.loads(NOW.read_text())), indent=1, sort_keys=True) + "\n")
        return 0
    released = json.loads(RELEASED.read_text())
    if arguments == ["--self-test"]:
        return int(self_test(released) > 0)
    if arguments:
        print(__doc__)
        return 2
    breaks = Comparison(released, json.loads(NOW.read_text())).breaks
    for one in breaks:
        print(one)
    if breaks:
        print(f"docs/openapi.json breaks clients of the released API in {len(breaks)} place(s). Where that is meant, see CONTRIBUTING.md")
    return int(bool(breaks))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
