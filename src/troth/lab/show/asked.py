"""What a test asks for, as part of its document: so that the next verdict can tell whether it asks for less."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING

from troth.lab.show.document import Acting, Asked, Bounds, Excuse, Promised

if TYPE_CHECKING:
    from troth.lab.scenario import Scenario
    from troth.lab.steps import Limits


def asked(scenario: Scenario, limits: Limits, broken: frozenset[int], *, closed: bool) -> Asked:
    """What the scenario asks for, and what became of its promises."""
    promises = tuple(
        Promised(
            one.kind,
            one.name,
            one.severity,
            one.status,
            one.costs,
            digest_of(one.holds),
            "broken" if number in broken else "kept" if closed else "open",
        )
        for number, one in enumerate(scenario.promises)
    )
    actors = tuple(
        Acting(
            one.call.label, one.overlap, None if one.within is None else one.within.total_seconds()
        )
        for one in scenario.actors
    )
    excuses = (
        *(Excuse("accepted", name, why) for name, _, why in scenario.accepted),
        *(Excuse("bounded", f"{column} <= {most}") for column, most in scenario.bounds.items()),
        *(Excuse(f"ignored {kind}", which, why) for kind, which, why in scenario.ignored),
    )
    bounds = Bounds(
        limits.survived, limits.overlap, limits.in_flight, limits.expiry, limits.seconds
    )
    return Asked(actors, promises, excuses, bounds)


def digest_of(function: Callable[..., object]) -> str:
    """What a function does, as far as its own code says; the same after it was moved to another line."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    cells = [
        repr(cell.cell_contents)
        for cell in function.__closure__ or ()
        if _is_plain(cell.cell_contents)
    ]
    return hashlib.sha256(repr([_code(code), cells]).encode()).hexdigest()[:12]


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | bytes | None)


def _code(code: CodeType) -> list[object]:
    constants = [_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names]
