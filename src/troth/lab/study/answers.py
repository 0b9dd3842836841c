"""Evidence in answers and in processes: what callers were told, dead ends, memory."""

from __future__ import annotations

from collections.abc import Iterator

from troth.lab.study import varied
from troth.lab.study.evidence import Case, Proposal, Rule


def _answers(case: Case) -> Iterator[Proposal]:
    for one in case.events:
        if one.kind != "answer" or not one.told.startswith("2"):
            continue
        late = next((e for e in case.after(one) if e.fault), None)
        if late:
            yield Proposal(
                "answered too early",
                "Answer when it is durable; what is done after the answer is done by nobody if the process dies.",
                f"the caller was told {one.told}, and a fault came before the rest",
                "certain", (one, late), varied.answered_last(),
            )  # fmt: skip
        failed = [e for e in case.of(one.attempt) if e.number < one.number and e.unknown]
        settled = [
            e
            for e in case.of(one.attempt)
            if failed and e.number > failed[-1].number and (e.target, e.text, e.told) == (failed[-1].target, failed[-1].text, "ok")
        ]  # fmt: skip
        if failed and not settled:
            error = failed[-1]
            yield Proposal(
                "swallowed error",
                "An error that is caught and not settled must not become a success: let it end the attempt, or record what is still to be done.",
                f"{error.text or 'the mail'} failed with {error.told}, and the caller was told {one.told}",
                "certain", (error, one), varied.passed_on(error.target, error.text),
            )  # fmt: skip


def _undoing(case: Case) -> Iterator[Proposal]:
    for attempt in case.attempts():
        failed = [one for one in case.of(attempt) if one.unknown]
        if len({one.text for one in failed}) > 1:
            yield Proposal(
                "undoing that is not resumed",
                "What has to be undone is written down before it is undone, and every attempt looks there first.",
                f"{failed[0].text} failed, and so did {failed[-1].text} on the way back",
                "possible", (failed[0], failed[-1]), None,
                "how an undoing is resumed is in the code, and cannot be put into the model",
            )  # fmt: skip


def _dead_end(case: Case) -> Iterator[Proposal]:
    if case.stuck and case.told_later and all(400 <= status < 500 for status in case.told_later):
        statuses = ", ".join(map(str, sorted(case.told_later)))
        commits = tuple(one for one in case.events if one.commits and one.changed)
        waits = bool(commits) and case.goes_on(commits[-1])
        yield Proposal(
            "dead end",
            "A retry must be able to go on where the first attempt stopped: look at what is there and do what is missing, instead of"
            " refusing because something is there.",
            f"from there every retry is answered {statuses}, and nothing changes any more",
            "likely", commits[-1:],
            varied.as_one(commits[-1].pending) if waits else None,
            "" if waits else "there is no commit that could wait for a later one",
        )  # fmt: skip


def _memory(case: Case) -> Iterator[Proposal]:
    warm = next((one for one in case.events if one.action == "start" and one.memory), None)
    if warm:
        yield Proposal(
            "warm memory",
            "What one attempt leaves in the memory of its process must not decide about another: clear it in finally, or keep it in the"
            " database.",
            "the attempt ran in a process that remembers an earlier one",
            "certain", (warm,), varied.fresh_processes(),
        )  # fmt: skip


RULES: tuple[Rule, ...] = (_answers, _undoing, _dead_end, _memory)
