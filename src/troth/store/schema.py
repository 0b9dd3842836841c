"""The name of the schema: a parameter everywhere, and a word in SQL files.

SQL files say `troth_schema` where the schema's name belongs: before the dot of a qualified name,
inside dynamic SQL, in the name of a channel. It is replaced by the bare name, which means the same
in all these places because only names that need no quotes are allowed.
"""

import re
from typing import LiteralString

from troth.store.errors import SchemaNameInvalid

DEFAULT = "troth"
_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,47}")
_WORD = re.compile(r"\btroth_schema\b")

# What PostgreSQL 15 to 18 reserve (pg_get_keywords, categories R and T).
RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast
    check collate collation column concurrently constraint create cross current_catalog
    current_date current_role current_schema current_time current_timestamp current_user
    default deferrable desc distinct do else end except false fetch for foreign freeze from
    full grant group having ilike in initially inner intersect into is isnull join lateral
    leading left like limit localtime localtimestamp natural not notnull null offset on only
    or order outer overlaps placing primary references returning right select session_user
    similar some symmetric system_user table tablesample then to trailing true union unique
    user using variadic verbose when where window with
    """.split()  # noqa: SIM905 (a hundred lines otherwise)
)


def checked(name: str) -> str:
    """`name`, if it may be the name of a schema; `SchemaNameInvalid` otherwise."""
    if not _NAME.fullmatch(name):
        raise SchemaNameInvalid(
            f"{name!r} cannot be the schema: use a lower-case letter or _, then up to 47 "
            "lower-case letters, digits and _, and do not begin with pg_."
        )
    if name in RESERVED:
        raise SchemaNameInvalid(f"{name!r} cannot be the schema: SQL reserves that word.")
    return name


def substitute(sql: str, schema: str) -> LiteralString:
    """`sql` with `troth_schema` replaced; injection is impossible because names are checked."""
    return _WORD.sub(checked(schema), sql)
