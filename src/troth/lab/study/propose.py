"""Asks all rules what would help."""

from __future__ import annotations

from troth.lab.study import answers, calls, rows
from troth.lab.study.evidence import Case, Proposal


def proposals(case: Case) -> list[Proposal]:
    """What would help, the surest first, each class once."""
    found: dict[str, Proposal] = {}
    for rule in (*calls.RULES, *rows.RULES, *answers.RULES):
        for one in rule(case):
            found.setdefault(one.kind, one)
    order = ("certain", "likely", "possible")
    ranked = sorted(found.values(), key=lambda one: order.index(one.confidence))
    surer = {one.change.says for one in ranked if one.change and one.confidence != "possible"}
    return [
        one
        for one in ranked
        if one.kind != "dual write"
        or one.confidence != "possible"
        or one.change is None
        or one.change.says not in surer
    ]
