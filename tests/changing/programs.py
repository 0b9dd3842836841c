"""A shop whose checkout has changed: the first version, the second with a patch, and the second without."""

from __future__ import annotations

from troth import Call, Refused, Troth


def build(code: str) -> Troth:
    """The program at one of `v1`, `patched`, `unpatched`, `other_result`."""
    troth = Troth()

    @troth.step
    async def price(order: int) -> int:
        return order * 100

    @troth.effect(delivery="at_most_once", timeout=5, stands=True)
    async def charge(call: Call, order: int, cents: int) -> str:
        if order % 10 == 9:
            raise Refused("no money")
        return f"ch_{order}"

    @troth.step
    async def reserve(order: int) -> str:
        return f"rs_{order}"

    @troth.step
    async def ship(order: int) -> str:
        return f"sh_{order}"

    def reserves_first() -> bool:
        return code == "unpatched" or (code == "patched" and troth.patch("reserve-first"))

    @troth.workflow
    async def checkout(order: int) -> list[str]:
        cents = await price(order)
        told = [await reserve(order)] if reserves_first() else []
        told.append(await charge(order, cents))
        if order % 2:
            told.append(await troth.receive("packed", str))
        told.append(await ship(order))
        return [*told, "thanks"] if code == "other_result" else told

    return troth


v1, patched, unpatched, other_result = map(build, ("v1", "patched", "unpatched", "other_result"))
