"""How each act is done from a form, by its name at the desk."""

from __future__ import annotations

from collections.abc import Mapping

from troth.console.deed import Deed
from troth.console.deeds import desk, run, schedule

DEEDS: Mapping[str, Deed] = {deed.act: deed for deed in (*run.DEEDS, *schedule.DEEDS, *desk.DEEDS)}
