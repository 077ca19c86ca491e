"""Uses bitcaster-sdk as its documents say: the address of the application in one variable, and then its functions."""

import sys

import bitcaster_sdk
from bitcaster_sdk import client as sdk
from bitcaster_sdk.exceptions import AuthenticationError, EventNotFoundError, ValidationError

bae, version = sys.argv[1:]
client = bitcaster_sdk.init(bae)


def refused(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected")


assert bitcaster_sdk.ping() == {"token": "client"}, bitcaster_sdk.ping()
schema, rest = bae.split("://")
host = rest.split("@")[1].split("/")[0]
refused(AuthenticationError, lambda: sdk.Client(f"{schema}://nonsense@{host}/api/o/my-org/").ping())
refused(EventNotFoundError, lambda: sdk.Client(bae.replace("/my-org/", "/nowhere/")).list_users())

if version == "0.2":
    # This version reads alone.
    listed = bitcaster_sdk.list_users()
    assert [user["email"] for user in listed] == ["ann@example.com"], listed
    assert listed[0]["is_active"] and not listed[0]["locked"], listed
    sys.exit()

assert bitcaster_sdk.list_users() == []
ann = client.add_user("ann@example.com", "Ann", "Lee", {"office": "Milan"})
assert (ann["username"], ann["custom_fields"]) == ("ann@example.com", {"office": "Milan"}), ann
assert client.add_user("ann@example.com", "Eve", "")["first_name"] == "Ann"
refused(ValidationError, lambda: client.add_user("nobody", "", ""))
for mode, fields, after in [
    ("ignore", {"office": "Rome"}, {"office": "Milan"}),
    ("merge", {"dept": {"code": "IT"}}, {"office": "Milan", "dept": {"code": "IT"}}),
    ("override", {"dept": {"floor": 4}}, {"office": "Milan", "dept": {"floor": 4}}),
    ("remove", {"office": None}, {"dept": {"floor": 4}}),
    ("rewrite", {"k": 1}, {"k": 1}),
]:
    changed = client.update_user("ann@example.com", "Ann", "Lee", fields, mode=mode)
    assert changed["custom_fields"] == after and changed["_mode"] == mode, changed
refused(EventNotFoundError, lambda: client.update_user("missing@example.com", "", ""))

# Members of an application.
for created in (True, False):
    registered = bitcaster_sdk.register_user(
        "crm", "web", "bob", first_name="Bob", email="bob@example.com", custom_fields={"groups": [1, 2]},
        addresses=[{"value": "bob@example.com", "assign_to_preferred_channel": True}, {"value": "+390669821234", "name": "sms"}],
    )
    assert registered["created"] is created, registered
    assert registered["user"]["username"] == "bob" and registered["membership"]["active"], registered
    assert registered["membership"]["custom_fields"] == {"groups": [1, 2]}, registered
    assert [address["type"] for address in registered["addresses"]] == ["email", "phone"], registered
    assert registered["assignments"][0]["skipped"] is True, registered
inactive = bitcaster_sdk.register_user("crm", "web", "bob", active=False)
assert inactive["membership"] == {
    "custom_fields": {"groups": [1, 2]}, "active": False, "locked": False, "enable_notifications": False,
}, inactive
refused(ValidationError, lambda: bitcaster_sdk.register_user("crm", "web", "bob", distribution_list="news"))
assert bitcaster_sdk.unregister_user("crm", "web", "bob") == {"deleted": 0}
refused(EventNotFoundError, lambda: bitcaster_sdk.unregister_user("crm", "web", "missing"))
assert {user["email"] for user in bitcaster_sdk.list_users()} == {"ann@example.com", "bob@example.com"}
bound = sdk.Client(bae.replace("/my-org/", "/other/"))
assert bound.list_users() == []
