"""Operations, rows and answers in words, with secrets left out.

What is called like a secret is never shown; a test adds names by `lab.redact()`. Where a value's name is not known (a positional
parameter of an unusual statement) and a test hides names at all, the value is not shown either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from troth.lab.model import Op
from troth.lab.show.document import Site

_SECRET = ("password", "secret", "token", "authorization", "card", "cvc", "hash")
_HIDDEN = "…"
_INSERTED = re.compile(
    r"insert\s+into\s+[\w.\"]+\s*\(([^)]*)\)\s*values\s*\(([^)]*)\)", re.IGNORECASE
)
_COMPARED = re.compile(
    r"[\"']?(\w+)[\"']?\s*(?:=|<=?|>=?|<>|!=|like)\s*(?:\?|%s|\$\d+)", re.IGNORECASE
)
_LITERAL = re.compile(r"(?<![\w.])(?:[eE]?'(?:[^'\\]|''|\\.)*'(?:::\w+)?|-?\d+(?:\.\d+)?)(?![\w.])")
_PLACEHOLDER = re.compile(r"\?|%s|\$\d+")

Hidden = frozenset[str]


def described(op: Op, hidden: Hidden = frozenset()) -> str:
    """What the code asks, in one line."""
    if op.kind == "http":
        query, headers, body = op.params  # as `edge.http` writes it
        asked = "&".join(_pairs(query, hidden))
        keys = [f"key={value}" for name, value in headers if "idempotency" in name]
        target = f"{call(op)}?{asked}" if asked else call(op)
        return " ".join(filter(None, [target, short(content(body, hidden), 60), *keys]))
    if op.kind == "publish":
        return f"{op.text}: {said(op.params[0], hidden)}"
    return call(op, hidden)


def call(op: Op, hidden: Hidden = frozenset()) -> str:
    """Which call it is, without its parameters. A driver that writes them into the statement has its secrets left out."""
    if op.kind == "http":
        return f"{op.target} {op.text}"
    if op.kind in {"commit", "rollback", "connect", "close"}:
        return op.kind.upper()
    if op.kind == "sql":
        return short(" ".join(_without_secrets(op, hidden).split()), 70)
    if op.kind == "answer":
        return "the answer to the caller"
    return _redis(op) if op.kind == "redis" else op.text or op.kind


def parameters(op: Op, hidden: Hidden = frozenset()) -> tuple[str, ...]:
    """Its parameters, each as "name=value"; without a name where it has none."""
    if op.kind == "http":
        query, headers, body = op.params
        keys = [f"{name}={value}" for name, value in headers if "idempotency" in name]
        return (*_pairs(query, hidden), *_fields(body, hidden), *keys)
    if op.kind == "publish":
        return (said(op.params[0], hidden),)
    if op.kind == "sql":
        values, text = _values(op.params), op.text
        if not values and not _PLACEHOLDER.search(text):
            values, text = _written(text)
        return tuple(_bound(text, values, hidden))
    if op.kind == "redis":
        return tuple(
            f"{_readable(words[0])}={_HIDDEN if _names_secret(key, hidden) else ' '.join(rest)}"
            for words in op.params[2]
            for key, *rest in [[_readable(one) for one in words[1:]] or [""]]
            if rest
        )
    if op.kind == "mail" and isinstance(op.params, dict):
        return tuple(
            _pairs(((k, v) for k, v in op.params.items() if k in {"to", "subject"}), hidden)
        )
    return ()


def row(columns: dict[str, Any], hidden: Hidden = frozenset()) -> str:
    """A row or an object in one line; what looks like a secret is left out, and so is what is NULL."""
    shown = _pairs(((name, value) for name, value in columns.items() if value is not None), hidden)
    return short(" ".join(shown), 90)


def content(body: bytes, hidden: Hidden = frozenset()) -> str:
    """A body of a request or an answer in one line, its secrets left out."""
    text = body.decode(errors="replace")
    try:
        plain = msgspec.json.decode(body)
    except msgspec.DecodeError:
        fields = _fields(body, hidden)
        return "&".join(fields) if fields else _HIDDEN if _names_secret(text, hidden) else text
    return msgspec.json.encode(_cleaned(plain, hidden)).decode()


def said(message: object, hidden: Hidden = frozenset()) -> str:
    """A message or an event in one line, its secrets left out."""
    return short(content(msgspec.json.encode(message, enc_hook=str), hidden), 60)


def short(text: str, most: int) -> str:
    """The text, cut if it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"


