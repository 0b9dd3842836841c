"""A machine as a picture, from its declaration: Mermaid for pages that render it, SVG for all others. Pure.

States stand in columns, by how many events they are away from the initial one. Lines run between the columns, and those
that skip a column, or go back, in lanes above and below: no line crosses a state, and each has its label to itself.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from types import MappingProxyType

from troth.machine import rules
from troth.machine.model import Declaration

# Mermaid --------------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# `[[fork]]` makes a state another thing, and `direction TB` a line, wherever they stand in it.
_MEANINGFUL = re.compile(r"[^\w .,\[\]-]|\[(?=\[)|(?<=direction)\s", re.IGNORECASE)
_KEYWORDS = frozenset(
    {
        "accdescr",
        "acctitle",
        "as",
        "choice",
        "class",
        "classdef",
        "click",
        "default",
        "direction",
        "end",
        "fork",
        "hide",
        "href",
        "join",
        "left",
        "note",
        "of",
        "right",
        "root",
        "scale",
        "state",
        "statediagram",
        "style",
        "title",
    }
)


def mermaid(found: Declaration) -> str:
    """A `stateDiagram-v2`. Guards stand behind their events, in brackets."""
    ids = _mermaid_ids(found.states)
    lines = ["stateDiagram-v2"]
    lines += [
        f'    state "{_entities(state)}" as {ids[state]}'
        for state in found.states
        if ids[state] != state
    ]
    lines.append(f"    [*] --> {ids[found.initial]}")
    lines += [
        f"    {ids[state]} --> {ids[to]} : {_entities(_label(found, state, event))}"
        for state in found.states
        for event, to in found.moves[state].items()
    ]
    lines += [f"    {ids[state]} --> [*]" for state in found.states if state in found.final]
    return "\n".join(lines) + "\n"


def _mermaid_ids(states: Sequence[str]) -> dict[str, str]:
    ids: dict[str, str] = {}
    for number, state in enumerate(states, 1):
        plain = _WORD.fullmatch(state) and state.lower() not in _KEYWORDS
        name = state if plain else f"state{number}"
        while not plain and name in states:
            name += "_"
        ids[state] = name
    return ids


def _entities(text: str) -> str:
    """What could mean something to Mermaid, by its number."""
    return _MEANINGFUL.sub(lambda found: f"#{ord(found[0])};", text)


def _label(found: Declaration, state: str, event: str) -> str:
    guard = found.guards.get((state, event))
    name = getattr(guard, "__name__", "guard")
    return event if guard is None else f"{event} [{'guard' if name == '<lambda>' else name}]"


# SVG ------------------------------------------------------------------------------------------------------------------

_CHARACTER = 7.4  # the width of one, at 12 pixels
_LINE = 18  # between lines that run in parallel, and so between their labels
_CHANNEL = 12  # between vertical ones
_ROOM = 14
# Of the picture. A page whose policy allows no styles within it has them in a sheet of its own.
STYLE = """\
.machine { --ink: #1f2328; --line: #57606a; --page: #ffffff; --box: #eef3f9; --end: #e3e6ea;
  font: 12px ui-sans-serif, system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  .machine { --ink: #e6edf3; --line: #9aa4af; --page: #0d1117; --box: #1b2735; --end: #2b3138; }
}
.machine .page { fill: var(--page); }
.machine .state { fill: var(--box); stroke: var(--line); }
.machine .final { fill: var(--end); stroke-width: 3; }
.machine .way { fill: none; stroke: var(--line); }
.machine .tip, .machine .start { fill: var(--line); }
.machine text { fill: var(--ink); }
.machine .count { fill: var(--line); font-variant-numeric: tabular-nums; }
.machine .event { paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; }
"""


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Way:
    """All events that lead from one state to another: one line."""

    start: str
    end: str
    label: str


def svg(
    found: Declaration, counts: Mapping[str, object] = MappingProxyType({}), *, styled: bool = True
) -> str:
    """One `<svg>` element, the same for the same declaration.

    *counts*: how many objects are in a state, by its name, written below it. *styled*: with `STYLE` in it.
    """
    ways = _ways(found)
    columns = _columns(found)
    layer = {state: number for number, column in enumerate(columns) for state in column}
    leaving = {s: [w for w in ways if w.start == s != w.end] for s in found.states}
    arriving = {s: [w for w in ways if w.end == s != w.start] for s in found.states}
    above = [way for way in ways if layer[way.end] > layer[way.start] + 1]
    below = [way for way in ways if layer[way.end] <= layer[way.start] and way.start != way.end]
    straight = [way for way in ways if layer[way.end] == layer[way.start] + 1]

    gaps = _gaps(ways, straight, layer, len(columns))
    top = _ROOM + len(above) * _LINE
    boxes = _boxes(columns, leaving, arriving, gaps, top, _loops(ways))
    bottom = max(box.y + box.height for box in boxes.values()) + _ROOM
    lanes = {way: top - (number + 0.5) * _LINE for number, way in enumerate(above)}
    lanes |= {way: bottom + (number + 0.5) * _LINE for number, way in enumerate(below)}
    width = sum(gaps) + sum(_column_width(column) for column in columns)
    height = bottom + len(below) * _LINE + _ROOM

    parts = [_start(boxes[found.initial])]
    channels = dict.fromkeys(range(len(gaps)), 0)
    texts: list[str] = []
    for way in ways:
        start, end = boxes[way.start], boxes[way.end]
        if way.start == way.end:
            parts.append(_path(_loop(start)))
            texts.append(_event(start.x + start.width / 2, start.y - _LINE - 4, way.label))
            continue
        out = _port(start, leaving[way.start], way)
        into = _port(end, arriving[way.end], way)
        first = _channel(channels, layer[way.start] + 1, start.x + start.width)
        if way in lanes:
            last = _channel(channels, layer[way.end], end.x - gaps[layer[way.end]])
            points = [(start.x + start.width, out), (first, out), (first, lanes[way])]
            points += [(last, lanes[way]), (last, into), (end.x, into)]
            texts.append(_event((first + last) / 2, lanes[way] + 4, way.label))
        else:
            points = [(start.x + start.width, out), (first, out), (first, into), (end.x, into)]
            texts.append(_event(end.x - 10 - _measure(way.label) / 2, into - 5, way.label))
        parts.append(_path(_rounded(points)))
    parts += [_state(found, state, box) for state, box in boxes.items()]
    parts += [_count(box, str(counts[state])) for state, box in boxes.items() if state in counts]
    return _page(found, width, height, parts + texts, styled=styled)


def _ways(found: Declaration) -> list[_Way]:
    """One for every pair of states between which there are events."""
    pairs = sorted(
        (found.states.index(state), found.states.index(to), number, _label(found, state, event))
        for state in found.states
        for number, (event, to) in enumerate(found.moves[state].items())
    )
    return [
        _Way(found.states[start], found.states[end], ", ".join(each[3] for each in group))
        for (start, end), group in groupby(pairs, key=lambda each: each[:2])
    ]


def _columns(found: Declaration) -> list[list[str]]:
    """The states by their distance; within a column in the order of where their lines come from."""
    away = rules.distances(found)
    columns: list[list[str]] = [[] for _ in range(max(away.values()) + 1)]
    for state in found.states:
        columns[away[state]].append(state)
    for before, column in pairwise(columns):
        column.sort(key=lambda state, before=before: _height_of_origins(found, before, state))  # type: ignore[misc]
    return columns


def _height_of_origins(found: Declaration, before: list[str], state: str) -> float:
    origins = [n for n, other in enumerate(before) if state in found.moves[other].values()]
    return sum(origins) / len(origins)


def _loops(ways: Iterable[_Way]) -> frozenset[str]:
    return frozenset(way.start for way in ways if way.start == way.end)


def _gaps(
    ways: Iterable[_Way], straight: Iterable[_Way], layer: dict[str, int], columns: int
) -> list[float]:
    """The widths of the spaces before, between and behind the columns: for their vertical lines, and for the labels."""
    lines = [0] * (columns + 1)
    labels = [0.0] * (columns + 1)
    labels[0] = _LINE + 0.0  # the mark of the start
    straight = list(straight)
    for way in ways:
        if way.start != way.end:
            lines[layer[way.start] + 1] += 1
            lines[layer[way.end]] += way not in straight
    for way in straight:
        labels[layer[way.end]] = max(labels[layer[way.end]], _measure(way.label))
    return [2 * _ROOM + _CHANNEL * n + label for n, label in zip(lines, labels, strict=True)]


def _boxes(
    columns: list[list[str]], leaving: dict[str, list[_Way]], arriving: dict[str, list[_Way]],
    gaps: list[float], top: float, loops: frozenset[str],
) -> dict[str, _Box]:  # fmt: skip
    """Where the states stand; columns are centred beside the highest one."""
    heights = {
        state: 22 + _LINE * max(1, len(leaving[state]), len(arriving[state]))
        for column in columns
        for state in column
    }
    space = {state: 2 * _LINE + (_LINE if state in loops else 0) for state in heights}
    tall = [sum(heights[state] + space[state] for state in column) for column in columns]
    boxes: dict[str, _Box] = {}
    x = gaps[0]
    for number, column in enumerate(columns):
        y = top + (max(tall) - tall[number]) / 2
        width = _column_width(column)
        for state in column:
            y += space[state]
            boxes[state] = _Box(x, y, width, heights[state])
            y += heights[state]
        x += width + gaps[number + 1]
    return boxes


def _column_width(column: Iterable[str]) -> float:
    return max(_measure(state) for state in column) + 2 * _ROOM


def _measure(text: str) -> float:
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return (len(text) + wide) * _CHARACTER


def _port(box: _Box, ways: list[_Way], way: _Way) -> float:
    """The height at which a line meets a side of its state."""
    return box.y + box.height * (ways.index(way) + 1) / (len(ways) + 1)


def _channel(channels: dict[int, int], gap: int, left: float) -> float:
    """The next free place for a vertical line in a space between columns that begins at *left*."""
    channels[gap] += 1
    return left + _CHANNEL * channels[gap]


def _rounded(points: list[tuple[float, float]]) -> str:
    """A line through points, at right angles, with its corners rounded."""
    steps = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        enter, leave = _towards(here, before), _towards(here, after)
        steps.append(f"L{enter[0]:.1f} {enter[1]:.1f}")
        steps.append(f"Q{here[0]:.1f} {here[1]:.1f} {leave[0]:.1f} {leave[1]:.1f}")
    steps.append(f"L{points[-1][0] - 5:.1f} {points[-1][1]:.1f}")  # the tip is drawn beyond
    return " ".join(steps)


def _towards(here: tuple[float, float], there: tuple[float, float]) -> tuple[float, float]:
    """A point a corner's radius away, and not beyond the middle."""
    dx, dy = there[0] - here[0], there[1] - here[1]
    far = max(abs(dx), abs(dy)) or 1.0
    share = min(6.0, far / 2) / far
    return here[0] + dx * share, here[1] + dy * share


def _loop(box: _Box) -> str:
    middle = box.x + box.width / 2
    up = box.y - _LINE
    return f"M{middle - 12:.1f} {box.y:.1f} C{middle - 16:.1f} {up:.1f} {middle + 16:.1f} {up:.1f} {middle + 12:.1f} {box.y - 5:.1f}"


def _path(line: str) -> str:
    return f'<path class="way" d="{line}" marker-end="url(#tip)"/>'


def _event(x: float, y: float, label: str) -> str:
    return f'<text class="event" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{html.escape(label)}</text>'


def _start(box: _Box) -> str:
    y = box.y + 8
    return (
        f'<circle class="start" cx="{_ROOM}" cy="{y:.1f}" r="5"/>'
        f'<path class="way" d="M{_ROOM} {y:.1f} L{box.x - 5:.1f} {y:.1f}" marker-end="url(#tip)"/>'
    )


def _state(found: Declaration, state: str, box: _Box) -> str:
    kind = "state final" if state in found.final else "state"
    x, y = box.x + box.width / 2, box.y + box.height / 2 + 4
    return (
        f'<rect class="{kind}" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="8"/>'
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{html.escape(state)}</text>'
    )


def _count(box: _Box, told: str) -> str:
    x, y = box.x + box.width / 2, box.y + box.height + 14
    return f'<text class="count" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{html.escape(told)}</text>'


def _page(
    found: Declaration, width: float, height: float, parts: Iterable[str], *, styled: bool
) -> str:
    name = html.escape(found.name)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="machine" role="img" aria-label="The machine {name}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">'
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="3" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
    )
    page = f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>'
    style = [f"<style>\n{STYLE}</style>"] if styled else []
    return "\n".join([head, *style, tip, page, *parts, "</svg>"]) + "\n"
