"""What the journal says of one run, as a replay needs it: answers in their order, and by path everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from uuid import UUID

from troth.journal.model import BEGUN, FORK_PATH, RESUME_PATH, Entry, Kind
from troth.journal.reading import said_by
from troth.workflow.rewind import rewind


class Past:
    """The recorded past of a run that is in memory. Entries that this process records are added to it."""

    __slots__ = ("_rewound", "by_path", "last_seq", "lent", "order", "owed", "replayed", "seeds")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._rewound = rewind(entries)
        self.last_seq = max((e.seq for e in entries if e.seq is not None), default=0)
        kept = self._rewound.entries
        self.order = deque(e for e in kept if e.kind == Kind.RESULT)  # not delivered yet
        self.replayed: deque[str] = deque(
            maxlen=3
        )  # the paths of the latest answers that were delivered
        self.by_path: dict[str, list[Entry]] = {}  # all but answers
        for entry in kept:
            if entry.kind != Kind.RESULT:
                self.by_path.setdefault(entry.path, []).append(entry)
        # What was begun and not answered, and that the code has not asked for yet; of an effect: its intent.
        self.owed = self._begun() if self.by_path else {}
        # Of a fork: calls that another run has made, and whose ids it was seeded with, up to which place.
        forked = [said_by(entry) for entry in self.by_path.get(FORK_PATH, ())]
        self.lent = frozenset(path for said in forked for path in said.get("lent", ()))
        self.seeds = [(UUID(of), until) for said in forked for of, until in said.get("seeds", ())]

    def _begun(self) -> dict[str, Entry]:
        answered = {entry.path for entry in self.order}
        begun: dict[str, Entry] = {}
        for path, entries in self.by_path.items():
            if path in answered:
                continue
            sent = [entry for entry in entries if entry.kind in BEGUN]
            asked = [entry for entry in entries if entry.kind in (Kind.WAIT, Kind.ATTEMPT)]
            # Of what the run went back over, only effects must be asked for again.
            if sent or (asked and not self.answered_before(path)):
                begun[path] = sent[0] if sent else asked[0]
        return begun

    def owed_consequence(self) -> Entry | None:
        """The first effect that may have been sent, or child that was started, and that the code has not called."""
        return min((e for e in self.owed.values() if e.kind in BEGUN), default=None)

    def seed(self, run_id: UUID, delivered: int) -> UUID:
        """The run whose random numbers are drawn at this place: a fork draws those of its origin while it has its past."""
        return next((of for of, until in self.seeds if delivered < until), run_id)

    def add(self, entry: Entry) -> None:
        """This was recorded just now."""
        self.by_path.setdefault(entry.path, []).append(entry)

    def entries(self, path: str, kind: Kind) -> list[Entry]:
        """What was recorded of a call, other than its answer, by attempt."""
        return [entry for entry in self.by_path.get(path, ()) if entry.kind == kind]

    def was_sent(self, path: str) -> bool:
        """Is it an effect that may have happened, or a child? Then its outcome is owed, whoever still wants it."""
        recorded = self.by_path.get(path)
        return recorded is not None and any(entry.kind in BEGUN for entry in recorded)

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
