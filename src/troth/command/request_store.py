"""The only place that runs the statements of idempotent requests.

A request costs no round trip of its own: BEGIN travels with the look at its key, COMMIT with the record of its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, cast
from uuid import UUID

from troth.base import codec
from troth.command.request_model import (
    Answer,
    Fate,
    Isolation,
    Known,
    Operation,
    Record,
    Standing,
)
from troth.store.connect import AsyncConnection, BlockingConnection
from troth.store.plan import Plan, Statement
from troth.store.queries import Queries, load
from troth.store.together import send_together, send_together_blocking
from troth.store.tx import Row

_BEGIN: Mapping[Isolation, LiteralString] = {
    "read committed": "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    "repeatable read": "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE",
    "serializable": "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
}
# A refusal is recorded without what its handler did. Nothing of ours, the lock above all, is after this point.
SAVEPOINT: LiteralString = "SAVEPOINT troth_request"
_BACK = Statement("ROLLBACK TO SAVEPOINT troth_request", returns=False)
_COMMIT = Statement("COMMIT", returns=False)


def queries(schema: str) -> Queries:
    """The statements of idempotent requests for one schema."""
    return load("troth.command", schema, "requests.sql")


# The transaction ------------------------------------------------------------------------------------------------------


async def begin(
    connection: AsyncConnection, q: Queries, isolation: Isolation, asked: tuple[bytes, int] | None
) -> Row | None:
    """Begin a transaction; what is known of the key *asked* for (its id and lock), in the same round trip."""
    rows, _ = await send_together(connection, _first_words(q, isolation, asked))
    return rows[0] if rows else None


def begin_blocking(
    connection: BlockingConnection,
    q: Queries,
    isolation: Isolation,
    asked: tuple[bytes, int] | None,
) -> Row | None:
    """As `begin`, from a thread."""
    rows, _ = send_together_blocking(connection, _first_words(q, isolation, asked))
    return rows[0] if rows else None


async def commit(connection: AsyncConnection, words: Sequence[Statement]) -> bool:
    """Commit, with what `last_words` says, in one round trip. False: the server has rolled back: a statement had failed."""
    _, status = await send_together(connection, [*words, _COMMIT])
    return status == "COMMIT"


def commit_blocking(connection: BlockingConnection, words: Sequence[Statement]) -> bool:
    """As `commit`, from a thread."""
    _, status = send_together_blocking(connection, [*words, _COMMIT])
    return status == "COMMIT"


def state_of(connection: AsyncConnection | BlockingConnection) -> str:
    """Of its transaction: INTRANS, INERROR (a statement has failed), IDLE (somebody has ended it), UNKNOWN (lost)."""
    return connection.info.transaction_status.name


def _first_words(
    q: Queries, isolation: Isolation, asked: tuple[bytes, int] | None
) -> Sequence[Statement]:
    look = [Statement(q.admit, asked)] if asked is not None else []
    return [Statement(_BEGIN[isolation]), *look, Statement(SAVEPOINT)]


def last_words(
    q: Queries, fate: Fate, record: Record | None, theirs: Sequence[Statement]
) -> Sequence[Statement]:
    """What is to be done before the COMMIT. *theirs*: what the handler left for then; of a refusal, it is not done."""
    words = [_BACK] if fate is Fate.REFUSAL else list(theirs)
    return [*words, Statement(q.record, _row(record), returns=False)] if record else words


def _row(record: Record) -> Mapping[str, Any]:
    sent, answer, operation = record.sent, record.answer, record.operation
    return {
        "id": record.id,
        "name": record.name,
        "caller": sent.caller,
        "method": sent.method,
        "route": sent.route,
        "key": sent.key,
        "salt": record.salt,
        "parts": codec.encode(record.parts),
        "status": answer and answer.status,
        "headers": answer and codec.encode(answer.headers),
        "body": answer and answer.body,
        "run": operation and operation.run_id,
        "render": operation and operation.render,
        "lifetime": record.lifetime_s,
    }


# What is known --------------------------------------------------------------------------------------------------------


def known(row: Row) -> Known:
    """What `admit` found under a key."""
    _, salt, parts, status, headers, body, run_id, render = row
    operation = None if run_id is None else Operation(run_id, 0.0, render)
    return Known(salt, codec.decode(parts), _answer(status, headers, body), operation)


def standing(q: Queries, run_id: UUID) -> Plan[Standing | None]:
    """What a run has come to; None if it is forgotten."""
    rows = yield Statement(q.standing, {"run": run_id})
    return Standing(*rows[0]) if rows else None


def settle(q: Queries, request_id: bytes, answer: Answer) -> Plan[Answer]:
    """Store the final answer of a request, unless it has one; the one that it has now."""
    params = (request_id, answer.status, codec.encode(answer.headers), answer.body)
    rows = yield Statement(q.settle, params)
    return (_answer(*rows[0]) if rows else None) or answer


def operation(
    q: Queries, run_id: UUID, name: str, caller: str
) -> Plan[tuple[bytes, Operation, Answer | None] | None]:
    """The request of *caller* that a run belongs to: its id, and its final answer if there is one."""
    rows = yield Statement(q.operation, (run_id, name, caller))
    if not rows:
        return None
    request_id, render, status, headers, body = rows[0]
    return request_id, Operation(run_id, 0.0, render), _answer(status, headers, body)


def purge(q: Queries, limit: int) -> Plan[int]:
    """Forget at most *limit* of what has expired; how many."""
    rows = yield Statement(q.purge, (limit,))
    return int(rows[0][0])


def _answer(status: int | None, headers: bytes | None, body: bytes | None) -> Answer | None:
    if status is None or headers is None or body is None:
        return None
    pairs = tuple((name, value) for name, value in codec.decode(headers))
    return Answer(status, cast("tuple[tuple[str, str], ...]", pairs), body)
