"""Django on its PostgreSQL backend: its own migrations, the ORM, and server-side cursors."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.drivers.place import Place

PROGRAM = """
import os
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                    "django.contrib.admin", "django.contrib.messages", "django.contrib.postgres"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"],
        "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
        "OPTIONS": {"server_side_binding": os.environ["BINDING"] == "server"},
    }},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, SECRET_KEY="x",
)
django.setup()
from django.core.management import call_command
from django.contrib.auth.models import Group, Permission, User
from django.contrib.postgres.aggregates import ArrayAgg
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, Q, Value
from django.db.models.functions import Concat

call_command("migrate", verbosity=0)
User.objects.bulk_create(User(username=f"user{i}", first_name="A", last_name=str(i)) for i in range(300))
group = Group.objects.create(name="editors")
group.user_set.set(User.objects.filter(username__startswith="user1"))
assert group.user_set.count() == 111
try:
    with transaction.atomic():
        User.objects.create(username="user1")
except IntegrityError:
    pass
else:
    raise AssertionError
with transaction.atomic():
    locked = User.objects.select_for_update().get(username="user2")
    locked.email = "x@example.org"
    locked.save()
assert User.objects.filter(Q(email__icontains="EXAMPLE") | Q(username="user3")).count() == 2
named = User.objects.annotate(full=Concat(F("first_name"), Value(" "), F("last_name"))).order_by("id")
assert [u.full for u in named[:2]] == ["A 0", "A 1"]
assert sum(1 for _ in User.objects.iterator(chunk_size=50)) == 300
counted = Group.objects.annotate(n=Count("user"), names=ArrayAgg("user__username")).get()
assert (counted.n, len(counted.names)) == (111, 111)
assert Permission.objects.select_related("content_type").count() > 10
User.objects.filter(username="user4").delete()
assert not connection.introspection.get_relations(connection.cursor(), "auth_user")
call_command("migrate", "admin", "zero", verbosity=0)
for app in ("sessions", "auth", "contenttypes"):
    call_command("migrate", app, "zero", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("drop table django_migrations")
print("done")
"""


def test_django_works_as_it_does_directly(place: Place, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    for binding in ("client", "server"):
        done = place.run(sys.executable, program, env={**place.through(), "BINDING": binding})
        assert done.stdout == "done\n"
