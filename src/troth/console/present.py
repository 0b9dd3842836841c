"""How values look in pages: filters and globals of the templates. Whatever they return is escaped, or escapes itself.

Names and texts that users chose stand in `<bdi>`, so that right-to-left text turns nothing around it. Numbers are written
out digit for digit. Times are in the zone that the reader chose, and carry UTC with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from troth.base import lengths
from troth.journal.model import Reason, RunState

# A word's class in the style sheet, and a sign beside the word: a colour never stands alone.
STATES: Mapping[str, tuple[str, str]] = {
    RunState.READY: ("calm", "○"),
    RunState.RUNNING: ("busy", "▶"),
    RunState.WAITING: ("rest", "◷"),
    RunState.UNDOING: ("warn", "↶"),
    RunState.ATTENTION: ("bad", "!"),
    RunState.SUCCEEDED: ("good", "✓"),
    RunState.FAILED: ("ill", "✕"),
    RunState.CANCELLED: ("calm", "⊘"),
    # Of events that came in.
    "received": ("busy", "▶"),
    "parked": ("rest", "◷"),
    "applied": ("good", "✓"),
    "superseded": ("calm", "⇢"),
    "ignored": ("calm", "⊘"),
    "quarantined": ("bad", "!"),
    # Of deliveries.
    "pending": ("busy", "▶"),
    "delivered": ("good", "✓"),
    "dead": ("ill", "✕"),
    "in_doubt": ("bad", "?"),
    "dropped": ("calm", "⊘"),
}
_REASONS: Mapping[str, str] = {
    Reason.IN_DOUBT: "in doubt",
    Reason.CODE_CHANGED: "code changed",
    Reason.RETRIES_EXHAUSTED: "retries exhausted",
    Reason.BUG: "bug",
    Reason.POISON: "poison",
    Reason.UNDO_FAILED: "undo failed",
    Reason.JOURNAL_LIMIT: "journal limit",
}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def environment() -> Environment:
    """The templates of this package; all that is put into them is escaped."""
    made = Environment(
        loader=PackageLoader("troth.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: "" if value is None else value,
    )
    made.filters |= {
        "text": text,
        "plain": visible,
        "when": when,
        "took": took,
        "number": number,
        "size": size,
        "json": pretty,
        "last_line": last_line,
        "reason": reason,
        "capitalize_first": capitalize_first,
        "state": state,
    }
    return made


def text(value: object) -> Markup:
    """What a user chose: turned by itself, if it is right-to-left, and with its control characters visible."""
    return Markup("<bdi>{}</bdi>").format(visible(str(value))) if value is not None else Markup("")


def visible(value: str) -> str:
    """A text whose control characters show; lines stay lines."""
    return "".join(_shown(each) for each in value)


def _shown(character: str) -> str:
    if character in "\n\t" or not (character < " " or character == "\x7f"):
        return character
    return chr(0x2400 + ord(character)) if character != "\x7f" else "␡"


@pass_context
def when(context: Context, value: datetime | None) -> Markup:
    """A time to the second in the reader's zone; the exact one in UTC is its title."""
    if value is None:
        return Markup("")
    local = value.astimezone(context["visit"].zone)
    exact = value.astimezone(UTC).isoformat()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact, exact.replace("+00:00", "Z"), f"{local:%Y-%m-%d %H:%M:%S}"
    )


def took(seconds: float | None) -> str:
    """A length of time."""
    return "" if seconds is None else lengths.words(max(0.0, seconds))


def number(value: int | None) -> str:
    """A whole number, digit for digit."""
    return "" if value is None else f"{value:,}"


def size(count: int | None) -> Markup:
    """So many bytes."""
    if count is None:
        return Markup("")
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    words = (
        f"{count} {'byte' if count == 1 else 'bytes'}"
        if unit == 0
        else f"{amount:.1f} {_UNITS[unit]}"
    )
    return Markup('<span title="{}">{}</span>').format(f"{count:,} bytes", words)


def pretty(payload: bytes | None) -> str:
    """A stored payload, indented, digit for digit; as it is, if it is no JSON or was cut."""
    if not payload:
        return ""
    try:
        return visible(msgspec.json.format(payload, indent=2).decode())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return visible(payload.decode(errors="replace"))


def last_line(value: str | None) -> str:
    """Of a traceback, what went wrong."""
    return (value or "").strip().rpartition("\n")[2]


def reason(value: str | None) -> str:
    """Why a run stands in attention, in words."""
    return _REASONS.get(value or "", value or "")


def state(value: str, why: str | None = None) -> Markup:
    """A state of a run, an event or a delivery as a label: sign, word, and why, if it needs a person."""
    kind, sign = STATES.get(value, ("calm", "·"))
    words = f"{value}: {reason(why)}" if why else value.replace("_", " ")
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, sign, words
    )


def capitalize_first(value: str) -> str:
    """As the beginning of a sentence or a label; other letters stay as they are."""
    return value[:1].upper() + value[1:]
