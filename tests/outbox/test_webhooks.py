"""Webhooks over real sockets: signatures, answers, redirects, private addresses, endpoints disabled and enabled."""

from __future__ import annotations

import asyncio
import random
import ssl
import subprocess
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks

from tests.outbox.receiver import Answer, Receiver
from troth import UsageError
from troth.integrations.webhooks_out import Answer as Told
from troth.integrations.webhooks_out import (
    Webhooks,
    allowed_addresses,
    not_public,
    outcome_of,
    retry_after_s,
)
from troth.outbox import EndpointNotFoundError, Unsettled

SOON = (0.0, *[0.02] * 30)


def webhooks(**options) -> Webhooks:
    return Webhooks(allow_http=True, **{"schedule": SOON, **options})


async def names_of(_host, _port):
    return ["127.0.0.1"]


# Signatures -----------------------------------------------------------------------------------------------------------


async def test_attempts_are_signed_with_every_valid_secret_and_keep_their_id(desk):
    failing = iter([500, 503, 200])
    events = desk.outbox(webhooks())
    async with Receiver(lambda _: Answer(next(failing))) as receiver, desk.working(events):
        endpoint, old = await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        new = await events.endpoints.rotate(desk.tx, endpoint)
        message = await events.publish(desk.tx, "a", {"näme": "Ada"}, headers={"x-shop": "7"})
        await desk.until_states(delivered=1)
    assert [each.id for each in receiver.requests] == [str(message)] * 3
    assert len({each.body for each in receiver.requests}) == 1
    for secret in (old, new):
        verified = standardwebhooks.Webhook(secret).verify(
            receiver.requests[0].body, receiver.requests[0].headers
        )
        assert verified["type"] == "a"
        assert verified["data"] == {"näme": "Ada"}
        assert datetime.fromisoformat(verified["timestamp"]).tzinfo
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_" + "A" * 32).verify(
            receiver.requests[0].body, receiver.requests[0].headers
        )
    first = receiver.requests[0].headers
    assert first["x-shop"] == "7"
    assert first["content-type"] == "application/json"
    assert await desk.attempts() == ["500", "503", "200"]


async def test_an_old_secret_signs_no_longer_than_was_said(desk):
    events = desk.outbox(webhooks())
    async with Receiver() as receiver, desk.working(events):
        endpoint, old = await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        await events.endpoints.rotate(desk.tx, endpoint, keep=timedelta(0))
        await events.publish(desk.tx, "a", 1)
        await desk.until_states(delivered=1)
    (request,) = receiver.requests
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(old).verify(request.body, request.headers)


async def test_a_weak_secret_is_refused(desk):
    add = desk.outbox(webhooks()).endpoints.add
    for secret in ("x", "whsec_", "whsec_AAAA", "whsec_" + "A" * 400, "whsec_é"):
        with pytest.raises(UsageError, match="secret"):
            await add(desk.tx, "https://a.example", secret=secret)


# Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 429, 500, 503])
def test_anything_but_a_2xx_is_tried_again(status):
    assert isinstance(outcome_of(Told(status, {}, b"")), Unsettled)


def test_retry_after_is_read_as_seconds_or_a_date():
    now = datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert retry_after_s("120", now) == 120
    assert retry_after_s("Tue, 24 Nov 2026 08:05:00 GMT", now) == 300
    assert retry_after_s("Tue, 24 Nov 2026 07:05:00 GMT", now) == 0
    assert retry_after_s("soon", now) is None
    assert retry_after_s("-5", now) is None
    assert outcome_of(Told(503, {"retry-after": "7"}, b"")).retry_after_s == 7


async def test_redirects_are_not_followed_and_long_answers_not_read(desk):
    events = desk.outbox(webhooks(schedule=(0.0,)))
    async with Receiver() as elsewhere, Receiver() as receiver, desk.working(events):
        answer = Answer(302, {"location": elsewhere.url}, b"y" * 5_000_000)
        receiver.script = lambda _: answer
        await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        await events.publish(desk.tx, "a", 1)
        await desk.until_states(dead=1)
    assert elsewhere.requests == []
    assert await desk.rows("SELECT outcome, length(answer) FROM {}.outbox_attempt") == [
        ("302", 1024)
    ]


async def test_proxies_of_the_environment_are_not_asked(desk, monkeypatch):
    async with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        events = desk.outbox(webhooks())
        async with desk.working(events):
            await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
            await events.publish(desk.tx, "a", 1)
            await desk.until_states(delivered=1)
    assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


# Addresses ------------------------------------------------------------------------------------------------------------

