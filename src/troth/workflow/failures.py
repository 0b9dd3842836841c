"""Business answers that travel as exceptions: how they are stored, restored and told from bugs.

An exception is a business answer when the author declared it (`fails_on=`) or raised `Refused`. Everything else is a
bug: it is never stored as an answer.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterable
from typing import Any

from troth.base import codec
from troth.base.errors import PayloadError, Refused

_ANSWER = "__troth_answer__"


def is_answer(error: BaseException, declared: tuple[type[Exception], ...]) -> bool:
    """Is this exception a business answer for whoever declared these types? A group is, if all its members are."""
    if isinstance(error, (Refused, *declared)) or getattr(error, _ANSWER, False):
        return True
    return isinstance(error, BaseExceptionGroup) and all(
        is_answer(member, declared) for member in error.exceptions
    )


def as_answer(error: Exception) -> Exception:
    """The same exception, which is a business answer from now on."""
    vars(error)[_ANSWER] = True
    return error


def name_of(kind: type[BaseException]) -> str:
    """How the type of an exception is written down."""
    return f"{kind.__module__}.{kind.__qualname__}"


def encode_answer(error: BaseException, declared: tuple[type[Exception], ...]) -> bytes:
    """An answer as JSON: its type, the declared type that covers it, its message, arguments and attributes."""
    while isinstance(error, BaseExceptionGroup) and not isinstance(error, (Refused, *declared)):
        error = error.exceptions[0]  # several answers at once: the first one is told
    covering = next((kind for kind in declared if isinstance(error, kind)), Refused)
    answer: dict[str, Any] = {
        "type": name_of(type(error)),
        "declared": name_of(covering),
        "message": message_of(error),
    }
    fields = {name: value for name, value in vars(error).items() if not name.startswith("__")}
    for detail in ({"args": error.args, "fields": fields}, {"args": error.args}):
        with contextlib.suppress(PayloadError):
            return codec.encode(answer | detail)
    return codec.encode(answer | {"args": [answer["message"]]})


def restore_answer(payload: bytes | memoryview, kinds: Iterable[type[Exception]]) -> Exception:
    """The exception that was stored, of its own type if that is among *kinds*, else of the declared one, else `Refused`."""
    stored = codec.decode(payload)
    by_name = {name_of(kind): kind for kind in kinds}
    kind = by_name.get(stored["type"]) or by_name.get(stored["declared"]) or Refused
    # Not by calling it: what a constructor makes of its arguments is in `args` and attributes already.
    error = kind.__new__(kind)
    error.args = tuple(stored["args"])
    vars(error).update(stored.get("fields", {}), **{_ANSWER: True})
    return error


def describe(error: BaseException) -> dict[str, Any]:
    """A bug, for the attention list: type, message and traceback without troth's own frames."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/troth/workflow/" not in frame.filename and "/asyncio/" not in frame.filename
    ]
    return {
        "type": name_of(type(error)),
        "message": message_of(error),
        "traceback": storable("".join(traceback.format_list(frames))),
    }


def describe_briefly(error: BaseException | None) -> str:
    """An exception in a line."""
    return "" if error is None else f"{type(error).__name__}: {message_of(error)}"


def message_of(error: BaseException) -> str:
    """What an exception says, as text that can be stored; the exception may be broken itself."""
    try:
        return storable(str(error))
    except Exception as broken:  # noqa: BLE001  (a `__str__` that raises)
        return f"(its message cannot be read: {type(broken).__name__})"


def storable(text: str) -> str:
    """*text* without lone surrogates, which file names may hold and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
