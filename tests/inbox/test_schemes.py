"""Signatures, against vectors that the official libraries make."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inbox.site import stripe_event
from troth.base.errors import UsageError
from troth.inbox import (
    MalformedEventError,
    MalformedSignatureError,
    RefusedDeliveryError,
    SignatureMismatchError,
    StaleSignatureError,
    StandardWebhooks,
    StripeSignatures,
)
from troth.inbox import schemes as module

NOW = 1_700_000_000
BODY = json.dumps(stripe_event(1)).encode()
OLD, NEW = "whsec_old", "whsec_new"
STANDARD_OLD = "whsec_" + base64.b64encode(b"old" * 10).decode()
STANDARD_NEW = "whsec_" + base64.b64encode(b"new" * 10).decode()


def stripe_header(body: bytes = BODY, secret: str = NEW, at: int = NOW) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)
    return {"stripe-signature": header}


def standard_headers(
    body: bytes = BODY, secret: str = STANDARD_NEW, at: datetime | None = None
) -> dict[str, str]:
    at = at or datetime.now(UTC)
    signature = standardwebhooks.Webhook(secret).sign("msg_1", at, body.decode())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def test_stripe_signs_and_rotates() -> None:
    scheme = StripeSignatures([NEW, OLD])
    new = scheme.verify(stripe_header(), BODY, NOW)
    old = scheme.verify(stripe_header(secret=OLD), BODY, NOW)
    assert new.secret != old.secret
    assert NEW not in new.secret
    both = (
        stripe_header(secret="whsec_other")["stripe-signature"]
        + ","
        + stripe_header(secret=OLD)["stripe-signature"].split(",")[1]
    )
    assert scheme.verify({"stripe-signature": both}, BODY, NOW) == old
    with pytest.raises(SignatureMismatchError):
        StripeSignatures([NEW]).verify(stripe_header(secret=OLD), BODY, NOW)


@pytest.mark.parametrize("late", [-301, 301])
def test_stripe_refuses_what_was_signed_too_far_from_now(late: int) -> None:
    scheme = StripeSignatures([NEW])
    scheme.verify(stripe_header(), BODY, NOW + late - late // abs(late))
    with pytest.raises(StaleSignatureError):
        scheme.verify(stripe_header(), BODY, NOW + late)


@pytest.mark.parametrize(
    "header", ["", "t=1", "v1=ab", "t=,v1=a", "t=1e3,v1=a", "t=-1,v1=a", "t=1,t=2,v1=a", "t=\u0663,v1=a", "t=1,v0=a", "x" * 10000,
               "t=1," + ",".join(["v1=a"] * 100), "t=999999999999999999999,v1=a"],
)  # fmt: skip
def test_stripe_headers_that_cannot_be_read(header: str) -> None:
    with pytest.raises(MalformedSignatureError):
        StripeSignatures([NEW]).verify({"stripe-signature": header}, BODY, NOW)


def test_a_changed_byte_does_not_pass() -> None:
    scheme = StripeSignatures([NEW])
    changed = BODY.replace(b"evt_1", b"evt_2")
    with pytest.raises(SignatureMismatchError):
        scheme.verify(stripe_header(), changed, NOW)
    with pytest.raises(SignatureMismatchError):
        scheme.verify({"stripe-signature": f"t={NOW},v1=\u00e9"}, BODY, NOW)
    with pytest.raises(SignatureMismatchError):
        scheme.verify(
            {
                "stripe-signature": stripe_header()["stripe-signature"].replace(
                    str(NOW), str(NOW + 1)
                )
            },
            BODY,
            NOW,
        )


def test_signatures_are_compared_in_constant_time(monkeypatch) -> None:
    compared = []
    right = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return right(a, b)

    monkeypatch.setattr(module.hmac, "compare_digest", spy)
    StripeSignatures([NEW]).verify(stripe_header(), BODY, NOW)
    assert len(compared) == 1
    # Both come first: a comparison that ended early would not look at the second.
    header = stripe_header()["stripe-signature"]
    compared.clear()
    StripeSignatures([NEW]).verify({"stripe-signature": f"{header},v1={'0' * 64}"}, BODY, NOW)
    assert len(compared) == 2


def test_stripe_says_what_an_event_is() -> None:
    content = StripeSignatures([NEW]).read(BODY, None)
    assert (content.id, content.type, content.object_key) == ("evt_1", "thing.changed", "one")
    assert content.created == datetime.fromtimestamp(1_700_000_001, UTC)
    again = json.dumps(stripe_event(1, pending_webhooks=3), indent=1).encode()
    assert StripeSignatures([NEW]).read(again, None).digest == content.digest
    other = json.dumps(stripe_event(1, about="two")).encode()
    assert StripeSignatures([NEW]).read(other, None).digest != content.digest
    thin = {
        "id": "evt_9",
        "type": "v2.x",
        "created": "2026-01-02T03:04:05.678Z",
        "related_object": {"id": "acct_1"},
    }
    content = StripeSignatures([NEW]).read(json.dumps(thin).encode(), None)
    assert (content.object_key, content.created) == (
        "acct_1",
        datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
    )


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"{}", b'{"id":1,"type":"a"}', b'{"id":"a\\u0000","type":"a"}',
             b'{"id":"a","type":["a"]}', b'{"id":"\\ud800","type":"a"}', b"[" * 100_000, b'{"id":"' + b"x" * 300 + b'","type":"a"}'],
)  # fmt: skip
def test_signed_bodies_that_are_no_events(body: bytes) -> None:
    with pytest.raises(MalformedEventError):
        StripeSignatures([NEW]).read(body, None)


@given(st.binary(max_size=200), st.text(max_size=100))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_by_name(body: bytes, text: str) -> None:
    for scheme in (StripeSignatures([NEW]), StandardWebhooks([STANDARD_NEW])):
        headers = {
            "stripe-signature": f"t={NOW},v1={text}",
            "webhook-id": text,
            "webhook-signature": f"v1,{text}",
        }
        with pytest.raises(RefusedDeliveryError):
            scheme.verify(headers | {"webhook-timestamp": str(NOW)}, body, NOW)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
@settings(max_examples=30, deadline=None)
def test_any_json_is_an_event_or_refused_by_name(value: object) -> None:
    event = {"id": "a", "type": "b", "created": value, "data": value}
    content = StripeSignatures([NEW]).read(
        json.dumps(event)
        .replace("NaN", "0")
        .replace("-Infinity", "0")
        .replace("Infinity", "0")
        .encode(),
        None,
    )
    assert content.id == "a"


def test_standard_webhooks_sign_and_rotate() -> None:
    scheme = StandardWebhooks([STANDARD_NEW, STANDARD_OLD])
    now = datetime.now(UTC).timestamp()
    new = scheme.verify(standard_headers(), BODY, now)
    old = scheme.verify(standard_headers(secret=STANDARD_OLD), BODY, now)
    assert (new.event_id, old.event_id) == ("msg_1", "msg_1")
    assert new.secret != old.secret
    several = standard_headers()
    several["webhook-signature"] = f"v1a,abc v1,!!! v2,abc {several['webhook-signature']}"
    assert scheme.verify(several, BODY, now) == new
    with pytest.raises(SignatureMismatchError):
        scheme.verify(standard_headers(), BODY + b" ", now)
    with pytest.raises(SignatureMismatchError):
        scheme.verify(standard_headers() | {"webhook-id": "msg_2"}, BODY, now)


@pytest.mark.parametrize("late", [-1, 1])
def test_standard_webhooks_have_a_tolerance_both_ways(late: int) -> None:
    now = datetime.now(UTC)
    far, near = now + late * timedelta(seconds=65), now + late * timedelta(seconds=55)
    scheme = StandardWebhooks([STANDARD_NEW], tolerance=timedelta(minutes=1))
    scheme.verify(standard_headers(at=near), BODY, now.timestamp())
    with pytest.raises(StaleSignatureError):
        scheme.verify(standard_headers(at=far), BODY, now.timestamp())


@pytest.mark.parametrize(
    "changed", [{"webhook-id": ""}, {"webhook-timestamp": "nan"}, {"webhook-timestamp": "1.5"}, {"webhook-signature": "v2,abc"},
                {"webhook-signature": "v1"}, {"webhook-id": "a\0b"}],
)  # fmt: skip
def test_standard_headers_that_cannot_be_read(changed: dict[str, str]) -> None:
    headers = standard_headers() | changed
    with pytest.raises((MalformedSignatureError, MalformedEventError)):
        StandardWebhooks([STANDARD_NEW]).verify(headers, BODY, datetime.now(UTC).timestamp())


def test_standard_webhooks_say_what_an_event_is() -> None:
    body = json.dumps(
        {"type": "user.made", "timestamp": "2026-01-02T03:04:05Z", "data": {"id": "u1"}}
    ).encode()
    content = StandardWebhooks([STANDARD_NEW]).read(body, "msg_7")
    assert (content.id, content.type, content.object_key) == ("msg_7", "user.made", "u1")
    assert content.created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_secrets_that_protect_nothing() -> None:
    for secrets in ([], [""], "whsec_one"):
        with pytest.raises(UsageError):
            StripeSignatures(secrets)
        with pytest.raises(UsageError):
            StandardWebhooks(secrets)
    with pytest.raises(UsageError, match="base64"):
        StandardWebhooks(["whsec_!"])
    with pytest.raises(UsageError, match="5 minutes"):
        StandardWebhooks([STANDARD_NEW], tolerance=timedelta(minutes=6))