FORBIDDEN = """
0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1
192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1
100::1 2001:db8::1 2002:7f00:1:: 2002:a00:1:: 2001:0:7f00:1::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
""".split()  # noqa: SIM905
ALLOWED = """
1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 2606:4700:4700::1111 2a00:1450:4001:830::200e 64:ff9b::808:808 ::ffff:8.8.8.8
""".split()  # noqa: SIM905


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_that_are_not_public(address):
    assert not_public(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_addresses_that_are_public(address):
    assert not_public(address) is None


async def test_one_private_address_among_public_ones_is_enough_to_refuse():
    async def both(_host, _port):
        return ["8.8.8.8", "10.0.0.1"]

    from troth.integrations.webhooks_out import AddressNotAllowedError

    with pytest.raises(AddressNotAllowedError, match=r"10\.0\.0\.1, which is private"):
        await allowed_addresses(both, "x", 443, allow_private=False)


async def test_a_name_that_leads_to_this_machine_is_never_called(desk):
    events = desk.outbox(webhooks(schedule=(0.0,), resolver=names_of))
    async with Receiver() as receiver, desk.working(events):
        url = f"http://innocent.example:{receiver.port}/"
        await events.endpoints.add(desk.tx, url)
        await events.publish(desk.tx, "a", 1)
        await desk.until_states(dead=1)
    assert receiver.requests == []
    (said,) = await desk.attempts()
    assert "127.0.0.1, which is loopback" in said


async def test_the_address_that_was_checked_is_the_one_that_is_called(desk, monkeypatch):
    """DNS rebinding: the name answers once; whoever asked again would be led astray."""
    asked = []

    async def once(host, _port):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.9"]

    events = desk.outbox(webhooks(resolver=once))
    async with Receiver() as receiver, desk.working(events):
        url = f"http://shop.example:{receiver.port}/hook?x=1"
        await events.endpoints.add(desk.tx, url, allow_private=True)
        await events.publish(desk.tx, "a", 1)
        await desk.until_states(delivered=1)
    assert asked == ["shop.example"]
    assert receiver.requests[0].headers["host"] == f"shop.example:{receiver.port}"
    assert receiver.requests[0].path == "/hook?x=1"


async def test_tls_is_verified_against_the_name(desk, tmp_path):
    def certificate(name: str) -> tuple[str, str]:
        key, cert = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}", "-addext",
             f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(cert)],
            check=True, capture_output=True,
        )  # fmt: skip
        return str(cert), str(key)

    mine = certificate("shop.example")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*mine)
    asked_for: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=mine[0])
    events = desk.outbox(Webhooks(tls=trusting, resolver=names_of, schedule=(0.0,)))
    receiver = Receiver()
    receiver.tls = served
    async with receiver, desk.working(events):
        for name in ("shop.example", "other.example"):
            url = f"https://{name}:{receiver.port}/"
            await events.endpoints.add(desk.tx, url, types=[name], allow_private=True)
            await events.publish(desk.tx, name, 1)
        await desk.until_states(delivered=1, dead=1)
    assert set(asked_for) == {"shop.example", "other.example"}
    assert [each.headers["host"] for each in receiver.requests] == [f"shop.example:{receiver.port}"]
    assert "certificate" in (await desk.attempts())[1]


@pytest.mark.parametrize(
    "url",
    ["http://a.example", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example/#x", "https://a b.example",
     "https://a.example/\n", "https://[::1", "https://127.0.0.1/", "https://[::1]/", "https://é.example", "a.example"],
)  # fmt: skip
def test_urls_that_cannot_be_endpoints(url):
    with pytest.raises(UsageError):
        Webhooks().check_url(url, allow_private=False)


# Health ---------------------------------------------------------------------------------------------------------------


async def test_gone_disables_and_enabling_sends_what_has_waited_in_order(desk):
    answers = iter([410])
    events = desk.outbox(webhooks())
    async with (
        Receiver(lambda _: Answer(next(answers, 200))) as receiver,
        desk.working(events) as running,
    ):
        endpoint, _ = await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        other, _ = await events.endpoints.add(
            desk.tx, receiver.url + "/other", types=["after"], allow_private=True
        )
        for number in range(3):
            await events.publish(desk.tx, "a", number, key="k")

        async def gone() -> bool:
            (line,) = [e for e in await events.endpoints.list(desk.tx) if e.id == endpoint]
            return line.disabled_because == "it answered 410 Gone"

        from tests.harness.cell import until

        await until(gone, "the endpoint is disabled")
        await events.publish(desk.tx, "after", 9, key="k")
        running[0].missed()
        await desk.until_states(delivered=1, pending=4)  # the other endpoint has got its own
        assert len(receiver.requests) == 2
        await events.endpoints.enable(desk.tx, endpoint, by="ada", note="they are back")
        running[0].missed()
        await desk.until_states(delivered=5)
    mine = [each.data for each in receiver.requests if each.path == "/hook"]
    assert mine == [0, 0, 1, 2, 9]
    assert await desk.rows("SELECT act, about, by, note, via FROM {}.operator_act") == [
        ("outbox.endpoint.enable", str(endpoint), "ada", "they are back", "program")
    ]
    assert other


