"""The page: whole, self-contained, and nothing in it can be taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from tests.lab.show.samples import DOCUMENT, EXAMPLE, STEPS
from troth.lab.show.document import Check, Map
from troth.lab.show.page import page

_VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Reads a page; an element that is closed in the wrong place is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.elements: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_it_says_everything_that_a_person_needs():
    text = Reader(page(DOCUMENT)).text
    for said in (
        "VIOLATED", "One lost answer is enough. It costs 49 EUR.", "the promise 'x' is gone", "attempt 2 · pay",
        "amount=<i>1", "timeout", "from here it cannot simply be taken back", "app.py:7 pay", "the twin is fine",
        "without any one of its faults it vanishes", "with a stable key, this promise HOLDS in the model",
        "troth lab replay c0ffee00", 'pytest "t.py::test_pay"', "2 stripe.charges, not 1", "other.py:9 refund",
        "steps explored in memory", "4 histories in real processes", "stripe model 1", "hash order", "mail may repeat, because harmless", "a warning", "beef0001",
    ):  # fmt: skip
        assert said in text, said


def test_it_needs_nothing_from_outside():
    read = Reader(page(DOCUMENT))
    assert {"script", "link", "img", "iframe"}.isdisjoint(read.elements)
    assert not [
        value
        for name, value in read.attributes
        if name in {"src", "href"} and not value.startswith("#")
    ]
    assert "url(" not in page(DOCUMENT)
    assert "@import" not in page(DOCUMENT)


def test_every_link_leads_to_a_counterexample():
    read = Reader(page(DOCUMENT))
    targets = {value for name, value in read.attributes if name == "id"}
    assert {value for name, value in read.attributes if name == "href"} == {
        f"#{one}" for one in targets
    }


def test_light_dark_phone_and_paper():
    text = page(DOCUMENT)
    for rule in (
        "prefers-color-scheme: dark",
        "@media print",
        "max-width: 44rem",
        "width=device-width",
    ):
        assert rule in text


@pytest.mark.parametrize("word", ["HOLDS", "BOUNDED", "REFUSED"])
def test_a_verdict_without_counterexamples(word):
    plain = replace(
        DOCUMENT,
        verdict=word,
        counterexamples=(),
        map=None,
        closed=word == "HOLDS",
        reason="a thread",
    )
    text = Reader(page(plain)).text
    gist = {
        "HOLDS": "However often it crashes, loses answers and is asked again, every promise is kept under the model below.",
        "BOUNDED": "As far as was searched, every promise is kept.",
        "REFUSED": "Nothing can be said about this code, and the reason is given.",
    }
    assert gist[word] in text


@pytest.mark.parametrize(
    ("check", "badge"),
    [
        (Check("a", "holds"), "holds"),
        (Check("a", "holds", then_breaks=("b",)), "holds, but"),
        (Check("a", "not broken"), "not broken"),
        (Check("a", "breaks"), "not enough"),
        (Check("a", "unchecked", "no time"), "not checked"),
    ],
)
def test_the_badge_of_a_remedy(check, badge):
    remedy = replace(EXAMPLE.remedies[0], check=check)
    changed = replace(DOCUMENT, counterexamples=(replace(EXAMPLE, remedies=(remedy,)),))
    assert re.search(rf'<span class="tag \w+">{badge}</span>', page(changed))


def test_attempts_that_overlap_have_rails_side_by_side():
    steps = (STEPS[0], replace(STEPS[2], number=2), replace(STEPS[1], number=3))
    text = page(replace(DOCUMENT, counterexamples=(replace(EXAMPLE, steps=steps),), map=Map()))
    assert "--rails: 3.0rem" in text
    rows = re.findall(r'<div class="rails">(.*?)</div>', text)
    assert [row.count("rail lane-1 on") + row.count("rail lane-2 on") for row in rows] == [1, 2, 1]
