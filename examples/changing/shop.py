"""A checkout that has changed twice under runs that are alive. tests/examples/test_changing.py tests it."""

from troth import Call, Troth

troth = Troth()


@troth.step
async def price(order: str) -> int:
    return len(order) * 100


@troth.effect(delivery="at_most_once", timeout=10, stands=True)
async def charge(call: Call, order: str, cents: int) -> str:
    return f"{cents} cents ({call.key})"


@troth.step
async def reserve(order: str) -> str:
    return f"{order} is reserved"


@troth.workflow
async def checkout(order: str) -> list[str]:
    cents = await price(order)
    told: list[str] = []
    if troth.patch("reserve-first"):  # runs that have charged already go on without
        told.append(await reserve(order))
    told.append(await charge(order, cents))
    return [*told, await troth.receive("packed", str)]


@troth.workflow(
    name="checkout", version=2
)  # started from now on; runs of version 1 end as they began
async def checkout_2(order: str, express: bool = False) -> list[str]:
    told = [await reserve(order), await charge(order, await price(order))]
    if not express:
        told.append(await troth.receive("packed", str))
    return told
