"""A document as one self-contained HTML file: no script, no network; light and dark, on a phone and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files

from troth.lab.show.document import (
    Cell,
    Check,
    Counterexample,
    Document,
    Entry,
    Map,
    Promised,
    Remedy,
)
from troth.lab.show.terminal import checked

_COLOURS = {
    "kept": "good",
    "litter": "warn",
    "in doubt": "warn",
    "half-done": "warn",
    "doubled": "warn",
    "unknown": "none",
}
_MEANINGS = {
    "kept": "as if nothing had failed",
    "in doubt": "the caller does not know, and asks no more",
    "litter": "something harmless is left behind",
    "half-done": "some of it is there, some is not",
    "doubled": "something is there twice",
    "lost": "something that was to be there is not",
    "stuck": "no retry ever helps",
    "told a lie": "the caller was told what is not so",
    "money": "money is lost",
    "broken": "another promise is broken",
    "unknown": "too many continuations to follow",
}
_RESULTS = {"holds": "good", "not broken": "good", "breaks": "bad", "unchecked": "none"}


def page(document: Document) -> str:
    """The whole file."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    title = escape(f"{document.verdict}: {document.scenario}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(_body(document))
        + "\n</main>\n</body>\n</html>\n"
    )


def _body(document: Document) -> Iterator[str]:
    yield from _head(document)
    if document.weakened:
        yield f'<div class="note"><b>You weakened this test since its last verdict:</b>{_list(document.weakened)}</div>'
    if document.reason:
        yield f'<div class="note"><b>The lab cannot speak about this code</b><p>{escape(document.reason)}</p></div>'
    yield from _promises(document)
    for one in document.counterexamples:
        yield from _counterexample(one)
    if document.map is not None and document.map.rows:
        yield from _map(document.map)
    yield from _small_print(document)


def _head(document: Document) -> Iterator[str]:
    yield f'<header><div class="brand">troth · lab</div><h1 class="mono">{escape(document.scenario)}</h1>'
    yield f'<div class="word {document.verdict}"><strong>{document.verdict}</strong><span>{escape(_gist(document))}</span></div>'
    n = document.numbers
    shown = [
        (f"{n.states:,}", "states"),
        (f"{n.steps:,}", "steps explored in memory"),
        (f"{n.runs:,}", "real runs of the code"),
    ]
    shown += [(f"{n.effects:,}", "real operations"), (f"{n.seconds:.2f} s", "in all")]
    if n.first_s is not None:
        shown.append((f"{n.first_s:.2f} s", "until the first broken promise"))
    if n.states:
        items = "".join(f"<li><b>{number}</b>{what}</li>" for number, what in shown)
        yield f'<ul class="numbers">{items}</ul>'
    yield "</header>"


def _gist(document: Document) -> str:
    """The verdict in one sentence for somebody who reads nothing else."""
    broken = document.counterexamples
    if document.verdict == "REFUSED":
        return "Nothing can be said about this code, and the reason is given."
    if document.verdict == "DISAGREED":
        return "A real process did something else than the lab says: nothing that it says can be relied upon."
    if not broken:
        extent = (
            "However often it crashes, loses answers and is asked again"
            if document.closed
            else "As far as was searched"
        )
        return (
            f"{extent}, every promise is kept{' under the model below' if document.closed else ''}."
        )
    count = f"{len(broken)} of {len(document.asked.promises)} promises {'is' if len(broken) == 1 else 'are'} broken."
    costs = next((one.costs for one in broken if one.costs), "")
    return f"{count} {broken[0].enough}{f' It costs {costs}.' if costs else ''}"


def _promises(document: Document) -> Iterator[str]:
    anchors = {one.promise: one.id for one in document.counterexamples}
    yield '<h2>What was promised</h2><ul class="promises">'
    for one in document.asked.promises:
        title = _title(one)
        linked = (
            f'<a href="#{anchors[title]}">{escape(title)}</a>'
            if title in anchors
            else escape(title)
        )
        mark, colour, said = {
            "kept": ("✓", "good", "kept"),
            "broken": ("✗", "bad", one.severity),
            "open": ("·", "none", "kept so far"),
        }[one.result]
        costs = f' <span class="soft small">{escape(one.costs)}</span>' if one.costs else ""
        yield (
            f'<li><span class="mark {colour}">{mark}</span><span>{linked}{costs}</span>'
            f'<span class="tag {colour}">{escape(said)}</span></li>'
        )
    yield "</ul>"


def _title(promise: Promised) -> str:
    return f"told {promise.status}: {promise.name}" if promise.kind == "told" else promise.name


