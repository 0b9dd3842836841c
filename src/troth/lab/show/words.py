"""Sentences that several reports share."""

from __future__ import annotations

from collections import Counter

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_PLURALS = {
    "crash": "crashes",
    "busy database": "busy databases",
    "crash with an effect under way": "crashes with an effect under way",
    "key that has expired": "keys that have expired",
}


def enough(faults: tuple[str, ...]) -> str:
    """How little it takes, as a sentence."""
    if not faults:
        return "No fault is needed."
    counted = [
        f"{_NUMBERS[many] if many < len(_NUMBERS) else many} {kind if many == 1 else _PLURALS.get(kind, kind + 's')}"
        for kind, many in Counter(faults).items()
    ]
    sentence = f"{' and '.join(counted)} {'is' if len(faults) == 1 else 'are'} enough."
    return sentence[0].upper() + sentence[1:]
