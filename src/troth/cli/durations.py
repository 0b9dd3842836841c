"""Lengths of time as options of a command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from cyclopts import Parameter, Token

from troth.base.lengths import moment, seconds, words

__all__ = ["Length", "moment", "seconds", "words"]


def _to_seconds(_kind: object, tokens: Sequence[Token]) -> float:
    return seconds(tokens[0].value)


# The type of an option that is a length of time, in seconds.
Length: TypeAlias = Annotated[
    float,
    Parameter(
        converter=_to_seconds,
        metavar="TIME",
        show_default=lambda length: "" if length is None else f"{length:g}s",
    ),
]
