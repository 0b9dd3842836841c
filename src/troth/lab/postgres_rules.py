"""Decisions about PostgreSQL statements: pure functions over their text."""

from __future__ import annotations

import re

from troth.lab.faults import ANSWERED
from troth.lab.model import Observation, Op, Outcome

_FLAGS = re.IGNORECASE | re.DOTALL
_READ = re.compile(r"\s*(select|values|table|show|explain(?!\s+analy))\b", _FLAGS)
_LOCKS = re.compile(r"\bfor\s+(no\s+key\s+)?(update|key\s+share|share)\b|\binto\b", _FLAGS)
_CALL = re.compile(r"\b([a-z_][\w.]*)\s*\(", _FLAGS)
_HARMLESS = frozenset(
    [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "coalesce",
        "lower",
        "upper",
        "length",
        "abs",
        "round",
        "now",
        "exists",
        "in",
        "any",
        "all",
        "and",
        "or",
        "not",
        "as",
        "on",
        "using",
        "values",
        "array",
        "array_agg",
        "string_agg",
        "json_agg",
        "jsonb_agg",
        "json_build_object",
        "jsonb_build_object",
        "row_number",
        "rank",
        "over",
        "filter",
        "where",
        "when",
        "then",
        "else",
        "cast",
        "extract",
        "date_trunc",
        "to_char",
        "concat",
        "substring",
        "trim",
        "nullif",
        "greatest",
        "least",
        "select",
        "from",
        "join",
        "current_schema",
        "version",
        "current_setting",
        "clock_timestamp",
        "transaction_timestamp",
        "statement_timestamp",
        "troth_lab.now",
        "bool_and",
        "bool_or",
        "floor",
        "ceil",
        "position",
        "replace",
        "split_part",
        "unnest",
        "generate_series",
        "varchar",
        "numeric",
        "char",
    ]
)
_SUBSELECT = re.compile(r".\bselect\b|\bupdate\b.*\bfrom\b|\bdelete\b.*\busing\b", _FLAGS)
_SESSION = re.compile(
    r"^\s*(set|reset)\s+(?!local\b|transaction\b|constraints\b)|\bpg_(try_)?advisory_(un)?lock(_shared|_all)?\s*\(",
    _FLAGS,
)
_SKIPS = re.compile(
    r"\bfor\s+(no\s+key\s+update|update|key\s+share|share)(\s+of\s+[\w\s,.\"]+?)?\s+skip\s+locked\b",
    _FLAGS,
)
_DRAWS = re.compile(r"\b(insert|merge|nextval|call|do)\b", _FLAGS)
_DEFINES = re.compile(r"^\s*(create|alter|drop|call|do|comment|grant)\b", _FLAGS)
_SAVEPOINT = re.compile(r"\s*savepoint\b", re.IGNORECASE)
_CLOCK = re.compile(
    r"\b(now|clock_timestamp|transaction_timestamp|statement_timestamp|timeofday)\s*\(\s*\)"
    r"|\b(current_timestamp|current_date|current_time|localtimestamp|localtime)\b|'(now|today|tomorrow|yesterday)'",
    re.IGNORECASE,
)
_LITERAL = re.compile(r"('(?:[^']|'')*')")
_UNFOLLOWED = (
    (r"\b(gen_random_uuid|uuid_generate_v4|uuidv4|uuidv7|random)\s*\(", "the database's own randomness is not the lab's"),
    (r"^\s*(listen|notify|unlisten)\b|\bpg_notify\s*\(", "notifications are not explored yet"),
    (r"^\s*(prepare|execute|declare|fetch|deallocate)\b", "prepared statements and cursors of the server are not explored"),
    (r"^\s*create\s+temp", "a temporary table lives as long as its connection"),
    (r"^\s*(copy|vacuum|cluster|reindex|truncate)\b", "it is not explored yet"),
    (r"\bsearch_path\b", "the lab needs the search path"),
    (r"\b(txid_current|pg_current_xact_id|pg_backend_pid)\s*\(|\bxmin\b|\bctid\b", "it shows what the lab repeats"),
    (r"'(now|today|tomorrow|yesterday)'|\btimeofday\s*\(", "a clock that the lab cannot set"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern, _FLAGS), why) for pattern, why in _UNFOLLOWED)

