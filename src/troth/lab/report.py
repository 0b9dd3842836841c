"""A verdict as text: composed into its document, and told from that."""

from __future__ import annotations

from collections.abc import Iterator

from troth.lab.show import terminal
from troth.lab.show.compose import compose, example
from troth.lab.verdict import Counterexample, Verdict


def render(verdict: Verdict) -> str:
    """The whole report."""
    return terminal.text(compose(verdict))


def summary(verdict: Verdict) -> str:
    """The verdict in one line."""
    return terminal.headline(compose(verdict))


def counterexample(verdict: Verdict, one: Counterexample) -> Iterator[str]:
    """One failing history of a verdict."""
    yield from terminal.counterexample(example(verdict, one))
