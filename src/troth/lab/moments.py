"""Time and fresh names, made so that a world can be recognised when it comes again.

The lab's clock stands still within an attempt and jumps between attempts by a *tick* that is longer than any unit that
code is likely to truncate to. A world is compared with its timestamps renumbered in their order: only *before*, *equal* and
*after* matter, not how often somebody has tried. A random value is a function of a *seed*; an attempt draws the
smallest seed of which no trace is left in the world, so a fresh name is never one that still exists.

Both rest on finding the values in the world. A value that is stored in a transformed form (hashed, say) cannot be found;
`tables` notices that by running each history a second time with other ticks and seeds.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

EPOCH = int(datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp())
TICK = 29 * 3600 + 2
"""Seconds. Longer than a day, so that dates differ too. Not a multiple of a minute, so that a timestamp some minutes, hours or
days away (a lease, a trial's end) tells from which tick it was computed."""
WHOLE_DAYS = 43_200
"""So many ticks are a whole number of days: two runs that far apart see the same time of day."""

_SCALES = (1, 1_000, 1_000_000, 1_000_000_000)
_UNITS = (60, 3_600, 86_400)
_NEAR, _FAR = TICK / 2, 400 * 86_400
_EARLIEST, _LATEST = EPOCH - _FAR, EPOCH + 3 * WHOLE_DAYS * TICK
ISO = re.compile(r"2[01]\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)?")
_DIGITS = re.compile(r"(?<!\d)(?:\d{10}|\d{13}|\d{16}|\d{19})(?!\d)")

Ranks = Mapping[int, int]
"""The ticks that were given out, and what each is called in a comparison."""


def instant(tick: int, reads: int = 0) -> float:
    """Seconds since 1970 at a tick; each further reading within an attempt is a little later (exact in binary)."""
    return EPOCH + tick * TICK + reads / 1024


def _origin(seconds: float, known: Iterable[int]) -> tuple[int, str] | None:
    """The tick that a time was computed from, and how: a distance, or a truncation (by UTC) to so many seconds."""
    best: tuple[float, int, str] | None = None
    for tick in known:
        distance = seconds - instant(tick)
        unit = next((u for u in _UNITS if instant(tick) // u * u == seconds), None)
        if unit is not None and distance:
            found = (abs(distance), tick, f"/{unit}")
        elif (distance % 60 < 1 and abs(distance) < _FAR) or abs(distance) < _NEAR:
            found = (abs(distance), tick, f"{round(distance, 6):+}")
        else:
            continue
        best = found if best is None else min(best, found)
    return None if best is None else best[1:]


def _found(number: float, known: Iterable[int]) -> tuple[int, str, int] | None:
    for scale in _SCALES:
        if _EARLIEST < number / scale < _LATEST:
            origin = _origin(number / scale, known)
            return None if origin is None else (*origin, scale)
    return None


def marked(data: object, ranks: Ranks) -> object:
    """The data with every timestamp replaced by (rank of its tick, distance from the tick): one to one, and order is kept."""
    if isinstance(data, Mapping):
        return {str(marked(key, ranks)): marked(value, ranks) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [marked(item, ranks) for item in data]
    return _marked_value(data, ranks)


def _marked_value(data: object, ranks: Ranks) -> object:
    if isinstance(data, str):
        return _marked_text(data, ranks)
    if isinstance(data, bytes):
        try:
            return _marked_text(data.decode(), ranks).encode()
        except UnicodeDecodeError:
            return data
    if isinstance(data, int | float) and not isinstance(data, bool):
        found = _found(data, ranks)
        return data if found is None else ["@", ranks[found[0]], found[1], found[2]]
    return data


def _marked_text(text: str, ranks: Ranks) -> str:
    def mark(written: str, seconds: float) -> str:
        found = _found(seconds, ranks)
        return written if found is None else f"@{ranks[found[0]]}{found[1]}×{found[2]}"

    def iso(match: re.Match[str]) -> str:
        try:
            at = datetime.fromisoformat(match.group())
        except ValueError:
            return match.group()
        return mark(match.group(), at.replace(tzinfo=UTC).timestamp())

    text = ISO.sub(iso, text)
    return _DIGITS.sub(lambda match: mark(match.group(), int(match.group())), text)


class _Noting(dict[int, int]):
    """Ranks that note which ticks were looked up."""

    def __init__(self, known: Iterable[int]) -> None:
        super().__init__((tick, tick) for tick in known)
        self.noted: set[int] = set()

    def __getitem__(self, tick: int) -> int:
        self.noted.add(tick)
        return super().__getitem__(tick)


def ticks(data: object, known: Iterable[int]) -> set[int]:
    """Which of the known ticks left a timestamp in the data."""
    noting = _Noting(known)
    marked(data, noting)
    return noting.noted


def _forms(seed: int, position: int, size: int) -> Iterator[bytes]:
    # the size is part of it, or a short value would be the beginning of a long one, and be taken for it
    value = hashlib.shake_256(f"{seed}:{position}:{size}".encode()).digest(size)
    yield value
    yield value.hex().encode()
    yield base64.urlsafe_b64encode(value).rstrip(b"=")
    if size == 16:
        name = uuid.UUID(bytes=value, version=4)
        yield from (str(name).encode(), name.hex.encode(), name.bytes)
        yield str(uuid.UUID(bytes=value)).encode()  # as stripe writes its keys


class Names:
    """Random bytes as a function of (seed, position), and where they were handed out."""

    def __init__(self) -> None:
        self._issued: dict[int, set[tuple[int, int]]] = {}

    def draw(self, seed: int, position: int, size: int) -> bytes:
        """`size` bytes that no other seed has."""
        self._issued.setdefault(seed, set()).add((position, size))
        return next(_forms(seed, position, size))

    def issued(self) -> dict[int, list[tuple[int, int]]]:
        """Per seed, what was handed out: (position, size)."""
        return {seed: sorted(places) for seed, places in self._issued.items()}

    def recall(self, issued: dict[int, list[tuple[int, int]]]) -> None:
        """What an earlier process handed out can be met again, too."""
        for seed, places in issued.items():
            self._issued.setdefault(seed, set()).update(map(tuple, places))  # type: ignore[arg-type]

    def fresh(self, parts: tuple[bytes, ...], taken: Iterable[int] = ()) -> int:
        """The smallest seed that left no trace in the encoded parts of a world, and is not taken."""
        seed = 1
        while seed in taken or any(
            form in part
            for place in self._issued.get(seed, ())
            for form in _forms(seed, *place)
            for part in parts
        ):
            seed += 1
        return seed

    def renamed(self, data: bytes, old: int, new: int) -> bytes:
        """The data with every trace of seed `old` replaced by the same draw of seed `new`."""
        for place in sorted(self._issued.get(old, ())):
            for mine, theirs in zip(_forms(old, *place), _forms(new, *place), strict=True):
                data = data.replace(mine, theirs)
        return data