# ── a counterexample ────────────────────────────────────────────────────────────────────────────


def _counterexample(one: Counterexample) -> Iterator[str]:
    price = f": {one.costs}" if one.costs else ""
    yield f'<article id="{one.id}"><h2>{escape(one.promise)} <span class="tag bad">{escape(one.severity + price)}</span></h2>'
    yield f'<p class="enough">{escape(one.enough)}</p>'
    yield from _lanes(one.steps)
    if one.stuck:
        yield "<p>From here nothing helps: even if nothing fails any more, no attempt reaches a rest in which the promise is true.</p>"
    world = (
        "".join(f"<li>{escape(line)}</li>" for line in one.world) or "<li>as in the beginning</li>"
    )
    yield f'<h3>The world then</h3><ul class="world mono">{world}</ul>'
    yield from _sureness(one)
    if one.twin is not None:
        told = "".join(f"<li>{_op(step)}{_told_inline(step)}</li>" for step in one.twin.steps)
        yield f'<div class="twin"><span class="tag good">the twin is fine</span> The same without {escape(one.twin.without)}: {escape(one.twin.ending)}<ol>{told}</ol></div>'
    if one.remedies:
        yield "<h3>What would help</h3>"
        yield from (_remedy(remedy) for remedy in one.remedies)
    if one.similar_sites:
        sites = ", ".join(f"<code>{escape(str(site))}</code>" for site in one.similar_sites)
        yield f'<p class="small">The same at {sites}.</p>'
    if one.replay.command:
        lines = "\n".join(filter(None, [one.replay.command, one.replay.pytest]))
        yield f'<h3>See it again</h3><pre class="again">{escape(lines)}</pre>'
    yield "</article>"


def _lanes(steps: tuple[Entry, ...]) -> Iterator[str]:
    lanes = sorted({step.attempt for step in steps})
    spans: dict[int, tuple[int, int]] = {}
    for number, step in enumerate(steps):
        spans[step.attempt] = (spans.get(step.attempt, (number, number))[0], number)
    yield f'<div class="lanes" style="--rails: {1.5 * len(lanes)}rem"><div class="cols"><span></span><span>what happened</span><span>what the caller was told</span></div>'
    before: int | None = None
    for number, step in enumerate(steps):
        rails = "".join(_rail(lane, spans[lane], number, step) for lane in lanes)
        who = ""
        if step.attempt != before:
            before = step.attempt
            name = f"attempt {step.attempt} · {step.actor}" if step.attempt else step.actor
            who = f'<span class="who lane-{_lane(step.attempt)}">{escape(name)}</span>'
        point = (
            '<span class="point">◆ from here it cannot simply be taken back</span>'
            if step.irreversible
            else ""
        )
        site = f'<span class="site mono">{escape(str(step.site))}</span>' if step.site else ""
        yield (
            f'<div class="step{" fault" if step.fault else ""}"><div class="rails">{rails}</div>'
            f"<div>{who}{_op(step)}{site}{point}</div>"
            f'<div class="told mono">{escape(step.told)}</div></div>'
        )
    yield "</div>"


def _lane(attempt: int) -> int:
    return (attempt - 1) % 4 + 1 if attempt else 0


def _rail(lane: int, span: tuple[int, int], number: int, step: Entry) -> str:
    first, last = span
    on = " on" if first <= number <= last else ""
    ends = (" first" if number == first else "") + (" last" if number == last else "")
    dot = ""
    if step.attempt == lane:
        dot = (
            '<span class="dot x">✗</span>'
            if step.fault
            else '<span class="dot d"></span>'
            if step.irreversible
            else '<span class="dot"></span>'
        )
    return f'<span class="rail lane-{_lane(lane)}{on}{ends if on else ""}">{dot}</span>'


def _op(step: Entry) -> str:
    """The call with its parameters and what it changed; or the step as a sentence, if it was no call."""
    if not step.op:
        return f'<span class="op">{escape(step.happened)}</span>'
    fault = f' <span class="tag bad">{escape(step.fault)}</span>' if step.fault else ""
    params = (
        f'<span class="params mono">{escape("  ".join(step.params))}</span>' if step.params else ""
    )
    changes = "".join(
        f'<span class="change mono">{escape(change)}</span>' for change in step.changes
    )
    return f'<span class="op">{escape(step.op)}</span>{fault}{params}{changes}'


def _told_inline(step: Entry) -> str:
    return f' <span class="soft mono">{escape(step.told)}</span>' if step.told else ""


