"""Pictures of machines: complete, well-formed, the same each time, and nothing in a name gets out of its place."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.machine import mermaid
from tests.machine.conftest import subscription
from troth.machine import Machine, Transition, draw

SVG = "{http://www.w3.org/2000/svg}"


def hostile() -> Machine:
    return Machine(
        '<script>alert("1")</script>',
        initial="end",
        final={"a --> b", '<q>"]&lt;'},
        transitions=[
            Transition("<b>", "end", "a --> b"),
            Transition("x: y; z", "end", '<q>"]&lt;', guard=lambda _: None),
            Transition("again & again", "end", "end"),
        ],
    )


def test_mermaid_has_every_transition():
    text = subscription().mermaid()
    assert text.splitlines() == [
        "stateDiagram-v2",
        "    [*] --> incomplete",
        "    incomplete --> trialing : try",
        "    incomplete --> active : activate",
        "    trialing --> active : activate",
        "    trialing --> canceled : cancel",
        "    active --> active : renew",
        "    active --> past_due : fail",
        "    active --> canceled : cancel",
        "    active --> refunded : refund [small]",
        "    past_due --> active : activate",
        "    past_due --> canceled : cancel",
        "    canceled --> [*]",
        "    refunded --> [*]",
    ]


def test_names_mean_nothing_to_mermaid():
    text = hostile().mermaid()
    assert text.splitlines() == [
        "stateDiagram-v2",
        '    state "end" as state1',
        '    state "a --#62; b" as state2',
        '    state "#60;q#62;#34;]#38;lt#59;" as state3',
        "    [*] --> state1",
        "    state1 --> state2 : #60;b#62;",
        "    state1 --> state3 : x#58; y#59; z [guard]",
        "    state1 --> state1 : again #38; again",
        "    state2 --> [*]",
        "    state3 --> [*]",
    ]


WORDS = [
    *("end", "state", "State", "note", "default", "class", "classDef", "style", "scale", "click", "direction", "as"),
    *("accTitle", "accDescr", "stateDiagram", "hide empty description", "direction TB", "change direction lr"),
    *("[*]", "[[fork]]", "<<join>>", "%% no", "a%%b", "x:::y", "--", "-->", "a-b", "two words", 'a "b" as c', "a {", "}"),
    *("# 1", "#60;", "a;b", "a: b", "É", "7", "state1", "state2_", "plain", "_", "end note", "note left of x"),
]  # fmt: skip
words = st.sampled_from(WORDS) | st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=12
).filter(lambda text: text == text.strip() and text.isprintable())


@example(["[[fork]]", "direction TB", "a"], ["[[join]]", "change direction LR", "x"])
@settings(max_examples=300, deadline=None)
@given(
    st.lists(words, min_size=2, max_size=6, unique=True), st.lists(words, min_size=6, max_size=6)
)
def test_mermaid_reads_the_machine_that_was_declared(states, events):
    """Whatever the names are: as a row of states, each leading to the next one and the last to none."""
    moves = list(zip(states, events, states[1:], strict=False))
    made = [Transition(event, one, to) for one, event, to in moves]
    text = Machine("m", initial=states[0], final={states[-1]}, transitions=made).mermaid()
    read = mermaid.read(text)
    assert [(read.title(a), read.title(b), label) for a, b, label in read.arrows] == [
        ("[*]", states[0], None),
        *((one, to, event) for one, event, to in moves),
        (states[-1], "[*]", None),
    ]
    assert len(set(read.titles)) == len(read.titles)


def test_svg_is_well_formed_and_has_no_scripts():
    for machine in (subscription(), hostile()):
        picture = machine.svg()
        root = ET.fromstring(picture)
        assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
            "svg", "style", "defs", "marker", "path", "rect", "circle", "text",
        }  # fmt: skip
        assert not re.search(r"<[^>]* on\w+=", picture)
        assert "http" not in picture.replace('xmlns="http://www.w3.org/2000/svg"', "")
        texts = [each.text for each in root.iter(f"{SVG}text")]
        assert set(machine.declaration.states) <= set(texts)
        for state, legal in machine.declaration.moves.items():
            for event in legal:
                assert any(event in text for text in texts), (state, event)


def boxes(picture: str) -> list[tuple[float, float, float, float]]:
    root = ET.fromstring(picture)
    found = []
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("class") != "page":
            x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return found


def lines(picture: str) -> list[list[tuple[float, float]]]:
    """The corners of the lines between different states."""
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)]
        for path in re.findall(r'<path class="way" d="([^"C]*)"', picture)
    ]


names = st.sampled_from(["a", "beta", "the third state", "d", "epsilon", "f"])
tables = st.dictionaries(
    st.tuples(names, st.sampled_from(["go", "a longer event", "x"])), names, min_size=1, max_size=14
)


@settings(max_examples=60)
@given(tables)
def test_no_line_crosses_a_state_and_all_is_on_the_page(table):
    initial = next(one for one, _ in table)
    alive, more = {initial}, {initial}
    while more := {to for (one, _), to in table.items() if one in alive} - alive:
        alive |= more
    transitions = [Transition(event, one, to) for (one, event), to in table.items() if one in alive]
    final = alive - {one for one, _ in table}
    machine = Machine("m", initial=initial, final=final, transitions=transitions)
    picture = machine.svg()
    assert picture == machine.svg()
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture).groups())
    standing = boxes(picture)
    assert len(standing) == len(alive)
    for left, top, right, bottom in standing:
        assert 0 < left < right < width
        assert 0 < top < bottom < height
    for one, (left, top, right, bottom) in enumerate(standing):
        for other_left, other_top, other_right, other_bottom in standing[one + 1 :]:
            apart = right < other_left or other_right < left or bottom < other_top or other_bottom < top  # fmt: skip
            assert apart
    for corners in lines(picture):
        for (x1, y1), (x2, y2) in pairwise(corners):
            assert 0 < min(x1, x2) <= max(x1, x2) < width
            assert 0 < min(y1, y2) <= max(y1, y2) < height
            for left, top, right, bottom in standing:
                inside_x = max(x1, x2) > left + 0.5 and min(x1, x2) < right - 0.5
                inside_y = max(y1, y2) > top + 0.5 and min(y1, y2) < bottom - 0.5
                assert not (inside_x and inside_y)


def test_counts_stand_below_their_states_and_nothing_else_moves():
    machine = subscription()
    plain = machine.svg()
    counted = machine.svg({"active": "10,000+", "nowhere": 3})
    added = set(counted.splitlines()) - set(plain.splitlines())
    assert len(added) == 1
    assert "10,000+</text>" in added.pop()


def test_a_page_may_have_the_style_elsewhere():
    assert "<style>" not in draw.svg(subscription().declaration, styled=False)
    assert ".count" in draw.STYLE
