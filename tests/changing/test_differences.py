"""What a parked run tells of its difference: the lines around it, with the arguments that differ."""

from __future__ import annotations

from typing import Any

from tests.changing.test_patch import Shop
from tests.workflow.place import QUICK, Place
from troth import Call, Troth
from troth.workflow.differences import shown


async def parked(place: Place, troth: Troth, before: Any, after: Any) -> list[str]:
    """The difference that is stored with a run that waited under the older code."""
    shop = Shop(troth, before)

    @troth.effect(delivery="at_least_once", timeout=1)
    async def charge(call: Call, order: str, cents: int, note: str = "") -> str:
        return order

    shop.charge = charge  # type: ignore[attr-defined]
    async with troth.worker(QUICK):
        run = await troth.start(shop.work)
        await place.until_state(run, "waiting")
    shop.code = after
    async with troth.worker(QUICK):
        await troth.send(run, "go")
        reason, detail = await place.attention(run)
    assert reason == "code_changed", detail
    return shown(detail["diff"], values=True)


async def old(shop: Any) -> list[str]:
    told = [await shop.step("a"), await shop.charge("o1", 500), await shop.step("b")]
    await shop.troth.receive("go")
    return told


async def test_another_step_is_told_with_what_came_before_and_what_comes_after(
    place: Place, troth: Troth
) -> None:
    async def new(shop: Any) -> list[str]:
        told = [await shop.step("a"), await shop.commit("x")]
        await shop.troth.receive("go")
        return told

    assert await parked(place, troth, old, new) == [
        "  step",
        "- charge",
        "+ commit",
        "  … then the journal has step#2, receive.go",
    ]


async def test_of_an_effect_the_arguments_that_differ_are_told(place: Place, troth: Troth) -> None:
    async def new(shop: Any) -> list[str]:
        return [await shop.step("a"), await shop.charge("o1", 700)]

    assert await parked(place, troth, old, new) == [
        "  step",
        "- charge(cents=500)",
        "+ charge(cents=700)",
    ]


async def test_of_a_step_only_a_digest_is_known_and_that_is_said(
    place: Place, troth: Troth
) -> None:
    async def new(shop: Any) -> list[str]:
        return [await shop.step("A")]

    assert await parked(place, troth, old, new) == [
        "- step   # other arguments; only their digest is recorded",
        '+ step(name="A")',
    ]


async def test_an_end_that_comes_too_early_is_told(place: Place, troth: Troth) -> None:
    async def new(shop: Any) -> list[str]:
        raise ValueError("too early")

    lines = await parked(place, troth, old, new)
    assert lines[:2] == ["- step", "+ (the workflow raised ValueError: too early)"]


def test_without_values_names_remain() -> None:
    assert shown([("-", "charge", {"cents": 5}, None), ("+", "sleep", {"": 3}, None)], values=False) == [
        "- charge(cents=…)",
        "+ sleep: …",
    ]  # fmt: skip
