"""A reader of Mermaid's state diagrams: as much of their grammar as the pictures of machines use, and its traps.

The order of the rules below is that of Mermaid's lexer, which takes the first that fits and not the longest, and knows no
difference between upper and lower case. Before it, `#60;` is taken for a character that means nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ENTITY = re.compile(r"#(\d+);")
_SAFE = 0xF0000  # a private plane: where characters are that were written by their numbers
# What begins a statement of another kind, as the lexer finds it at the start of a token.
_OTHER = re.compile(
    r"default\b|.*direction\s+(tb|bt|rl|lr)|%%|.%%|#|scale\s|acctitle\s*:|accdescr\s*[:{]|classdef\s|class\s|click\s|href\s"
    r"|style\s|note\s|statediagram(-v2)?\s|hide empty description|--(?!>)|:::",
    re.IGNORECASE,
)
_STATE = re.compile(r"state\s+", re.IGNORECASE)
_KIND = re.compile(r".*(<<|\[\[)(fork|join|choice)(>>|\]\])", re.IGNORECASE)
_NAMED = re.compile(r'"([^"]*)"\s*as\s+([^\n{]*)', re.IGNORECASE)
_PLACE = re.compile(r"\[\*\]|[^:\s\-{]+")
_LABEL = re.compile(r"\s*:([^:;]+)")


@dataclass
class Diagram:
    """States by their ids, with what is written in them, and arrows (from, to, label)."""

    titles: dict[str, str] = field(default_factory=dict)
    arrows: list[tuple[str, str, str | None]] = field(default_factory=list)

    def title(self, place: str) -> str:
        return self.titles.get(place, place)


def read(text: str) -> Diagram:
    """Raises `ValueError` for a line that is not a state with a title or an arrow."""
    head, *lines = text.splitlines()
    if head != "stateDiagram-v2":
        raise ValueError(head)
    diagram = Diagram()
    for line in lines:
        _statement(diagram, _ENTITY.sub(lambda n: chr(_SAFE + int(n[1])), line).strip())
    return diagram


def _statement(diagram: Diagram, line: str) -> None:
    if _OTHER.match(line):
        raise ValueError(f"begins something else: {line}")
    if found := _STATE.match(line):
        rest = line[found.end() :]
        named = _NAMED.fullmatch(rest)
        if _KIND.match(rest) or named is None:
            raise ValueError(f"no state with a title: {line}")
        diagram.titles[named[2]] = _plain(named[1])
        return
    start, rest = _place(line)
    if not rest.startswith("-->"):
        raise ValueError(f"no arrow: {line}")
    end, rest = _place(rest[3:].lstrip())
    label = _LABEL.fullmatch(rest)
    if rest and label is None:
        raise ValueError(f"no label: {rest}")
    diagram.arrows.append((start, end, _plain(label[1].strip()) if label else None))


def _place(text: str) -> tuple[str, str]:
    found = _PLACE.match(text)
    if found is None or _OTHER.match(text) or _STATE.match(text):
        raise ValueError(f"no state: {text}")
    return found[0], text[found.end() :].lstrip()


def _plain(text: str) -> str:
    return "".join(chr(ord(c) - _SAFE) if ord(c) >= _SAFE else c for c in text)
