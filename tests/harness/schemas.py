"""Migrated schemas for tests, used again as long as nobody can tell.

To migrate a schema and to drop it takes longer than most tests. So a schema is given to the next test when the last one has
left no session and nothing else than rows and tables of its own. Whatever else a test has done to it, it is dropped.
"""

from __future__ import annotations

import uuid

import psycopg
from psycopg import sql

from tests.harness.postgres import drop_schema
from troth.store.migrate import migrate

MOST_USES = 200

# All that DDL can change, but for partitions, which workers make ahead of time.
_SHAPE = """
WITH part AS (SELECT c.* FROM pg_class c WHERE c.relnamespace = %(schema)s::regnamespace AND NOT c.relispartition)
SELECT md5(concat_ws('|',
  (SELECT string_agg(concat_ws(',', c.relname, c.relkind, c.relowner, c.relacl, c.reloptions, c.relrowsecurity,
     c.relforcerowsecurity), ';' ORDER BY c.relname) FROM part c),
  (SELECT string_agg(concat_ws(',', c.relname, a.attname, a.atttypid, a.attnotnull, a.attisdropped), ';'
     ORDER BY c.relname, a.attnum) FROM part c JOIN pg_attribute a ON a.attrelid = c.oid WHERE a.attnum > 0),
  (SELECT string_agg(concat_ws(',', c.relname, k.conname, k.contype, k.convalidated), ';' ORDER BY c.relname, k.conname)
     FROM part c JOIN pg_constraint k ON k.conrelid = c.oid),
  (SELECT string_agg(concat_ws(',', c.relname, t.tgname, t.tgenabled), ';' ORDER BY c.relname, t.tgname)
     FROM part c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal),
  (SELECT string_agg(concat_ws(',', p.proname, p.proargtypes, md5(p.prosrc), p.proacl, p.proconfig), ';'
     ORDER BY p.proname, p.proargtypes::text) FROM pg_proc p WHERE p.pronamespace = %(schema)s::regnamespace),
  (SELECT n.nspacl::text FROM pg_namespace n WHERE n.oid = %(schema)s::regnamespace)))
"""
_TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = %(schema)s::regnamespace AND relkind = 'r'
"""
_SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_CLEAR = """
DO $$
DECLARE
    each record;
    filled regclass[] := '{{}}';
BEGIN
    SET LOCAL session_replication_role = replica;  -- histories that nobody may rewrite, too
    FOR each IN SELECT c.oid::regclass AS name FROM pg_class c
                WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migration'
                  AND pg_relation_size(c.oid) > 0 LOOP
        filled := filled || each.name;
    END LOOP;
    IF filled <> '{{}}' THEN  -- all at once, for the sake of foreign keys; a file that is new has no dead rows
        EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ') || ' CASCADE';
    END IF;
    FOR each IN SELECT c.oid::regclass AS name FROM pg_class c
                WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'S' LOOP
        PERFORM setval(each.name, 1, false);
    END LOOP;
END $$
"""


class Schemas:
    """The migrated schemas of one database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._free: str | None = None
        self._uses = 0
        self._shape = ""
        self._tables: set[str] = set()

    def take(self) -> str:
        """The name of a migrated schema with nothing in it."""
        if self._free is None:
            name = f"t_{uuid.uuid4().hex[:12]}"
            migrate(self.url, name)
            with psycopg.connect(self.url, autocommit=True) as connection:
                self._shape, self._tables = _shape(connection, name), _tables(connection, name)
            self._uses = 0
            return name
        name, self._free = self._free, None
        return name

    def give_back(self, name: str) -> None:
        """Clear it for the next test, or drop it."""
        self._uses += 1
        if self._uses < MOST_USES and self._cleared(name):
            self._free = name
        else:
            drop_schema(self.url, name)

    def close(self) -> None:
        """Drop what is left."""
        if self._free is not None:
            drop_schema(self.url, self._free)

    def _cleared(self, name: str) -> bool:
        with psycopg.connect(self.url, autocommit=True) as connection:
            (others,) = connection.execute(_SESSIONS).fetchone() or (1,)
            if others:
                return False
            exists = connection.execute("SELECT to_regnamespace(%s)", (name,)).fetchone()
            if exists == (None,):
                return False
            for extra in _tables(connection, name) - self._tables:  # the test's own, and partitions
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name, extra)))
            if _shape(connection, name) != self._shape or _tables(connection, name) != self._tables:
                return False
            connection.execute(sql.SQL(_CLEAR).format(schema=sql.SQL(name)))
        return True


def _shape(connection: psycopg.Connection, name: str) -> str:
    (shape,) = connection.execute(_SHAPE, {"schema": name}).fetchone() or ("",)
    return shape


def _tables(connection: psycopg.Connection, name: str) -> set[str]:
    return {row[0] for row in connection.execute(_TABLES, {"schema": name})}
