"""Operations and rows in words, with secrets left out."""

from __future__ import annotations

from typing import Any

from troth.lab.model import Op

_SECRET = ("password", "secret", "token", "authorization", "card", "cvc", "hash")


def described(op: Op) -> str:
    """What the code asks, in one line."""
    if op.kind == "http":
        query, headers, body = op.params  # as `edge.http` writes it
        asked = "&".join(f"{name}={value}" for name, value in query)
        keys = [f"key={value}" for name, value in headers if "idempotency" in name]
        call = f"{op.target} {op.text}?{asked}" if asked else f"{op.target} {op.text}"
        return " ".join(
            filter(None, [call, short(redacted(body.decode(errors="replace")), 60), *keys])
        )
    if op.kind in {"commit", "rollback", "connect", "close"}:
        return op.kind.upper()
    if op.kind == "sql":
        return short(" ".join(op.text.split()), 70)
    return op.text or op.kind


def row(columns: dict[str, Any]) -> str:
    """A row or an object in one line; what looks like a secret is left out, and so is what is NULL."""
    shown = (
        f"{name}={'…' if any(word in name for word in _SECRET) else value}"
        for name, value in columns.items()
        if value is not None
    )
    return short(" ".join(shown), 90)


def short(text: str, most: int) -> str:
    """The text, cut if it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"


def redacted(text: str) -> str:
    """The text, unless it seems to hold a secret."""
    return "…" if any(word in text.lower() for word in _SECRET) else text
