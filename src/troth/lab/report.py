"""A verdict as text: composed into its document, and told from that."""

from __future__ import annotations

from troth.lab.show.compose import compose
from troth.lab.show.terminal import headline, text
from troth.lab.verdict import Verdict


def render(verdict: Verdict) -> str:
    """The whole report."""
    return text(compose(verdict))


def summary(verdict: Verdict) -> str:
    """The verdict in one line."""
    return headline(compose(verdict))