_GONE = Observation(("BAD", "server closed the connection unexpectedly"), "lost")
DEADLOCK = Observation(("E", ((67, b"40P01"), (77, b"deadlock detected"), (83, b"ERROR"), (86, b"ERROR"))), "refused")  # fmt: skip
"""What a statement is told if the one that it waits for waits for it."""


def _lost(name: str, word: str, *, happens: bool) -> Outcome:
    return Outcome(name, happens, "error", _GONE, cost=1, survived=True, word=word, severs=True)


UNREACHABLE = Outcome(
    "unreachable",
    happens=False,
    told="error",
    observation=Observation(("BAD", "connection refused"), "unreachable"),
    cost=1,
    survived=True,
    word="refused connection",
)
CONNECTION_LOST = _lost("connection lost, not done", "lost connection", happens=False)
COMMIT_LOST = _lost("connection lost, not committed", "lost connection", happens=False)
COMMIT_DONE = _lost("connection lost after it was committed", "lost commit answer", happens=True)


def outcomes_of(op: Op, *, wrote: bool) -> tuple[Outcome, ...]:
    """Every way in which an operation can end. `wrote`: the transaction has something to commit."""
    if op.kind == "connect":
        return (ANSWERED, UNREACHABLE)
    if op.kind == "commit":
        return (ANSWERED, COMMIT_DONE, COMMIT_LOST) if wrote else (ANSWERED,)
    if op.kind != "sql":
        return (ANSWERED,)
    by_itself = (
        not is_plain_read(op.text) and not op.params[-2]
    )  # as the edges write it: not in a transaction
    return (ANSWERED, COMMIT_DONE, CONNECTION_LOST) if by_itself else (ANSWERED, CONNECTION_LOST)


def is_plain_read(text: str) -> bool:
    """Whether the statement leaves nothing behind: no rows, no locks, and no function that the lab does not know."""
    if not _READ.match(text) or _LOCKS.search(_LITERAL.sub("''", text)):
        return False
    return all(name.lower() in _HARMLESS for name in _CALL.findall(_LITERAL.sub("''", text)))


def skips_locked(text: str) -> bool:
    """Whether the statement only locks what nobody else has locked: if it finds nothing, it leaves nothing."""
    return bool(_SKIPS.search(text)) and is_plain_read(_SKIPS.sub("", text))


def reads_others(text: str) -> bool:
    """Whether a statement that writes, or locks, also reads rows that it does not lock."""
    return bool(_SUBSELECT.search(_LITERAL.sub("''", text)))


def draws(text: str) -> bool:
    """Whether the statement may draw a number from a sequence."""
    return bool(_DRAWS.search(text))


def defines(text: str) -> bool:
    """Whether the statement may change the schema."""
    return bool(_DEFINES.search(text))


def takes_savepoint(text: str) -> bool:
    """Whether a part of the transaction can be rolled back."""
    return bool(_SAVEPOINT.match(text))


def ends_session_state(text: str) -> bool:
    """Whether what the statement does lasts as long as the connection: a setting, an advisory lock."""
    return bool(_SESSION.search(text)) and "_xact_" not in text


def reads_clock(text: str) -> bool:
    """Whether the statement asks the database for the time."""
    return bool(_CLOCK.search(text))


def unfollowed(text: str) -> str | None:
    """Why the lab cannot follow a statement; None if it can."""
    return next((why for pattern, why in _PATTERNS if pattern.search(text)), None)


def with_labs_clock(text: str) -> str:
    """The statement with every reading of the clock turned into one of the lab's."""

    def outside(piece: str) -> str:
        piece = re.sub(
            r"\b(current_timestamp|localtimestamp)\b(\s*\(\s*\d\s*\))?",
            "troth_lab.now()",
            piece,
            flags=re.IGNORECASE,
        )
        piece = re.sub(r"\bcurrent_date\b", "(troth_lab.now()::date)", piece, flags=re.IGNORECASE)
        return re.sub(
            r"(?<![\w.])(pg_catalog\.)?(now|clock_timestamp|transaction_timestamp|statement_timestamp)\s*\(\s*\)",
            "troth_lab.now()", piece, flags=re.IGNORECASE,
        )  # fmt: skip

    pieces = _LITERAL.split(text)
    return "".join(piece if n % 2 else outside(piece) for n, piece in enumerate(pieces))
