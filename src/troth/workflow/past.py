"""What the journal says of one run, as a replay needs it: answers in their order, and by path everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from troth.journal.model import RESUME_PATH, Entry, Kind
from troth.workflow.rewind import rewind


class Past:
    """The recorded past of a run that is in memory. Entries that this process records are added to it."""

    __slots__ = ("_rewound", "by_path", "last_seq", "order", "owed")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._rewound = rewind(entries)
        self.last_seq = max((e.seq for e in entries if e.seq is not None), default=0)
        kept = self._rewound.entries
        self.order = deque(e for e in kept if e.kind == Kind.RESULT)  # not delivered yet
        self.by_path: dict[str, list[Entry]] = {}  # all but answers
        for entry in kept:
            if entry.kind != Kind.RESULT:
                self.by_path.setdefault(entry.path, []).append(entry)
        answered = {entry.path for entry in self.order}
        # Effects that may have been sent, and that the code has not called yet.
        self.owed = {
            entry.path: entry
            for entry in kept
            if entry.kind == Kind.INTENT and entry.path not in answered
        }

    def add(self, entry: Entry) -> None:
        """This was recorded just now."""
        self.by_path.setdefault(entry.path, []).append(entry)

    def entries(self, path: str, kind: Kind) -> list[Entry]:
        """What was recorded of a call, other than its answer, by attempt."""
        return [entry for entry in self.by_path.get(path, ()) if entry.kind == kind]

    def was_sent(self, path: str) -> bool:
        """Is it an effect that may have happened? Then its outcome is owed, whoever still wants it."""
        recorded = self.by_path.get(path)
        return recorded is not None and any(entry.kind == Kind.INTENT for entry in recorded)

    def answered_before(self, path: str) -> int:
        """How many answers of this path count no more: the next one has this number."""
        return self._rewound.answers.get(path, 0)

    def refused_before(self, path: str) -> int:
        """How many of those were refusals."""
        return self._rewound.refusals.get(path, 0)

    def counts_no_more(self, path: str) -> None:
        """The answer that is delivered now is not the last: its outcome is unknown, and asked for again."""
        self._rewound.answers[path] = self.answered_before(path) + 1

    def left_out(self, path: str) -> int:
        """The highest number of an entry that counts no more."""
        return self._rewound.numbers.get(path, 0)

    def next_number(self, path: str, kind: Kind) -> int:
        """The number of the next entry of this kind."""
        numbers = [entry.attempt for entry in self.by_path.get(path, ()) if entry.kind == kind]
        return max(self.left_out(path), *numbers, 0) + 1

    def forgiven(self, path: str) -> int:
        """How many attempts a person has forgiven, by resuming the run after them, or by sending it back."""
        before = self.left_out(path)
        decisions = [entry.at for entry in self.entries(RESUME_PATH, Kind.DECISION)]
        if not decisions:
            return before
        return before + sum(
            1 for entry in self.entries(path, Kind.ATTEMPT) if entry.at <= max(decisions)
        )
