"""A whole job with a client that was generated from /openapi.json and nothing else: look at a file, upload it, follow it, read what
became of every record and what is wrong by cause, take the failed ones and retry them; and upload with a profile."""

import io
import os
from http import HTTPStatus

from muster_client import AuthenticatedClient
from muster_client.api.catalog import catalog_show
from muster_client.api.imports import (
    imports_create,
    imports_failed_csv,
    imports_inspect,
    imports_list,
    imports_problems,
    imports_records,
    imports_retry,
    imports_show,
)
from muster_client.api.profiles import profiles_save
from muster_client.api.users import users_find, users_show
from muster_client.models import ErrorBody, ImportsCreateFilesBody, ProfilesSaveBody
from muster_client.types import File

CSV = b"email,given_name,custom__office\nada@example.com,Ada,Rome\nnobody,Bob,Bern\ncy@example.com,Cy,Oslo\n"

client = AuthenticatedClient(base_url=os.environ["MUSTER_URL"], token=os.environ["MUSTER_TOKEN"], raise_on_unexpected_status=True)


def text(value):
    """Enums are values or names, as the generator has it."""
    return getattr(value, "value", value)


def file():
    return File(payload=io.BytesIO(CSV), file_name="users.csv", mime_type="text/csv")


def done(response, status=HTTPStatus.OK):
    assert response.status_code == status, (response.status_code, response.content)
    return response.parsed


looked = done(imports_inspect.sync_detailed(client=client, body=file(), format_=imports_inspect.ImportsInspectFormat.CSV))
assert (looked.records, looked.invalid) == (3, 1), looked
assert [column.field for column in looked.columns] == ["email", "given_name", "custom__office"], looked

import_ = done(
    imports_create.sync_detailed(client=client, body=file(), format_=imports_create.ImportsCreateFormat.CSV, filename="users.csv"),
    HTTPStatus.ACCEPTED,
)
while text(import_.state) not in ("completed", "cancelled", "aborted"):
    import_ = done(imports_show.sync_detailed(import_.id, client=client, wait="30s"))
counts = import_.counts
assert (counts.total, counts.inserted, counts.failed, counts.pending) == (3, 2, 1, 0), counts
assert text(import_.options.format_) == "csv", import_.options

records, after = [], None
while True:
    page = done(imports_records.sync_detailed(import_.id, client=client, limit=2, **({} if after is None else {"after": after})))
    records += page.records
    after = page.next_
    if after is None:
        break
assert [text(record.outcome) for record in records] == ["inserted", "failed", "inserted"], records
assert text(records[1].errors[0].code) == "email_invalid", records[1]
problems = done(imports_problems.sync_detailed(import_.id, client=client))
assert [(text(one.code), one.field, one.count, one.example) for one in problems.problems] == [("email_invalid", "email", 1, "nobody")], problems
assert [place.record for place in problems.problems[0].first] == [2] and not problems.more, problems
failed = imports_failed_csv.sync_detailed(import_.id, client=client)
assert failed.status_code == HTTPStatus.OK and b"nobody" in failed.content, failed

retried = done(imports_retry.sync_detailed(import_.id, client=client))
while text(retried.state) != "completed":
    retried = done(imports_show.sync_detailed(import_.id, client=client, wait="30s"))
assert retried.counts.failed == 1, retried.counts

listed = done(imports_list.sync_detailed(client=client, limit=1))
assert listed.imports[0].id == import_.id and listed.next_ is None, listed
user = done(users_find.sync_detailed(client=client, email="ada@example.com")).users[0]
shown = done(users_show.sync_detailed(user.id, client=client))
assert shown.given_name == "Ada" and shown.metadata["office"] == "Rome", shown
assert done(catalog_show.sync_detailed(client=client)).organizations is not None

# What the caller does not set is not sent, so that a profile's values count; what the caller sets counts more. With the file as the
# body and in a form, whose options stand in the query here: this generator puts the file before everything else.
PROFILE = {
    "identifier": "preferred_username", "on_existing": "skip", "metadata": "rewrite", "on_invalid": "refuse", "start": "manual",
    "unknown_columns": "metadata", "empty_cells": "keep", "rows": "flexible", "sets": "delta", "unknown_names": "ignore",
    "duplicates": "refuse", "phone_check": "valid", "dates": "dmy", "on_invalid_value": "drop", "usernames": "ascii",
    "default_address": "true",
}
of_profile = ProfilesSaveBody.from_dict({**PROFILE, "header_names": "exact"})
done(profiles_save.sync_detailed("people", client=client, body=of_profile))


def people():
    return File(payload=io.BytesIO(b"preferred_username,given_name,floor\nzoe,Zoe,3\n"), file_name="people.csv", mime_type="text/csv")


def upload(body, **options):
    options = {"format_": imports_create.ImportsCreateFormat.CSV, "profile": "people", **options}
    taken = done(imports_create.sync_detailed(client=client, body=body, **options), HTTPStatus.ACCEPTED)
    asked = taken.options.to_dict()
    # Names that are exact go without saying; any others are told.
    assert "header_names" not in asked, asked
    return {name: str(asked[name]).lower() for name in PROFILE}


for body in (people, lambda: ImportsCreateFilesBody(file=people())):
    assert upload(body()) == PROFILE
    updating = imports_create.ImportsCreateOnExisting.UPDATE
    assert upload(body(), on_existing=updating) == {**PROFILE, "on_existing": "update"}

# An error is one that the document has.
refused = imports_list.sync_detailed(client=client, limit=100_000)
assert refused.status_code == HTTPStatus.BAD_REQUEST and isinstance(refused.parsed, ErrorBody), refused
assert text(refused.parsed.error.code) == "invalid_request", refused.parsed
print("generated Python client: all well")
