"""Keeps users as a spreadsheet says, through the Bulk User Management API: the way its documents describe, with nothing
that is Muster's own but the address and the credential."""

import copy
import json
import os
import time

import requests

BASE = os.environ["BASE_URL"]
api = requests.Session()
api.trust_env = False
api.auth = (os.environ["SUBDOMAIN"], os.environ["API_TOKEN"])


def call(method, path, **arguments):
    response = api.request(method, path if path.startswith("http") else f"{BASE}/{path}", timeout=60, **arguments)
    assert response.status_code == 200, (method, path, response.status_code, response.text)
    return response


def upload(users, method="POST", name="users.json", job=None):
    files = {"file": (name, json.dumps(users), "application/json")}
    response = call(method, "bulk/users/upload", files=files, data={"id": job} if job else None)
    body = response.json()
    assert body["status"] == "created" and response.headers["Link"] == body["link"], body
    return body["id"], body["link"]


def poll(link, until):
    deadline = time.monotonic() + 60
    while True:
        job = call("GET", link).json()
        if job["status"] in until:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.1)


def filled(template, row, roles=(), teams=()):
    """A deep copy of the template's user with a spreadsheet's row in it, every key and every role and team sent back."""
    user = copy.deepcopy(template)
    user.update(row)
    for listed, chosen in ((user["roles"], roles), (user["teams"], teams)):
        for entry in listed:
            entry["value"] = 1 if entry["name"] in chosen else 0
    return user


def has(user, kind):
    return [entry["name"] for entry in user[kind] if entry["value"]]


# 1. The template: every field, and the roles and teams that there are.
template = call("GET", "bulk/users/template").json()[0]
assert [role["name"] for role in template["roles"]] == sorted(role["name"] for role in template["roles"])
assert {team["name"] for team in template["teams"]} == {"Support", "Sales"}

# 2. Upload a file with faults; the job tells of them, and nothing is applied.
rows = [
    filled(template, {"email": "ann@example.com", "first_name": "Ann", "agent_number": 1001, "max_chat_limit": "3"},
           ["Agent"], ["Support"]),
    filled(template, {"email": "bob at example.com", "first_name": "", "agent_number": None}, ["Agent"]),
    filled(template, {"email": "ANN@example.com"}),
]
job, link = upload(rows)
state = poll(link, {"valid_scheme", "invalid_scheme"})
assert state["status"] == "invalid_scheme" and state["total_rows"] == 3, state
errors = call("GET", f"bulk/users/errors/scheme/{job}").json()
assert errors == state["scheme_errors"], errors
assert [(error["row"], error["column"], error["message"]) for error in errors] == [
    (2, 1, "Must be a valid email"),
    (2, 4, "Non-empty string"),
    (3, 1, "Must be unique within the file"),
], errors
refused = api.post(f"{BASE}/bulk/users/proceed", json={"id": job}, timeout=60)
assert refused.status_code == 409 and refused.json()["message"], refused.text
assert call("GET", "users").json() == []

# 3. Mend it, put it in the place of the first, proceed, poll.
rows[1].update({"email": "bob@example.com", "first_name": "Bob"})
rows[2]["email"] = "cat@example.com"
assert upload(rows, "PUT", "mended.json", job)[0] == job
assert poll(link, {"valid_scheme", "invalid_scheme"})["status"] == "valid_scheme"
started = call("POST", "bulk/users/proceed", json={"id": job})
assert started.json() == {"id": job, "status": "valid_scheme", "link": link} and started.headers["Link"] == link
state = poll(link, {"completed"})
assert (state["total_rows"], state["affected_rows"], state["failed_rows"]) == (3, 3, 0), state
assert state["filename"] == "mended.json" and state["proceed_api_user_name"] == "api_user_name_1", state
assert call("GET", f"bulk/users/errors/update/{job}").json() == []
# A client that lost the answer asks again.
assert call("POST", "bulk/users/proceed", json={"id": job}).json()["status"] == "completed"

# 4. Look at what is there, in the fields of the upload.
users = {user["email"]: user for user in call("GET", "users").json()}
assert list(users) == ["ann@example.com", "bob@example.com", "cat@example.com"]
ann = users["ann@example.com"]
assert (ann["first_name"], ann["agent_number"], ann["max_chat_limit"]) == ("Ann", "1001", 3), ann
assert has(ann, "roles") == ["Agent"] and has(ann, "teams") == ["Support"] and ann["deactivated_at"] is None, ann
assert users["bob@example.com"]["agent_number"] == "", users["bob@example.com"]
assert call("GET", "users", params={"email": ["ann@example.com", "bob@example.com"]}).headers["Total"] == "2"

# 5. A mirror: one user renamed, one deactivated, one whose new address is taken.
mirror = [
    {**ann, "status": "Active", "new_email": "anna@example.com"},
    {**users["bob@example.com"], "status": "Inactive"},
    {**users["cat@example.com"], "status": "Active", "new_email": "bob@example.com"},
]
job, link = upload(mirror)
assert poll(link, {"valid_scheme", "invalid_scheme"})["status"] == "valid_scheme"
call("POST", "bulk/users/proceed", json={"id": job})
state = poll(link, {"completed"})
assert (state["affected_rows"], state["failed_rows"]) == (2, 1), state
errors = call("GET", f"bulk/users/errors/update/{job}").json()
assert [(error["row"], error["column"], error["error_type"]) for error in errors] == [(3, 2, "error")], errors
after = {user["email"]: user for user in call("GET", "users").json()}
assert after["anna@example.com"]["id"] == ann["id"] and after["bob@example.com"]["deactivated_at"], after

# 6. The list, followed by its links.
seen, page = [], f"{BASE}/bulk/users/jobs?per_page=1"
while page:
    response = call("GET", page)
    seen += [listed["id"] for listed in response.json()]
    assert response.headers["Total"] == "2" and response.headers["Per-Page"] == "1"
    page = response.links.get("next", {}).get("url")
assert seen == sorted(seen, reverse=True) and len(seen) == 2, seen

# 7. A wrong credential.
wrong = requests.get(f"{BASE}/bulk/users/jobs", auth=(api.auth[0], "wrong"), timeout=60)
assert wrong.status_code == 401 and wrong.headers["WWW-Authenticate"].startswith("Basic"), wrong.text
print("template, upload, errors, upload again, proceed, poll, users, mirror, list: as documented")