def site(text: str) -> Site | None:
    """A call site as `edge.attempt` writes it."""
    found = re.fullmatch(r"(.+):(\d+) (.+)", text)
    return None if found is None else Site(found[1], int(found[2]), found[3])


def _names_secret(name: str, hidden: Hidden) -> bool:
    lowered = name.lower()
    return any(word in lowered for word in _SECRET) or any(
        word.lower() in lowered for word in hidden
    )


def _pairs(pairs: Iterable[tuple[str, Any]], hidden: Hidden) -> list[str]:
    return [f"{name}={_HIDDEN if _names_secret(name, hidden) else value}" for name, value in pairs]


def _fields(body: bytes, hidden: Hidden) -> list[str]:
    try:
        plain = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return _pairs(parse_qsl(body.decode(errors="replace")), hidden)
    return _pairs(plain.items(), hidden) if isinstance(plain, dict) else []


def _cleaned(plain: Any, hidden: Hidden) -> Any:
    if isinstance(plain, dict):
        return {
            k: _HIDDEN if _names_secret(str(k), hidden) else _cleaned(v, hidden)
            for k, v in plain.items()
        }
    return [_cleaned(one, hidden) for one in plain] if isinstance(plain, list) else plain


def _values(params: Any) -> Any:
    """What is bound to a statement: a sequence, or a mapping by name."""
    if (
        isinstance(params, tuple | list) and len(params) == 6
    ):  # of PostgreSQL: values, types, formats, …
        values, types, formats = params[:3]
        return [
            _loaded(value, types[n] if n < len(types) else 0, formats[n] if n < len(formats) else 0)
            for n, value in enumerate(values or ())
        ]
    given = (
        params[1:]
        if isinstance(params, tuple | list) and params and isinstance(params[0], str)
        else params
    )
    if (
        isinstance(given, tuple | list)
        and len(given) == 1
        and isinstance(given[0], tuple | list | dict)
    ):
        return given[0]
    return given


def _loaded(value: bytes | None, kind: int, form: int) -> object:
    """A parameter as it went over the wire to PostgreSQL, as far as people can read it."""
    if value is None:
        return None
    if form and kind in _INTEGERS:
        return int.from_bytes(value, "big", signed=True)
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return bytes(value).hex()


def _redis(op: Op) -> str:
    _, _, commands = op.params
    keys = dict.fromkeys(_readable(words[1]) for words in commands if len(words) > 1)
    return short(" ".join([op.target, op.text, *keys]), 70)


def _readable(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


_INTEGERS = frozenset({20, 21, 23})  # int8, int2, int4


def _bound(text: str, values: Any, hidden: Hidden) -> Iterator[str]:
    if isinstance(values, dict):
        yield from _pairs(values.items(), hidden)
        return
    names = _names(text)
    known = len(names) == len(values)
    for number, value in enumerate(values):
        if known:
            yield from _pairs([(names[number], value)], hidden)
        else:
            yield _HIDDEN if hidden or _names_secret(text, hidden) else str(value)


def _written(text: str) -> tuple[list[str], str]:
    """The values that stand in the statement itself, and the statement with marks for them."""
    found = [match[0] for match in _LITERAL.finditer(text)]
    return [one.strip("eE'") if "'" in one else one for one in found], _LITERAL.sub("?", text)


def _without_secrets(op: Op, hidden: Hidden) -> str:
    """The statement without the values of what is called like a secret; without any if their names are not known and there are secrets."""
    if _PLACEHOLDER.search(op.text) or not _LITERAL.search(op.text):
        return op.text
    values, text = _written(op.text)
    names, numbers = _names(text), count()
    known = len(names) == len(values)

    def shown(literal: re.Match[str]) -> str:
        number = next(numbers)
        secret = (
            _names_secret(names[number], hidden)
            if known
            else bool(hidden) or _names_secret(text, hidden)
        )
        return _HIDDEN if secret else literal[0]

    return _LITERAL.sub(shown, op.text)


def _names(text: str) -> list[str]:
    """The columns that positional parameters belong to, if the statement is a plain one."""
    inserted = _INSERTED.search(text)
    if inserted:
        columns = [column.strip().strip('"') for column in inserted[1].split(",")]
        given = [value.strip() for value in inserted[2].split(",")]
        if len(columns) == len(given):
            return [c for c, value in zip(columns, given, strict=True) if _PLACEHOLDER.match(value)]
        return []
    return _COMPARED.findall(text)
