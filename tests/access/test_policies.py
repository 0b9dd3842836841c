"""Policies are read once, when the program starts, and a wrong one stops it, with its line."""

from __future__ import annotations

import builtins

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.access.conftest import POLICIES, SCHEMA
from troth.access import Access, PolicyError
from troth.access.policies import parsed, read, split
from troth.base.errors import UsageError


def test_policies_go_by_their_ids_and_know_their_lines():
    found = parsed(POLICIES, SCHEMA).by_number
    assert {number: (p.id, p.line, p.effect) for number, p in found.items()} == {
        "policy0": ("tenant-reads", 2, "permit"),
        "policy1": ("tenant-changes-plan", 6, "permit"),
        "policy2": ("staff-does-all", 10, "permit"),
        "policy3": ("frozen-stays", 13, "forbid"),
    }


def test_they_are_parsed_once():
    assert parsed(POLICIES, SCHEMA) is parsed(POLICIES, SCHEMA)
    assert parsed(POLICIES + "\n", SCHEMA).digest != parsed(POLICIES, SCHEMA).digest


def test_eleven_policies_keep_their_order():
    text = "\n".join(f'@id("p{n}") permit (principal, action, resource);' for n in range(11))
    found = parsed(text, SCHEMA).by_number
    assert [(each.id, each.line) for each in found.values()] == [
        (f"p{n}", n + 1) for n in range(11)
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("resource.frozen", "resource.frozn"), "line 13, frozen-stays: attribute `frozn`"),
        (("when { resource.frozen }", "when { resource.frozen"), "the policy in line 13 cannot be read"),
        (("Plan::change", "Plan::chnage"), "line 6, tenant-changes-plan: .*Plan::chnage"),
        (("context.seats <= 100", "context.pin == resource.iban"), "line 6, tenant-changes-plan: .*optional"),
        (("staff-does-all", "tenant-reads"), "line 10: another policy is called tenant-reads .line 2"),
        (("principal in App::Group", "principal in ?principal; //"), "cannot be read|templates"),
        (('principal in App::Group::"staff"', "principal == ?principal"), "templates"),
    ],
)  # fmt: skip
def test_a_wrong_policy_stops_the_program(tmp_path, change, said):
    file = tmp_path / "policies.cedar"
    file.write_text(POLICIES.replace(*change))
    with pytest.raises(PolicyError, match=said) as raised:
        Access(policies=file, schema=SCHEMA)
    assert str(file) in str(raised.value)


def test_a_wrong_schema_and_a_missing_file_stop_it_too(tmp_path):
    with pytest.raises(PolicyError, match="the schema: "):
        read(POLICIES, "namespace App {")
    with pytest.raises(PolicyError, match=r"none\.cedar cannot be read"):
        read(tmp_path / "none.cedar", SCHEMA)
    with pytest.raises(UsageError, match="belong together"):
        Access(policies=POLICIES)


def test_without_cedarpy_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "cedarpy":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'troth\[access\]'"):
        parsed(POLICIES + "// another text", SCHEMA)


_PIECES = st.sampled_from(
    ["permit (principal, action, resource);", '@id("a;b // c") forbid (principal, action, resource);',
     'permit (principal, action, resource) when { "\\";" == ";" };']
)  # fmt: skip
_BETWEEN = st.sampled_from(["", "\n", ' // a; comment " \n', "\n\n"])


@given(st.lists(st.tuples(_BETWEEN, _PIECES)))
def test_policies_are_told_apart_wherever_semicolons_stand(written):
    text = "".join(between + piece for between, piece in written)
    found = list(split(text))
    assert [piece for _, piece in found] == [piece for _, piece in written]
    assert [
        text.split("\n")[line - 1].endswith(piece) or piece in text for line, piece in found
    ] == [True] * len(found)
