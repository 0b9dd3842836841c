"""The document: it can be stored and read again, and its page describes every field of it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import fields

from tests.lab.show.samples import DOCUMENT
from troth.lab import LabError
from troth.lab.show.document import SCHEMA, decode, encode, structs

PAGE = Path(__file__).parents[3] / "docs" / "lab" / "json.md"


def test_what_is_stored_is_what_is_read():
    assert decode(encode(DOCUMENT)) == DOCUMENT


def test_the_page_describes_every_field():
    sections = dict(
        re.findall(r"^## `(\w+)`.*?\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    )
    described = {
        name: re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        for name, section in sections.items()
    }
    assert described == {one.__name__: [f.encode_name for f in fields(one)] for one in structs()}


def test_every_structure_of_the_module_is_reached():
    import troth.lab.show.document as module

    defined = {
        one
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, msgspec.Struct)
        and one.__module__ == module.__name__
    }
    assert {one for one in defined if not one.__name__.startswith("_")} == set(structs())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"no json", "is no verdict of the lab"),
        (b"{}", "is no verdict of the lab"),
        (b'{"schema": "troth.lab/9"}', f"'troth.lab/9'; this version of troth reads {SCHEMA!r}"),
        (b'{"schema": "troth.lab/1"}', "is no verdict of the lab"),
    ],
)
def test_what_is_no_document_is_named(data, says):
    with pytest.raises(LabError, match=re.escape(says)) as error:
        decode(data, "x.json")
    assert str(error.value).startswith("x.json")
