"""Pure rules of access: addresses, keys, scopes, origins, pauses, values for Cedar."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth.access import Limit, Ref, forgotten_cookie, rules, same_origin, session_cookie
from troth.base.errors import UsageError

OURS = "https://shop.example"


# Addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [" Ada@Example.com ", "ada@EXAMPLE.COM", "ａda@example.com"])
def test_one_address_is_one_person_however_it_is_written(written):
    assert rules.normal_email(written) == "ada@example.com"


@pytest.mark.parametrize(
    "text",
    ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\n", "a\0@b"[:2], "a" * 250 + "@b.cd", "a\0@b"],
)
def test_what_is_no_address_is_refused(text):
    if text == "a@b\n":
        assert rules.normal_email(text) == "a@b"  # the edges are trimmed
    else:
        with pytest.raises(UsageError, match="not an email address"):
            rules.normal_email(text)


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    try:
        once = rules.normal_email(text)
    except UsageError:
        return
    assert rules.normal_email(once) == once


# Keys and scopes ------------------------------------------------------------------------------------------------------


def test_secrets_are_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *a: compared.append(a) or real(*a))
    assert rules.same(b"one", b"one")
    assert not rules.same(b"one", b"two")
    assert compared == [(b"one", b"one"), (b"one", b"two")]


def test_a_key_is_read_as_it_was_written():
    prefix, secret = rules.new_key()
    assert rules.read_key(rules.written_key(prefix, secret)) == (prefix, secret)
    assert len(secret) == 52  # 256 bits, five a character


@given(st.text())
def test_any_text_is_a_key_or_is_none(text):
    read = rules.read_key(text)
    assert read is None or rules.written_key(*read) == text
    assert read is None or "\0" not in read[0]


@pytest.mark.parametrize(
    ("scopes", "action", "fits"),
    [
        (["Plan::change"], "Plan::change", True),
        (["Plan::change"], "Plan::changes", False),
        (["Plan::*"], "Plan::change", True),
        (["Plan::*"], "Planet::change", False),
        (["Plan::*"], "Plan", False),
        (["*"], "Plan::change", True),
        ([], "Plan::change", False),
    ],
)
def test_a_scope_covers(scopes, action, fits):
    assert rules.in_scope(rules.check_scopes(scopes), action) is fits


@pytest.mark.parametrize("scope", ["", "Plan*", "*::change", "Pl*n::change", "**"])
def test_what_is_no_scope_is_refused(scope):
    with pytest.raises(UsageError, match="not a scope"):
        rules.check_scopes([scope])


# Origins --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "trusted"),
    [
        ("GET", {}, True),
        ("head", {"Origin": "https://evil.example"}, True),
        ("POST", {}, False),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, True),
        ("POST", {"sec-fetch-site": "none"}, True),
        ("POST", {"Sec-Fetch-Site": "same-site"}, False),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, False),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Origin": OURS}, True),
        ("POST", {"Origin": OURS}, True),
        ("POST", {"ORIGIN": OURS + ".evil.example"}, False),
        ("POST", {"Origin": "http://shop.example"}, False),
        ("POST", {"Origin": "null"}, False),
        ("DELETE", {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
    ],
)
def test_a_request_with_a_cookie_comes_from_our_pages(method, headers, trusted):
    assert same_origin(method, headers, {OURS}) is trusted


def test_null_is_nobodys_origin_even_if_somebody_allows_it():
    assert not same_origin("POST", {"Origin": "null"}, {"null"})


@given(
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "x"]),
    st.text(),
    st.sampled_from(["same-site", "cross-site", "", "SAME-ORIGIN-NOT"]),
)
def test_no_foreign_origin_gets_through(method, origin, site):
    headers = {"Origin": origin, "Sec-Fetch-Site": site}
    assert same_origin(method, headers, {OURS}) is (origin.strip() == OURS)


def test_cookies_are_for_this_host_alone():
    cookie = session_cookie("t", 60)
    assert cookie == "__Host-session=t; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax"
    assert "Max-Age=0" in forgotten_cookie()
    assert "Domain" not in cookie


# Pauses ---------------------------------------------------------------------------------------------------------------


def test_pauses_double_up_to_the_cap():
    limit = Limit(3, first=timedelta(seconds=2), cap=timedelta(seconds=10))
    assert [rules.pause_s(limit, n) for n in range(7)] == [0, 0, 0, 2, 4, 8, 10]


@given(st.integers(1, 50), st.floats(0, 1e6), st.floats(0, 100))
def test_more_failures_never_mean_a_shorter_pause(free, failures, more):
    limit = Limit(free)
    assert 0 <= rules.pause_s(limit, failures) <= rules.pause_s(limit, failures + more)
    assert rules.pause_s(limit, failures + more) <= limit.cap.total_seconds()


# Values for Cedar -----------------------------------------------------------------------------------------------------


def test_values_become_cedars():
    at = datetime(2026, 11, 24, 9, 30, tzinfo=timezone(timedelta(hours=1)))
    made = rules.cedar_record(
        {"a": 1, "b": None, "c": Ref("Tenant", "t"), "d": Decimal("1.5"), "e": at, "f": ("x", True), "g": {"h": "i"}},
        "context",
        "App",
    )  # fmt: skip
    assert made == {
        "a": 1, "c": {"__entity": {"type": "App::Tenant", "id": "t"}},
        "d": {"__extn": {"fn": "decimal", "arg": "1.5000"}},
        "e": {"__extn": {"fn": "datetime", "arg": "2026-11-24T08:30:00.000Z"}}, "f": ["x", True], "g": {"h": "i"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "value", [1.5, {"a": {"__entity": {"type": "App::Group", "id": "staff"}}}, object(), Decimal("1.23456"), Decimal("NaN"),
              datetime(2026, 1, 1)]  # noqa: DTZ001
)  # fmt: skip
def test_what_cedar_does_not_have_is_refused(value):
    with pytest.raises(UsageError, match=r"context\.x"):
        rules.cedar_record({"x": value}, "context")


def test_the_present_is_in_utc():
    now = datetime.now(UTC)
    assert rules.cedar_value(now, "now")["__extn"]["arg"].endswith("Z")
