"""What there is in a PostgreSQL database: tables, columns, sequences; how it is read, and written back."""

from __future__ import annotations

import re
from typing import Any

from troth.lab.libpq import Session, texts
from troth.lab.model import Observation, Refused
from troth.lab.postgres_rules import unfollowed

_INTEGERS, _FLOATS = {"int2", "int4", "int8", "oid"}, {"float4", "float8"}

_TABLES = """
SELECT c.oid::regclass::text, a.attname, t.typname, a.attgenerated
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'troth_lab') AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY 1, a.attnum
"""
_SEQUENCES = """
SELECT c.oid::regclass::text, d.refobjid::regclass::text, a.attname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE c.relkind = 'S' AND n.nspname NOT IN ('troth_lab') ORDER BY 1
"""
_SCHEMA = """
SELECT coalesce(string_agg(one, E'\\n' ORDER BY one), '') FROM (
    SELECT attrelid::regclass || '.' || attname || ' ' || atttypid::regtype || ' ' || attnotnull || ' '
        || coalesce(pg_get_expr(adbin, adrelid), '') AS one
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND c.relkind IN ('r', 'v') AND c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind <> 'a'
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
) AS all_of_it
"""


def value_of(text: str | None, kind: str) -> object:
    """A value as plain data: numbers as numbers, everything else as PostgreSQL writes it."""
    if text is None:
        return None
    if kind in _INTEGERS:
        return int(text)
    if kind in _FLOATS:
        return float(text)
    return text == "t" if kind == "bool" else text


class Catalog:
    """Read once after the beginning, and again when something changes the schema."""

    def __init__(self) -> None:
        self.columns: dict[str, list[tuple[str, str, bool]]] = {}
        """Per table: name, type, and whether it is generated."""
        self.owners: dict[str, tuple[str, str]] = {}
        """Per sequence: the table and column whose values it gives."""
        self._sequences: list[str] = []
        self.schema = ""
        """Every definition, as text."""
        self.reads_clock = False

    def read(self, session: Session) -> None:
        """Look at what there is.

        Raises:
            Refused: something in the schema cannot be followed.
        """
        tables, sequences = session.run(_TABLES)[0], session.run(_SEQUENCES)[0]
        self.columns = {}
        for table, column, kind, generated in tables:
            assert table is not None
            assert column is not None
            self.columns.setdefault(table, []).append((column, kind or "", bool(generated)))
        self._sequences = texts(sequences)
        self.owners = {
            name: (table, column) for name, table, column in sequences if name and table and column
        }
        self.schema = texts(session.run(_SCHEMA)[0])[0]
        self.reads_clock = "troth_lab.now" in self.schema
        plain = re.sub(r"troth_lab\.now\(\)", "", self.schema)
        if re.search(r"\b(now|clock_timestamp)\(\)|CURRENT_(TIMESTAMP|DATE)", plain):
            raise Refused("the schema reads the server's clock past the lab")
        for line in plain.splitlines():
            if why := unfollowed(line):
                raise Refused(f"the schema cannot be followed, {line!r}: {why}")

    def contents(
        self, session: Session
    ) -> tuple[dict[str, list[list[str | None]]], dict[str, list[Any]]]:
        """The committed rows of every table as they lie, and where the sequences are."""
        selects = [f"SELECT * FROM {table} ORDER BY ctid" for table in self.columns]
        selects += [f"SELECT last_value, is_called FROM {name}" for name in self._sequences]
        if not selects:
            return {}, {}
        found = session.run("; ".join(selects))
        tables = dict(zip(self.columns, found, strict=False))
        sequences = {
            name: [int(rows[0][0] or 0), rows[0][1] == "t"]
            for name, rows in zip(self._sequences, found[len(self.columns) :], strict=True)
        }
        return tables, sequences

    def refill(self, table: str, rows: list[list[str | None]]) -> list[str]:
        """The statements that make these the rows of the table, in this order."""
        statements = [f"DELETE FROM {table}"]
        columns = self.columns[table]
        kept = [n for n, (_, _, generated) in enumerate(columns) if not generated]
        names = ", ".join(f'"{columns[n][0]}"' for n in kept)
        if rows:
            values = ", ".join(
                "(" + ", ".join(_literal(row[n]) for n in kept) + ")" for row in rows
            )
            statements.append(
                f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES {values}"
            )
        return statements

    def free(self, data: dict[str, Any], traces: frozenset[int]) -> bool:
        """Set the sequences of a content back to the last value of which there is a trace. Whether there was one to set."""
        changed = False
        for name, (table, column) in self.owners.items():
            last, called = data["sequences"][name]
            columns, rows = data["tables"][table]
            place = columns.index(column)
            used = [row[place] for row in rows if type(row[place]) is int and row[place] <= last]
            used += [number for number in traces if number <= last]
            used += [
                value
                for other, (_, others) in data["tables"].items()
                for row in others
                for value in row
                if other != table and type(value) is int and value <= last
            ]
            most = max((*used, 0))
            if called and most < last:
                data["sequences"][name] = [most, True] if most else [1, False]
                changed = True
        return changed

    def return_unseen(
        self, session: Session, seat: Session, before: dict[str, list[Any]], seen: Observation
    ) -> None:
        """Give numbers back that a statement has drawn and that are in no row: an INSERT that met a conflict, or failed.

        Nobody has seen them, so it is as if they had not been drawn; and an attempt that is repeated burns no number each time.
        """
        if not before:
            return
        reading = "; ".join(f"SELECT last_value, is_called FROM {name}" for name in before)
        for (name, (last, called)), ((now, *rest),) in zip(
            before.items(), seat.run(reading), strict=True
        ):
            reached = int(now or 0)
            if name not in self.owners or [reached, rest == ["t"]] == [last, called]:
                continue
            table, column = self.owners[name]
            if seen.error or session.status == "E":
                used = 0
            else:
                found = session.run(
                    f'SELECT max("{column}") FROM {table} WHERE "{column}" <= {reached}'
                )
                used = int(found[0][0][0] or 0)
            if used <= last and not (used == last and not called):
                seat.run(f"SELECT setval('{name}', {last}, {str(called).lower()})")
            elif used < reached:
                seat.run(f"SELECT setval('{name}', {used}, true)")


def set_to(sequences: dict[str, list[Any]]) -> str:
    """The statement that sets sequences to these values."""
    calls = (
        f"setval('{name}', {last}, {str(called).lower()})"
        for name, (last, called) in sequences.items()
    )
    return f"SELECT {', '.join(calls)}"


def _literal(text: str | None) -> str:
    if text is None:
        return "NULL"
    quoted = text.replace("'", "''")
    return f"E'{quoted.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{quoted}'"
