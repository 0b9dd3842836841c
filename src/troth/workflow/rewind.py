"""Going back: a person lets a run continue from an earlier step, after its code was corrected.

The journal is append-only, so the decision is an entry too, and the answers after it are superseded. What was sent
stays known: an effect whose answer is superseded is one whose outcome is unknown, and it is found out by its key or its
probe before anything is sent again. Only what was refused did certainly not happen: it is sent anew, under another key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from troth.journal.model import BEGUN, Entry, Kind
from troth.journal.reading import superseded


@dataclass(slots=True)
class Rewound:
    """What is left of a journal. By path: how many *answers* count no more, how many of them were *refusals*, and the
    highest *number* of an entry that was left out: those that follow have higher ones.
    """

    entries: Sequence[Entry]
    answers: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)


def rewind(entries: Sequence[Entry]) -> Rewound:
    """Carry out the decisions to go back that a journal holds. Pure."""
    gone = superseded(entries)
    if not gone:
        return Rewound(entries)
    left = Rewound([])
    sent = {entry.path for entry in entries if entry.kind in BEGUN}
    refused_at: dict[str, float] = {}
    for entry in entries:
        if entry.kind != Kind.RESULT or (entry.path, entry.attempt) not in gone:
            continue
        left.answers[entry.path] = left.answers.get(entry.path, 0) + 1
        if entry.ok is False and entry.path in sent:
            left.refusals[entry.path] = left.refusals.get(entry.path, 0) + 1
            refused_at[entry.path] = entry.at
    left.entries = kept = []
    for entry in entries:
        if entry.kind == Kind.RESULT:
            if (entry.path, entry.attempt) not in gone:
                kept.append(entry)
        elif entry.at > refused_at.get(entry.path, 0.0):
            kept.append(entry)
        else:
            number = max(left.numbers.get(entry.path, 0), abs(entry.attempt))
            left.numbers[entry.path] = number
    return left
