"""Whether a test asks for less than it did: pure comparison of what two verdicts were asked.

A red test can be made green by better code or by a weaker test. A report says which of the two it was.
"""

from __future__ import annotations

from collections.abc import Iterator

from troth.lab.promise import SEVERITIES, Severity
from troth.lab.show.document import Acting, Asked, Bounds, Excuse, Promised


def weakened(before: Asked, now: Asked) -> tuple[str, ...]:
    """In how far less is asked now than before, a line each. What was made stronger is not told."""
    return (
        *_actors(before.actors, now.actors),
        *_promises(before.promises, now.promises),
        *_excuses(before.excuses, now.excuses),
        *_bounds(before.bounds, now.bounds),
    )


def _actors(before: tuple[Acting, ...], now: tuple[Acting, ...]) -> Iterator[str]:
    left = list(now)
    for old in before:
        new = next((one for one in left if one.label == old.label), None)
        if new is None:
            yield f"nobody asks {old.label} any more"
            continue
        left.remove(new)
        if new.overlap < old.overlap:
            yield f"{new.label}: at most {new.overlap} attempts alive at once, and were {old.overlap}"
        if new.within_s is not None and (old.within_s is None or new.within_s < old.within_s):
            yield f"{new.label}: whoever asks gives up after {new.within_s:g} s"


def _promises(before: tuple[Promised, ...], now: tuple[Promised, ...]) -> Iterator[str]:
    kept = {one.name: one for one in now}
    for old in before:
        new = kept.get(old.name)
        if new is None:
            yield f"the promise {old.name!r} ({old.kind}) is gone"
            continue
        if (old.kind, old.status) != (new.kind, new.status):
            yield f"the promise {old.name!r} was {_when(old)}, and is {_when(new)}"
        if _rank(new.severity) > _rank(old.severity):
            yield f"the promise {old.name!r} is a matter of {new.severity}, and was one of {old.severity}"
        if old.digest and new.digest and old.digest != new.digest:
            yield f"the promise {old.name!r} tests something else than before: look whether it still says what it is called"


def _when(promise: Promised) -> str:
    return f"told {promise.status}" if promise.kind == "told" else promise.kind


def _rank(severity: str) -> int:
    known: tuple[Severity | str, ...] = SEVERITIES
    return known.index(severity) if severity in known else len(known)


def _excuses(before: tuple[Excuse, ...], now: tuple[Excuse, ...]) -> Iterator[str]:
    old = {(one.kind, one.what) for one in before}
    for one in now:
        if (one.kind, one.what) not in old:
            yield f"new: {one.kind} {one.what}{f', because {one.because}' if one.because else ''}"


def _bounds(before: Bounds, now: Bounds) -> Iterator[str]:
    for name, words in (
        ("survived", "errors that one attempt survives"),
        ("overlap", "attempts alive at once"),
        ("in_flight", "effects that land late"),
    ):
        old, new = getattr(before, name), getattr(now, name)
        if new < old:
            yield f"{words}: {new}, and were {old}"
    if before.expiry and not now.expiry:
        yield "keys do not expire any more"
