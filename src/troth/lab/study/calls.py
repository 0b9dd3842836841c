"""Evidence in calls to providers: keys, unknown outcomes, looks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from troth.lab.study import varied
from troth.lab.study.evidence import Case, Proposal, Rule
from troth.lab.study.trace import Event


def _keys(case: Case) -> Iterator[Proposal]:
    effects = [one for one in case.events if one.kind == "http" and one.is_effect and one.grew]
    calls = {(one.target, one.text) for one in effects}
    for target, text in sorted(calls):
        twice = [one for one in effects if (one.target, one.text) == (target, text)]
        for first, second in pairwise(twice):
            expired = [
                e
                for e in case.events
                if e.action == "expire" and first.number < e.number < second.number
            ]
            if expired:
                yield Proposal(
                    "key too short-lived",
                    "Keep what was done under your own key for as long as anybody may ask again, or stop asking before the key expires.",
                    f"the provider had forgotten the key of {text} when it was called again",
                    "certain", (first, *expired, second), varied.lasting_keys(),
                )  # fmt: skip
            elif not first.key and not second.key:
                yield _keyed(case, "missing key", "without a key in either", (first, second))
            elif first.key != second.key:
                yield _keyed(
                    case,
                    "unstable key",
                    f"with the keys {first.key!r} and {second.key!r}",
                    (first, second),
                )


def _reused_key(case: Case) -> Iterator[Proposal]:
    calls = [one for one in case.events if one.kind == "http" and one.is_effect and one.key]
    for number, first in enumerate(calls):
        for second in calls[number + 1 :]:
            same_key = (first.target, first.key) == (second.target, second.key)
            alike = first.body == second.body
            if same_key and not (alike and first.actor == second.actor):
                yield Proposal(
                    "key reused",
                    "A key stands for one thing that was asked for: make it from what tells this request from every other, not from a time or"
                    " a counter that another may share.",
                    f"{second.text} was called with the key {second.key!r}, which stood for another request",
                    "certain", (first, second),
                    None if alike else varied.keyed(case.providers[second.target]),
                    "but for the key the two requests are the same, so the model cannot tell them apart" if alike else "",
                )  # fmt: skip


def _keyed(case: Case, kind: str, how: str, events: tuple[Event, ...]) -> Proposal:
    call = events[0]
    provider = case.providers[call.target]
    advice = (
        f"Send {provider.keys.header if provider.keys else 'an idempotency key'} with the call: a value that is the same whenever"
        " the same thing is asked for, made from what was asked and stored before the call; never from a random number or a clock."
    )
    because = f"{call.text} took effect twice, {how}"
    if provider.keys is None:
        why = f"the model of {provider.name} has no idempotency keys; look the object up by a reference of yours instead"
        return Proposal(kind, advice, because, "certain", events, None, why)
    return Proposal(kind, advice, because, "certain", events, varied.keyed(provider))


def _lost_answer(case: Case) -> Iterator[Proposal]:
    for one in case.events:
        if not (one.unknown and one.kind in {"http", "mail"}):
            continue
        landed = any(e.action == "land" and e.op == one.op for e in case.events)
        if not (one.done or landed):
            continue
        later = [
            e
            for e in case.after(one)
            if e.is_lookup or e.is_effect or e.writes or e.kind == "answer"
        ]
        if (
            later
            and not later[0].is_lookup
            and (later[0].target, later[0].text) != (one.target, one.text)
        ):
            yield Proposal(
                "lost answer: nobody asks",
                "After a timeout or a 5xx the outcome is unknown, not failed: ask the provider what became of the call, or call again"
                " with the same key, before anything is undone, written down as failed, or answered.",
                f"{one.text or 'the mail'} was {'done' if one.done else 'under way'}, the code was told {one.told}, and went on as if it had failed",
                "likely", (one, later[0]), varied.looked_up(one.target, one.text),
            )  # fmt: skip


def _no_fence(case: Case) -> Iterator[Proposal]:
    for look in case.events:
        if not look.is_lookup:
            continue
        meant = next((e for e in case.after(look) if e.is_effect and e.target == look.target), None)
        if meant is None:
            continue
        between = [
            e for e in case.events
            if e.number > look.number and e.number != meant.number and e.grew and (e.target, e.text) == (meant.target, meant.text)
        ]  # fmt: skip
        if between:
            provider = case.providers[look.target]
            yield Proposal(
                "a look is no fence",
                "That nothing was found does not mean that nothing will come: a call may still be under way, or another attempt may look at"
                " the same time. Let the provider refuse the second one: the same key for both.",
                f"{look.text} found nothing, and {meant.text} of another took effect afterwards",
                "likely", (look, between[0], meant),
                varied.keyed(provider) if provider.keys else None,
                "" if provider.keys else f"the model of {provider.name} has no idempotency keys",
            )  # fmt: skip


RULES: tuple[Rule, ...] = (_keys, _reused_key, _lost_answer, _no_fence)
