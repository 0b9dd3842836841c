"""What only Django has: its ORM in the request's transaction, with and without a transaction of Django's own around views."""

from __future__ import annotations

import pytest

KEY = "k-1"


@pytest.fixture
def framework() -> str:
    return "django"


@pytest.fixture(params=[False, True], ids=["plain", "ATOMIC_REQUESTS"])
def atomic(site, request, monkeypatch) -> bool:
    from django.db import connections

    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", request.param)
    return bool(request.param)


async def test_what_the_orm_writes_commits_with_the_answer(site, atomic):
    first = await site.post("/orm", {"name": "ada", "do": "ok"}, KEY)
    again = await site.post("/orm", {"name": "ada", "do": "ok"}, KEY)
    assert (first.status, again.status, again.replayed) == (201, 201, True)
    assert site.things == ["ada"]


async def test_a_view_that_fails_leaves_nothing(site, atomic):
    failed = await site.post("/orm", {"name": "ada", "do": "crash"}, KEY)
    assert failed.status == 500
    assert site.things == site.keys == []
    assert (await site.post("/orm", {"name": "ada", "do": "ok"}, KEY)).status == 201


async def test_a_refusal_undoes_what_the_orm_wrote(site, atomic):
    for replayed in (False, True):
        refused = await site.post("/orm", {"name": "ada", "do": "refuse"}, KEY)
        assert (refused.status, refused.replayed) == (403, replayed)
    assert site.things == []


async def test_a_refusal_may_keep_what_the_orm_wrote(site, atomic):
    for replayed in (False, True):
        refused = await site.post("/orm", {"name": "ada", "do": "keep"}, KEY)
        assert (refused.status, refused.replayed) == (403, replayed)
    assert site.things == ["ada"]


async def test_an_error_of_the_orm_in_a_block_of_its_own_can_be_answered(site, atomic):
    await site.post("/orm", {"name": "ada", "do": "ok"}, "k-0")
    for replayed in (False, True):
        refused = await site.post("/orm", {"name": "ada", "do": "ok"}, KEY)
        assert (refused.status, refused.replayed) == (409, replayed)
    assert site.things == ["ada"]


async def test_an_error_of_the_orm_that_was_swallowed_is_not_a_success(site, atomic):
    failed = await site.post("/orm", {"name": "ada", "do": "swallow"}, KEY)
    assert failed.status == 500
    assert site.things == site.keys == []


async def test_a_transaction_that_django_has_given_up_is_not_a_success(site):
    """A block without a savepoint failed: what is left in the transaction is half of the work."""
    failed = await site.post("/orm", {"name": "ada", "do": "give up"}, KEY)
    assert failed.status == 500
    assert site.things == site.keys == []


async def test_an_exception_that_the_project_answers_is_an_answer(site, atomic):
    await site.post("/keyed", {"name": "ada"}, "k-0")
    for replayed in (False, True):
        refused = await site.post("/keyed", {"name": "bob"}, KEY)
        assert (refused.status, refused.replayed) == (422, replayed)
    assert site.things == ["ada"]
