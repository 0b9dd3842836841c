"""What a second person is led to: the form of the act that was proposed, with what the first one said. Pure."""

from __future__ import annotations

from typing import Any

from troth.base import codec
from troth.base.errors import TrothError
from troth.console.deed import Deed, Given
from troth.console.deeds import DEEDS
from troth.view.acts import ProposalLine


def form_of(line: ProposalLine) -> Given | None:
    """What leads to the form of a proposed act; None if only a command does it, or its content is not known here.

    What is confidential is not in it: the second person must know it. A form is offered only if it is about the same
    object and says the same as far as can be read, so nobody agrees to something else.
    """
    deed = DEEDS.get(line.act)
    if deed is None or line.untold:
        return None
    said = {name: _text(each) for name, each in line.details.items() if each not in (None, False)}
    for name in ("run", *deed.hidden):
        if name not in line.details:
            given = Given(said, **{name: line.about})
            if _same(deed, given, line):
                return given
    return None


def _same(deed: Deed, given: Given, line: ProposalLine) -> bool:
    try:
        if deed.about(given) != line.about:
            return False
        if line.hidden:  # what it says can be read only in part
            return True
        details = deed.details(given)
    except TrothError:
        return False
    return bool(codec.decode(codec.encode(details)) == dict(line.details))


def _text(value: Any) -> str:
    """As a form says it."""
    return "true" if value is True else str(value)
