"""Lists by the filters that the console has, too: options make the filter, and a page ends with where the next begins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from cyclopts import Parameter

from troth.base.errors import UsageError

if TYPE_CHECKING:
    from troth.view.filters import Criteria
    from troth.view.paging import Page

    C = TypeVar("C", bound=Criteria)

MOST = 1000

Limit: TypeAlias = Annotated[int, Parameter(help="At most so many, up to 1000.")]
After: TypeAlias = Annotated[
    str | None, Parameter(help="The next page: what the end of the page before says.")
]
SinceOption: TypeAlias = Annotated[
    str | None,
    Parameter(help="Since a time (2026-11-24T08:00) or for so long (2h, 7d)."),
]


def told(kind: type[C], **options: Any) -> C:
    """The filter that options say, by the words of its URL. Raises `UsageError`."""
    pairs = [
        (word, "true" if each is True else str(each))
        for word, value in options.items()
        for each in (value if isinstance(value, list) else [value])
        if each not in {None, False}
    ]
    return kind.from_query(pairs)


def check_limit(limit: int) -> None:
    """Raise `UsageError` for what is no length of a page."""
    if not 1 <= limit <= MOST:
        msg = f"--limit is 1 to {MOST}, not {limit}; the next page is --after"
        raise UsageError(msg)


def ends(page: Page[Any], output: str) -> None:
    """Tell people where a page ended."""
    if page.next is None or output != "table":
        return
    if page.cut:
        print(
            f"This is all among those that were looked at. Further: --after {page.next}",
            file=sys.stderr,
        )
    else:
        print(f"There may be more: --after {page.next}", file=sys.stderr)
