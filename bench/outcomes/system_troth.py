"""troth: a workflow with one effect that charges; client and worker in one process.

Without a key or a probe an effect has to say what to do when nobody knows: `delivery`. With a provider that recognises a
key, it is sent again under that key. With a probe, it is asked whether it happened.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bench.outcomes.payment import CALL_WITHIN_S, LANDS_WITHIN_S, LEASE_S, Job, charge, find, say
from troth import Call, Found, Missing, Provider, Troth
from troth.store.migrate import migrate
from troth.view.follow import Follower
from troth.view.model import RunHeader
from troth.worker.node import NodeOptions

SCHEMA = "troth"
ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "failed"}

job = Job.received()
troth = Troth(job.database, schema=SCHEMA)
# What the card processor's documentation promises.
LANDS_WITHIN = timedelta(seconds=LANDS_WITHIN_S)
with_keys = Provider(
    "card processor", key_lifetime=timedelta(seconds=job.key_lives_s), lands_within=LANDS_WITHIN
)
without_keys = Provider("card processor, its keys not used", lands_within=LANDS_WITHIN)


@troth.effect(delivery="at_most_once", timeout=CALL_WITHIN_S)
async def at_most_once(_: Call, order: str) -> str:
    return await charge(order)


@troth.effect(delivery="at_least_once", timeout=CALL_WITHIN_S)
async def at_least_once(_: Call, order: str) -> str:
    return await charge(order)


@troth.effect(provider=without_keys, timeout=CALL_WITHIN_S)
async def probed(_: Call, order: str) -> str:
    return await charge(order)


@troth.effect(provider=with_keys, timeout=CALL_WITHIN_S)
async def keyed(call: Call, order: str) -> str:
    return await charge(order, key=call.key)


@troth.effect(provider=with_keys, timeout=CALL_WITHIN_S)
async def keyed_and_probed(call: Call, order: str) -> str:
    return await charge(order, key=call.key)


@probed.probe
@keyed_and_probed.probe
async def found(_: Call, order: str) -> Found[str] | Missing:
    payment = await find(order)
    return Found(payment) if payment else Missing()


VARIANTS = {
    "at most once": at_most_once,
    "at least once": at_least_once,
    "probe": probed,
    "key": keyed,
    "key and probe": keyed_and_probed,
}


@troth.workflow
async def pay(order: str, variant: str) -> str:
    return await VARIANTS[variant](order)


async def main() -> None:
    migrate(job.database, SCHEMA)
    async with troth.worker(NodeOptions(lease_s=LEASE_S)):
        run = await troth.start(pay, job.order, job.variant, key=job.order)
        async with Follower(job.database, SCHEMA) as follower:
            async for seen in follower.run(run.id):
                if isinstance(seen, RunHeader) and seen.line.has_ended:
                    say(ENDED[seen.line.state], seen.line.reason or "")
                    return
                if isinstance(seen, RunHeader) and seen.line.reason == "in_doubt":
                    say("in doubt", (seen.detail or b"").decode())
                    return
                if isinstance(seen, RunHeader) and seen.line.state == "attention":
                    say("failed", seen.line.reason)
                    return


if __name__ == "__main__":
    asyncio.run(main())
