"""The commands of Redis that the model has: what each does to keys, and what it answers.

A reply is a pair (kind, content), with the kinds of Redis' own protocol: "+" a word, "-" an error, ":" a number, "$" bytes, "_" nothing,
"*" a list, "~" a set, "%" a mapping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

from troth.lab.model import Refused

Reply = tuple[str, Any]
Words = tuple[bytes, ...]


class Item(NamedTuple):
    """What is kept under a key: bytes, or ["hash" | "set" | "list", its content]. `ttl`: milliseconds that it was given."""

    value: Any
    ttl: int | None = None


Stored = dict[bytes, Item]

OK: Reply = ("+", "OK")
NOTHING: Reply = ("_", None)
_WRONG: Reply = ("-", "WRONGTYPE Operation against a key holding the wrong kind of value")
_NOT_A_NUMBER: Reply = ("-", "ERR value is not an integer or out of range")


class _Wrong(Exception):
    """The key holds another kind of value."""


def only_reads(command: Words) -> bool:
    """Whether it cannot change anything."""
    return command[0].upper() in _READS


def perform(stored: Stored, command: Words) -> Reply:
    """Do one command.

    Raises:
        Refused: the model does not have it.
    """
    name, arguments = command[0].upper(), command[1:]
    known = _COMMANDS.get(name)
    if known is None:
        raise Refused(f"Redis: the model does not have {name.decode(errors='replace')}")
    try:
        return known(stored, arguments)
    except _Wrong:
        return _WRONG


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def _text(stored: Stored, key: bytes) -> bytes | None:
    item = stored.get(key)
    if item is not None and not isinstance(item.value, bytes):
        raise _Wrong
    return None if item is None else item.value


def _put(stored: Stored, key: bytes, value: Any, ttl: int | None) -> None:
    """Keep it; a new time to live begins now, after all others."""
    stored.pop(key, None)
    stored[key] = Item(value, ttl)


def _keep(stored: Stored, key: bytes, value: Any) -> None:
    """Keep it for as long as the key has: what is empty goes."""
    if value:
        stored[key] = Item(value, stored[key].ttl if key in stored else None)
    else:
        stored.pop(key, None)


def _content(stored: Stored, key: bytes, kind: str) -> list[Any]:
    item = stored.get(key)
    if item is None:
        return []
    if isinstance(item.value, bytes) or item.value[0] != kind:
        raise _Wrong
    return list(item.value[1])


def _bulk(value: bytes | None) -> Reply:
    return NOTHING if value is None else ("$", value)


def _get(stored: Stored, words: Words) -> Reply:
    return _bulk(_text(stored, words[0]))


def _set(stored: Stored, words: Words) -> Reply:
    key, value, *options = words
    asked = [one.upper() for one in options]
    before = stored.get(key)
    ttl = before.ttl if before and b"KEEPTTL" in asked else None
    for unit, factor in ((b"EX", 1000), (b"PX", 1)):
        if unit in asked:
            ttl = int(options[asked.index(unit) + 1]) * factor
    if odd := {b"EXAT", b"PXAT"} & set(asked):
        raise Refused(f"Redis: SET with {odd.pop().decode()} depends on a clock")
    answer = _bulk(_text(stored, key)) if b"GET" in asked else OK
    if (b"NX" in asked and before) or (b"XX" in asked and not before):
        return answer if b"GET" in asked else NOTHING
    if b"KEEPTTL" in asked and before:
        stored[key] = Item(value, ttl)
    else:
        _put(stored, key, value, ttl)
    return answer


def _setnx(stored: Stored, words: Words) -> Reply:
    if words[0] in stored:
        return (":", 0)
    _put(stored, words[0], words[1], None)
    return (":", 1)


def _for_a_time(factor: int) -> Callable[[Stored, Words], Reply]:
    def setex(stored: Stored, words: Words) -> Reply:
        _put(stored, words[0], words[2], int(words[1]) * factor)
        return OK

    return setex


def _getdel(stored: Stored, words: Words) -> Reply:
    found = _text(stored, words[0])
    stored.pop(words[0], None)
    return _bulk(found)


def _delete(stored: Stored, words: Words) -> Reply:
    return (":", sum(stored.pop(key, None) is not None for key in words))


def _flush(stored: Stored, words: Words) -> Reply:
    del words
    stored.clear()
    return OK


def _exists(stored: Stored, words: Words) -> Reply:
    return (":", sum(key in stored for key in words))


def _counting(sign: int) -> Callable[[Stored, Words], Reply]:
    def add(stored: Stored, words: Words) -> Reply:
        try:
            number = int(_text(stored, words[0]) or 0)
        except ValueError:
            return _NOT_A_NUMBER
        number += sign * (int(words[1]) if len(words) > 1 else 1)
        _keep(stored, words[0], str(number).encode())
        return (":", number)

    return add


def _expiring(factor: int) -> Callable[[Stored, Words], Reply]:
    def expire(stored: Stored, words: Words) -> Reply:
        if len(words) > 2:
            raise Refused("Redis: EXPIRE with a condition depends on how much time is left")
        item = stored.pop(words[0], None)
        if item is None:
            return (":", 0)
        if int(words[1]) > 0:
            stored[words[0]] = Item(item.value, int(words[1]) * factor)
        return (":", 1)

    return expire


def _persist(stored: Stored, words: Words) -> Reply:
    item = stored.get(words[0])
    if item is None or item.ttl is None:
        return (":", 0)
    stored[words[0]] = Item(item.value)
    return (":", 1)


def _left(stored: Stored, words: Words) -> Reply:
    item = stored.get(words[0])
    if item is not None and item.ttl is not None:
        raise Refused("Redis: the code asks how long a key still lives; that is not explored")
    return (":", -2 if item is None else -1)


# ── hashes, sets, lists ──────────────────────────────────────────────────────────────────────────


def _hset(stored: Stored, words: Words) -> Reply:
    fields = dict(_content(stored, words[0], "hash"))
    before = len(fields)
    fields.update(zip(words[1::2], words[2::2], strict=True))
    _keep(stored, words[0], ["hash", sorted(map(list, fields.items()))])
    return (":", len(fields) - before)


def _hsetnx(stored: Stored, words: Words) -> Reply:
    known = words[1] in dict(_content(stored, words[0], "hash"))
    return (":", 0) if known else _hset(stored, words)


def _hget(stored: Stored, words: Words) -> Reply:
    return _bulk(dict(_content(stored, words[0], "hash")).get(words[1]))


def _hgetall(stored: Stored, words: Words) -> Reply:
    pairs = _content(stored, words[0], "hash")
    return ("%", tuple(("$", one) for pair in pairs for one in pair))


def _hdel(stored: Stored, words: Words) -> Reply:
    pairs = _content(stored, words[0], "hash")
    kept = [pair for pair in pairs if pair[0] not in words[1:]]
    _keep(stored, words[0], ["hash", kept] if kept else None)
    return (":", len(pairs) - len(kept))


def _hincrby(stored: Stored, words: Words) -> Reply:
    fields = dict(_content(stored, words[0], "hash"))
    try:
        number = int(fields.get(words[1], 0)) + int(words[2])
    except ValueError:
        return ("-", "ERR hash value is not an integer")
    _hset(stored, (words[0], words[1], str(number).encode()))
    return (":", number)


def _sadd(stored: Stored, words: Words) -> Reply:
    members = set(_content(stored, words[0], "set"))
    new = set(words[1:]) - members
    _keep(stored, words[0], ["set", sorted(members | new)])
    return (":", len(new))


def _srem(stored: Stored, words: Words) -> Reply:
    members = set(_content(stored, words[0], "set"))
    gone = members & set(words[1:])
    _keep(stored, words[0], ["set", sorted(members - gone)] if members - gone else None)
    return (":", len(gone))


def _sismember(stored: Stored, words: Words) -> Reply:
    return (":", int(words[1] in _content(stored, words[0], "set")))


def _smembers(stored: Stored, words: Words) -> Reply:
    return ("~", tuple(("$", one) for one in _content(stored, words[0], "set")))


def _pushing(*, left: bool) -> Callable[[Stored, Words], Reply]:
    def push(stored: Stored, words: Words) -> Reply:
        members, new = _content(stored, words[0], "list"), list(words[1:])
        members = [*reversed(new), *members] if left else [*members, *new]
        _keep(stored, words[0], ["list", members])
        return (":", len(members))

    return push


def _popping(*, left: bool) -> Callable[[Stored, Words], Reply]:
    def pop(stored: Stored, words: Words) -> Reply:
        if len(words) > 1:
            raise Refused("Redis: LPOP and RPOP with a count are not in the model")
        members = _content(stored, words[0], "list")
        if not members:
            return NOTHING
        found = members.pop(0 if left else -1)
        _keep(stored, words[0], ["list", members] if members else None)
        return _bulk(found)

    return pop


def _llen(stored: Stored, words: Words) -> Reply:
    return (":", len(_content(stored, words[0], "list")))


# ── the scripts of redis-py's lock, by their digests ─────────────────────────────────────────────


def _scripted(stored: Stored, words: Words) -> Reply:
    kind = _SCRIPTS.get(words[0].lower())
    if kind is None:
        raise Refused("Redis: of scripts, only those of redis-py's Lock are in the model")
    count = int(words[1])
    key, (token, *more) = words[2], words[2 + count :]
    if _text(stored, key) != token:
        return (":", 0)
    if kind == "release":
        return _delete(stored, (key,))
    replaced = kind == "reacquire" or more[1:] == [b"1"]
    left = 0 if replaced else stored[key].ttl or 0
    _put(stored, key, token, left + int(more[0]))
    return (":", 1)


_SCRIPTS: dict[bytes, str] = {}


def learn(script: str, kind: str) -> None:
    """A script of the client library, by its text: "release", "extend" or "reacquire"."""
    _SCRIPTS[hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()] = kind


_READS = frozenset([b"GET", b"EXISTS", b"TTL", b"PTTL", b"HGET", b"HGETALL", b"SISMEMBER", b"SMEMBERS", b"LLEN"])  # fmt: skip
_COMMANDS: dict[bytes, Callable[[Stored, Words], Reply]] = {
    b"GET": _get, b"SET": _set, b"SETNX": _setnx, b"SETEX": _for_a_time(1000), b"PSETEX": _for_a_time(1), b"GETDEL": _getdel,
    b"DEL": _delete, b"UNLINK": _delete, b"FLUSHDB": _flush, b"FLUSHALL": _flush, b"EXISTS": _exists,
    b"INCR": _counting(1), b"INCRBY": _counting(1), b"DECR": _counting(-1), b"DECRBY": _counting(-1),
    b"EXPIRE": _expiring(1000), b"PEXPIRE": _expiring(1), b"PERSIST": _persist, b"TTL": _left, b"PTTL": _left,
    b"HSET": _hset, b"HSETNX": _hsetnx, b"HGET": _hget, b"HGETALL": _hgetall, b"HDEL": _hdel, b"HINCRBY": _hincrby,
    b"SADD": _sadd, b"SREM": _srem, b"SISMEMBER": _sismember, b"SMEMBERS": _smembers,
    b"LPUSH": _pushing(left=True), b"RPUSH": _pushing(left=False), b"LPOP": _popping(left=True), b"RPOP": _popping(left=False), b"LLEN": _llen,
    b"EVALSHA": _scripted,
}  # fmt: skip
