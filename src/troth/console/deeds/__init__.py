"""How each act is done from a form, by its name at the desk."""

from __future__ import annotations

from collections.abc import Mapping

from troth.console.deed import Deed
from troth.console.deeds import attention, desk, effect, inbox, outbox, reconcile, run, schedule

DEEDS: Mapping[str, Deed] = {
    deed.act: deed
    for room in (run, effect, attention, inbox, outbox, schedule, reconcile, desk)
    for deed in room.DEEDS
}
