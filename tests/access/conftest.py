"""A program with people, policies and a database; passwords are cheap here, so that tests are quick."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager, contextmanager

import psycopg
import pytest

from tests.harness.postgres import drop_schema
from troth.access import Access, Passwords
from troth.store.migrate import migrate

CHEAP = Passwords(memory_kib=64, passes=1, lanes=1)

SCHEMA = """
namespace App {
  entity Tenant;
  entity Group;
  entity Person in [Group] = { tenant?: Tenant, level?: Long };
  entity Machine = { tenant?: Tenant, scopes: Set<String>, owner?: Person };
  entity Account = { tenant: Tenant, owner?: Person, frozen: Bool, iban?: String };
  action "Account::read", "Account::close" appliesTo {
    principal: [Person, Machine], resource: [Account]
  };
  action "Plan::change" appliesTo {
    principal: [Person, Machine], resource: [Account], context: { seats: Long, pin?: String }
  };
}
"""

POLICIES = """\
// Whoever belongs to the tenant may read.
@id("tenant-reads")
permit (principal, action == App::Action::"Account::read", resource is App::Account)
when { principal has tenant && principal.tenant == resource.tenant };

@id("tenant-changes-plan")
permit (principal, action == App::Action::"Plan::change", resource is App::Account)
when { principal has tenant && principal.tenant == resource.tenant && context.seats <= 100 };

@id("staff-does-all")
permit (principal in App::Group::"staff", action, resource);

@id("frozen-stays")
forbid (principal, action, resource is App::Account)
when { resource.frozen }
unless { action == App::Action::"Account::read" };
"""


def make(schema: str, **options) -> Access:
    """An Access of these policies, at work in a schema."""
    settings = {"policies": POLICIES, "schema": SCHEMA, "namespace": "App", "passwords": CHEAP}
    access = Access(**{**settings, **options})
    access.bind(schema)
    return access


TABLES = (
    "session",
    "known_client",
    "api_key",
    "person",
    "login_throttle",
    "decision",
    "policy_set",
    "operator_act",
)


@pytest.fixture(scope="module")
def place(database_url):
    """(url, schema) for the tests of a file: a schema for each test would take longer than the tests."""
    schema = f"t_{uuid.uuid4().hex[:12]}"
    migrate(database_url, schema)
    yield database_url, schema
    drop_schema(database_url, schema)


@pytest.fixture
def migrated(place):
    """The same, empty."""
    url, schema = place
    yield url, schema
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        connection.execute("SET LOCAL troth.retention = 'on'")
        for table in TABLES:
            connection.execute(f"DELETE FROM {schema}.{table}")


@pytest.fixture
def access(migrated) -> Access:
    return make(migrated[1])


@pytest.fixture
def begin(migrated):
    """Opens a transaction on a connection of its own, as a pool would."""

    @asynccontextmanager
    async def opened():
        connection = await psycopg.AsyncConnection.connect(migrated[0], autocommit=True)
        async with connection, connection.transaction():
            yield connection

    return opened


@pytest.fixture
def begin_blocking(migrated):
    @contextmanager
    def opened():
        with psycopg.connect(migrated[0]) as connection:
            yield connection

    return opened


@pytest.fixture
def sql(migrated):
    """Run a statement on the schema (`{}`) and return its rows."""

    def run(query: str, *params):
        with psycopg.connect(migrated[0], autocommit=True) as connection:
            cursor = connection.execute(query.replace("{}", migrated[1]), params)
            return cursor.fetchall() if cursor.description else []

    return run
