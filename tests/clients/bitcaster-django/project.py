"""A Django project with bitcaster-django in it: its users are kept in Muster by nothing else than the application's own signals."""

import logging
import sys

import django
from django.conf import settings

bae, version = sys.argv[1:]
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "bitcaster_django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    BITCASTER={"BAE": bae, "PROJECT": "crm", "APPLICATION": "web"},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from bitcaster_django.client import Client  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402


class Failures(logging.Handler):
    """What the application swallows so that saving a user never fails."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.told = []

    def emit(self, record):
        self.told.append(self.format(record))


failures = Failures()
logging.getLogger("bitcaster_django").addHandler(failures)
call_command("migrate", verbosity=0)


def listed():
    assert failures.told == [], failures.told
    return {user["email"]: user for user in Client().sdk.list_users()}


ann = User.objects.create_user("ann", "ann@example.com", first_name="Ann", last_name="Lee")
assert listed()["ann@example.com"]["first_name"] == "Ann", listed()

ann.last_name = "Smith"
ann.is_active = False
ann.save()
if version == "0.7":
    # This version knows users by their addresses.
    assert listed()["ann@example.com"]["last_name"] == "Smith", listed()
    known = User(username="old", email="old@example.com")
    User.objects.bulk_create([known])
    known.save()
    assert "old@example.com" in listed()
    sys.exit()

# This one registers names with an application, and says there whether they are active.
assert listed()["ann@example.com"]["last_name"] == "Lee", listed()
staff = Group.objects.create(name="staff")
ann.groups.add(staff)
registered = Client().register_user("ann")
assert registered["created"] is False, registered
assert registered["membership"]["custom_fields"] == {"groups": [staff.pk]}, registered
staff.user_set.remove(ann)
assert Client().register_user("ann")["membership"]["custom_fields"] == {"groups": []}
User.objects.create_user("nobody")
ann.delete()
assert list(listed()) == ["ann@example.com"], listed()
