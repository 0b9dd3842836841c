"""Spans that were made, as a tree to ask about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Node:
    """A span, whoever has received it."""

    name: str
    trace: int
    span: int
    parent: int | None
    kind: str
    attributes: dict[str, Any]
    links: list[tuple[int, int]] = field(default_factory=list)
    error: str | None = None  # the description of its status, if that is bad
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> Node:
        """The one below this one that has this name."""
        [found] = [each for each in self.walk() if each.name == name]
        return found

    def below(self) -> list[str]:
        """The names of its children."""
        return [child.name for child in self.children]


def forest(nodes: Sequence[Node]) -> list[Node]:
    """The roots. Fails on a span whose parent is not there: an orphan."""
    by_id = {(node.trace, node.span): node for node in nodes}
    roots: list[Node] = []
    for node in nodes:
        if node.parent is None:
            roots.append(node)
        else:
            above = by_id.get((node.trace, node.parent))
            assert above is not None, f"an orphan: {node}"
            above.children.append(node)
    return roots
