"""In which words a request is refused, and what an error of the database means to a client."""

from __future__ import annotations

from typing import Final

from troth.base.errors import UsageError
from troth.command.request_model import Answer, RequestRefusedError
from troth.command.request_rules import problem
from troth.store.failure import DatabaseError, Failure, failure_of

RETRY_NOW: Final = (("retry-after", "1"),)


def in_use() -> RequestRefusedError:
    """The first request with this key has not ended."""
    detail = "The first request with this Idempotency-Key is still being worked on. Repeat this one in a moment."
    return RequestRefusedError(409, "idempotency_key_in_use", detail, headers=RETRY_NOW)


def no_operation() -> RequestRefusedError:
    """Nobody asked for this run, or somebody else did."""
    return RequestRefusedError(404, "no_such_operation", "There is no such operation of yours.")


def too_large(limit: int) -> RequestRefusedError:
    """More was sent than the route allows."""
    return RequestRefusedError(
        413, "body_too_large", f"The body of this request may have {limit} bytes."
    )


def too_much_answer(limit: int) -> Answer:
    """The handler's answer cannot be kept, so it was not given: a mistake of the server's author."""
    detail = f"The answer is larger than the {limit} bytes that are kept for a retry, or is none that can be kept. Nothing was done."
    return problem(500, "response_too_large", detail)


def trouble(error: BaseException, *, committing: bool) -> RequestRefusedError | None:
    """What to tell the client about an error of the database; None if it is a bug. *committing*: COMMIT was on its way."""
    failure = failure_of(error)
    if failure is Failure.DUPLICATE and committing and _is_record(error):
        return (
            in_use()
        )  # a transaction that reads an old snapshot did not see that it was not alone
    if failure is Failure.LOST and committing:
        detail = "It is not known whether this request took effect. Repeat it with the same Idempotency-Key to find out."
        return RequestRefusedError(503, "outcome_unknown", detail, headers=RETRY_NOW)
    if failure in (Failure.LOST, Failure.CONFLICT, Failure.AGAIN):
        detail = "This request did not take effect. Repeat it in a moment, with the same Idempotency-Key."
        return RequestRefusedError(503, "try_again", detail, headers=RETRY_NOW)
    return None


def broken_transaction(state: str) -> UsageError:
    """The handler left its transaction in a state in which it cannot be committed as a whole."""
    why = {
        "INERROR": "a statement failed, and the handler went on as if nothing had been",
        "IDLE": "the handler has committed or rolled back by itself, which is not its to do",
    }.get(state, f"its connection is {state}")
    return UsageError(f"the transaction of this request cannot be committed: {why}")


def _is_record(error: BaseException) -> bool:
    return isinstance(error, DatabaseError) and error.diag.constraint_name == "request_pkey"