def _sureness(one: Counterexample) -> Iterator[str]:
    tags = []
    if one.needs and all(need.result == "vanishes" for need in one.needs):
        tags.append(
            '<span class="tag good">minimal</span> without any one of its faults it vanishes (checked)'
        )
    tags += [
        f'<span class="tag warn">not minimal</span> it is still there without the {escape(need.fault)} of step {need.step}'
        for need in one.needs
        if need.result == "remains"
    ]
    if one.confirmed is not None:
        said, colour = ("confirmed", "good") if one.confirmed else ("not confirmed", "bad")
        tags.append(f'<span class="tag {colour}">{said}</span> in real processes that really die')
    tags += [f'<span class="tag calm">assumes</span> {escape(line)}' for line in one.assumptions]
    if tags:
        yield "<h3>How sure this is</h3>" + "".join(f'<p class="small">{tag}</p>' for tag in tags)


def _remedy(remedy: Remedy) -> str:
    sites = "".join(f'<span class="site mono">{escape(str(site))}</span>' for site in remedy.sites)
    return (
        f'<div class="remedy"><b>{escape(remedy.kind)}</b> <span class="soft small">({remedy.confidence})</span>'
        f'<p>{escape(remedy.advice)}</p><p class="small soft">Because {escape(remedy.because)}.</p>{sites}'
        f'<p class="small verdict"><span class="tag {_RESULTS[remedy.check.result]}">{_badge(remedy.check)}</span>'
        f"<span>{escape(checked(remedy.check))}.</span></p></div>"
    )


def _badge(check: Check) -> str:
    if check.then_breaks and check.result == "holds":
        return "holds, but"
    return {
        "holds": "holds",
        "not broken": "not broken",
        "breaks": "not enough",
        "unchecked": "not checked",
    }[check.result]


# ── the consequence map, and the rest ───────────────────────────────────────────────────────────


def _map(table: Map) -> Iterator[str]:
    faults = table.faults()
    yield "<h2>What one fault leads to</h2>"
    yield f'<p class="soft small">Each step of a run in which nothing fails, and each fault there; then the caller asks again, and nothing else fails. {escape(table.clean)}</p>'
    cells = [cell for row in table.rows for cell in row.cells]
    present = {cell.consequence for cell in cells}
    costs = ", ".join(sorted({cell.costs for cell in cells if cell.costs}))
    meanings = _MEANINGS | ({"money": f"money is lost: {costs}"} if costs else {})
    key = "".join(
        f'<span><span class="tag {_colour(c)}">{c}</span> <span class="soft small">{escape(meaning)}</span></span>'
        for c, meaning in meanings.items()
        if c in present
    )
    yield f'<div class="key">{key}</div>'
    heads = "".join(f"<th>{escape(fault)}</th>" for fault in faults)
    yield f'<div class="scroll"><table><thead><tr><th>step</th>{heads}</tr></thead><tbody>'
    for row in table.rows:
        here = {cell.fault: cell for cell in row.cells}
        site = f'<span class="site mono">{escape(str(row.site))}</span>' if row.site else ""
        shown = "".join(_cell(here, fault) for fault in faults)
        yield f'<tr><th scope="row"><span class="op">{escape(row.op)}</span>{site}</th>{shown}</tr>'
    yield "</tbody></table></div>"
    if table.partial:
        yield f'<p class="soft small">{escape(table.partial)}</p>'


def _cell(cells: dict[str, Cell], fault: str) -> str:
    cell = cells.get(fault)
    if cell is None:
        return '<td class="soft">·</td>'
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f'<td class="{_colour(cell.consequence)}"><b>{escape(cell.consequence)}</b>{detail}</td>'


def _colour(consequence: str) -> str:
    return _COLOURS.get(consequence, "bad")


def _small_print(document: Document) -> Iterator[str]:
    yield "<h2>What this is worth</h2>"
    kinds = (
        ("The model", document.assumptions, not document.failing),
        ("Confirmed", (document.confirmed,) if document.confirmed else (), True),
        ("Not explored", document.unexplored, not document.failing),
        ("Why the graph is open", document.open_because, True),
        ("Accepted, ignored, bounded", tuple(f"{one.kind}: {one.what}{f', because {one.because}' if one.because else ''}" for one in document.asked.excuses), True),
        ("Warnings", document.warnings, True),
    )  # fmt: skip
    for title, lines, is_open in kinds:
        if lines:
            yield f"<details{' open' if is_open else ''}><summary>{title}</summary>{_list(lines)}</details>"
    made = f" · {document.made}" if document.made else ""
    yield f'<footer>verdict <span class="mono">{document.id}</span> · {escape(document.schema)}{escape(made)}</footer>'


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
