"""What makes two requests the same, and what a key may look like."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth.command import request_rules as rules
from troth.command.request_model import Fate, RequestRefusedError, Sent

SALT = b"salt"
JSON = Sent("ada", "POST", "/a", "/a", "", "application/json", b"", "k")

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255)
value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def with_body(body: object, kind: str = "application/json") -> Sent:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return replace(JSON, body=data, content_type=kind)


def differ(a: Sent, b: Sent) -> list[str]:
    return rules.differences(rules.parts_of(a, SALT), rules.parts_of(b, SALT))


@given(printable)
def test_every_printable_key_can_be_quoted(key):
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert rules.parse_key([quoted], required=True) == key


@given(st.lists(st.text(max_size=300), max_size=3), st.booleans())
def test_a_header_is_a_key_or_refused(values, required):
    try:
        key = rules.parse_key(values, required=required)
    except RequestRefusedError as refused:
        assert refused.status == 400  # noqa: PT017  (either is fine)
    else:
        assert (key is None) == (not values)
        assert key is None or (0 < len(key) <= 255 and key.isascii() and key.isprintable())


def shuffled(data):
    if isinstance(data, dict):
        return {name: shuffled(data[name]) for name in reversed(data)}
    return [shuffled(each) for each in data] if isinstance(data, list) else data


@given(value)
def test_order_and_space_do_not_matter(data):
    again = json.dumps(shuffled(data), indent=2).encode()
    assert differ(with_body(data), with_body(again)) == []


def canonical(data):
    return json.dumps(data, sort_keys=True)


@given(value, value)
def test_different_json_is_different(a, b):
    assert (differ(with_body(a), with_body(b)) == []) == (canonical(a) == canonical(b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b'{"a.b": 1}', b'{"a": {"b": 1}}'),
        (b'{"a": [1]}', b'{"a[0]": 1}'),
        (b'{"a": {}}', b'{"a": []}'),
        (b'{"a": "1"}', b'{"a": 1}'),
        (b'{"a": null}', b"{}"),
        (b'{"a": 0.1}', b'{"a": 0.10000000000000000001}'),
        (b"[1, 2]", b"[2, 1]"),
    ],
)
def test_look_alikes(a, b):
    assert differ(with_body(a), with_body(b))


def test_a_large_body_is_described_less_finely_and_compared_as_strictly():
    wide = {"items": [{"n": n} for n in range(1000)], "name": "ada"}
    other = {**wide, "items": [*wide["items"][:-1], {"n": -1}]}
    assert differ(with_body(wide), with_body(wide)) == []
    assert differ(with_body(wide), with_body(other)) == ["body.items"]
    many = {f"field {n}": n for n in range(1000)}
    assert differ(with_body(many), with_body({**many, "field 7": 0})) == ["body"]
    assert len(rules.parts_of(with_body(many), SALT)) <= rules.MOST_PARTS
    query = "&".join(f"q{n}={n}" for n in range(1000))
    assert len(rules.parts_of(replace(JSON, query=query), SALT)) <= rules.MOST_PARTS


WIDE = "&".join(f"q{n}=1" for n in range(300))


# A body that is taken apart and one that is too large for it, and queries alike.
@pytest.mark.parametrize("names", [1, 1000])
@pytest.mark.parametrize(("query", "named_query"), [("a=1", "query.page"), (WIDE, "query")])
def test_everything_of_a_request_is_compared(names, query, named_query):
    first = replace(with_body({f"n{n}": n for n in range(names)}), query=query)
    assert len(rules.parts_of(first, SALT)) <= rules.MOST_PARTS
    for change, named in [
        ({"path": "/b"}, "path"),
        ({"query": f"{query}&page=2"}, named_query),
        ({"method": "PUT"}, "method"),
        ({"content_type": "application/merge-patch+json"}, "content-type"),
    ]:
        assert differ(first, replace(first, **change)) == [named]


def test_digests_do_not_show_which_values_are_equal():
    parts = rules.parts_of(with_body({"a": "same", "b": "same"}), SALT)
    assert parts["body.a"] != parts["body.b"]


def test_what_a_key_belongs_to_does_not_run_together():
    owners = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")]
    found = {rules.identity("api", replace(JSON, route=route, key=key)) for route, key in owners}
    found |= {rules.identity(name, replace(JSON, caller=who)) for name, who in owners}
    assert len(found) == 2 * len(owners)


def test_forms_are_compared_by_field_and_uploads_without_their_boundary():
    form = "application/x-www-form-urlencoded"
    assert differ(with_body(b"a=1&b=2", form), with_body(b"b=2&a=1", form)) == []
    assert differ(with_body(b"a=1&a=2", form), with_body(b"a=2&a=1", form)) == ["body.a"]
    upload = b"--%b\r\nContent-Disposition: form-data; name=f\r\n\r\n%b\r\n--%b--\r\n"
    kind = "multipart/form-data"
    one, two = (
        with_body(upload % (b"X", b"1", b"X"), kind),
        with_body(upload % (b"Y", b"1", b"Y"), kind),
    )
    assert differ(one, two) == []
    assert differ(one, with_body(upload % (b"Y", b"2", b"Y"), kind)) == ["body"]


def test_digests_are_salted():
    sent = with_body({"name": "ada"})
    first, second = rules.parts_of(sent, b"1"), rules.parts_of(sent, b"2")
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize(
    ("status", "touched", "keep", "fate"),
    [
        (200, False, False, Fate.KEEP),
        (303, True, False, Fate.KEEP),
        (404, True, False, Fate.REFUSAL),
        (422, False, False, Fate.FORGET),
        (403, True, True, Fate.KEEP),
        (401, True, True, Fate.FORGET),
        (429, True, False, Fate.FORGET),
        (500, True, True, Fate.FORGET),
    ],
)
def test_what_becomes_of_an_answer(status, touched, keep, fate):
    assert rules.fate_of(status, touched=touched, keep=keep) is fate


@pytest.mark.parametrize("status", [401, 408, 425, 429, 500, 503, 599])
def test_what_a_retry_must_ask_anew_is_not_kept(status):
    assert rules.fate_of(status, touched=True, keep=True) is Fate.FORGET


def test_headers_of_the_connection_and_secrets_are_not_kept():
    passing = ["Connection", "Keep-Alive", "Proxy-Authenticate", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
               "Date", "Server", "Set-Cookie", "Idempotent-Replayed"]  # fmt: skip
    kept = (("content-type", "text/plain"), ("location", "/a"), ("etag", '"1"'))
    assert rules.kept_headers((*((name, "x") for name in passing), *kept)) == kept