async def test_enabling_gives_what_has_waited_all_its_tries_at_once(desk):
    events = desk.outbox(webhooks())
    endpoint, _ = await events.endpoints.add(desk.tx, "https://a.example")
    await events.publish(desk.tx, "a", 1, key="k")
    await events.publish(desk.tx, "a", 2, key="k")
    await desk.rows("UPDATE {}.outbox_delivery SET tries = 9, next_at = now() + interval '1 d'")
    await desk.rows("UPDATE {}.outbox_endpoint SET failing_since = now() - interval '4 d'")
    await events.endpoints.disable(desk.tx, endpoint, by="ada")
    await events.endpoints.enable(desk.tx, endpoint, by="ada")
    waits = await desk.rows("SELECT tries, next_at <= now() FROM {}.outbox_delivery")
    assert waits == [(0, True), (0, True)]
    # Nor is it disabled again by the next failure, because of what was before.
    assert (await events.endpoints.list(desk.tx))[0].failing_since is None


async def test_an_endpoint_that_has_failed_for_days_is_disabled_and_nothing_is_lost(desk):
    events = desk.outbox(webhooks(give_up_after=timedelta(days=5), schedule=(0.0, *[0.05] * 100)))
    async with Receiver(lambda _: Answer(500)) as receiver, desk.working(events):
        endpoint, _ = await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        await events.publish(desk.tx, "a", 1)

        from tests.harness.cell import until

        async def failing() -> bool:
            return bool((await events.endpoints.list(desk.tx))[0].failing_since)

        await until(failing, "the failure is noted")
        assert (await events.endpoints.list(desk.tx))[0].disabled_at is None
        await desk.rows("UPDATE {}.outbox_endpoint SET failing_since = now() - interval '5 d 1 s'")

        async def disabled() -> bool:
            return bool((await events.endpoints.list(desk.tx))[0].disabled_at)

        await until(disabled, "the endpoint is disabled")
    assert await desk.states() == {"pending": 1}
    assert endpoint


async def test_one_success_forgets_the_failures_and_removal_drops_what_waits(desk):
    events = desk.outbox(webhooks())
    answers = iter([500, 200])
    async with Receiver(lambda _: Answer(next(answers))) as receiver, desk.working(events):
        endpoint, _ = await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        await events.publish(desk.tx, "a", 1)
        await desk.until_states(delivered=1)
        assert (await events.endpoints.list(desk.tx))[0].failing_since is None
        await events.endpoints.disable(desk.tx, endpoint, by="ada")
        await events.publish(desk.tx, "a", 2)
        await events.endpoints.remove(desk.tx, endpoint, by="ada")
    assert await desk.states() == {"delivered": 1, "dropped": 1}
    assert await events.endpoints.list(desk.tx) == []
    with pytest.raises(EndpointNotFoundError):
        await events.endpoints.enable(desk.tx, endpoint, by="ada")


async def test_a_slow_endpoint_does_not_hold_up_another(desk):
    gate = asyncio.Event()

    async def slow(_request):
        await gate.wait()
        return Answer()

    events = desk.outbox(webhooks(concurrency=2))
    async with Receiver(slow) as stuck, Receiver() as fine, desk.working(events):
        await events.endpoints.add(desk.tx, stuck.url, allow_private=True)
        await events.endpoints.add(desk.tx, fine.url, allow_private=True)
        for number in range(20):
            await events.publish(desk.tx, "a", number)
        await desk.until_states(delivered=20, pending=20)
        assert (len(stuck.requests), len(fine.requests)) == (2, 20)
        gate.set()
        await desk.until_states(delivered=40)


async def test_500_messages_of_50_keys_by_two_relays_to_a_flaky_server(desk):
    """In order per key, and none lost: a third of all answers is an error, a lost answer or a reset."""
    chance = random.Random(5)
    accepted = defaultdict(list)

    async def flaky(request):
        fate = chance.random()
        if fate < 0.15:
            return Answer(500)
        accepted[request.data["key"]].append(request.data["n"])
        if fate < 0.25:
            raise ConnectionError  # it took the message, and closes before it has answered
        return Answer()

    events = desk.outbox(webhooks(concurrency=8))
    async with Receiver(flaky) as receiver:
        await events.endpoints.add(desk.tx, receiver.url, allow_private=True)
        async with desk.tx.transaction():
            for number in range(500):
                key = f"k{number % 50}"
                await events.publish(desk.tx, "a", {"key": key, "n": number}, key=key)
        async with desk.working(events, processes=2):
            await desk.until_states(delivered=500)
    assert len(accepted) == 50
    for numbers in accepted.values():
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers))  # repeated, never passed
        assert len(set(numbers)) == 10
    assert len(receiver.requests) > 500
