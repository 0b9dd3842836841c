"""Random workflow programs as data, and the one workflow that interprets them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from troth import BlockingTx, Refused, Troth, Tx
from troth.workflow.definition import Workflow

# A program is JSON: a list of statements, each a list that begins with its verb. Calls carry a label,
# numbered in the order in which the program is written, so that every recorded result can be told.
Program = list[Any]

_CALLS = (
    "step",
    "blocking",
    "transaction",
    "blocking transaction",
    "sum",
    "child",
    "handle",
    "receive",
    "receive nothing",
)
_BLOCKS = ("gather", "group", "group, caught", "spawn", "first", "limit")


def programs(*, concurrent: bool = True) -> st.SearchStrategy[Program]:
    """Programs of a few statements, nested if *concurrent*."""
    leaves = st.one_of(
        st.tuples(st.sampled_from(_CALLS)).map(list),
        st.just(["pause"]),
        st.just(["sleep"]),
        st.just(["chance"]),
        st.just(["refuse, caught"]),
        st.just(["child refuses, caught"]),
    )
    if not concurrent:
        return st.lists(leaves, min_size=1, max_size=6).map(labelled)
    statements = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(
                st.sampled_from(_BLOCKS),
                st.lists(
                    st.lists(inner | st.just(["refuse"]), min_size=1, max_size=3),
                    min_size=1,
                    max_size=3,
                ),
            ).map(list)
        ),
        max_leaves=10,
    )
    return st.lists(statements, min_size=1, max_size=4).map(labelled)


def labelled(program: Program) -> Program:
    """The same program with a label behind the verb of each statement."""
    count = iter(range(10_000))

    def label(block: list[Any]) -> list[Any]:
        return [
            [verb, next(count), *([label(inner) for inner in blocks] for blocks in rest)]
            for verb, *rest in block
        ]

    return label(program)


def received(program: Program) -> list[int]:
    """The labels of its receives: a message for each is there before the run is."""
    found = [statement[1] for statement in program if statement[0] == "receive"]
    return found + [
        n for _, _, *rest in program for blocks in rest for b in blocks for n in received(b)
    ]


def topic_of(label: int) -> str:
    return f"topic-{label}"


@dataclass
class Interpreter:
    """The workflow, and what its steps really did."""

    troth: Troth
    work: Workflow[[Program], list[Any]]
    performed: list[tuple[str, int]]


def interpreter(troth: Troth) -> Interpreter:  # noqa: C901, PLR0915  (one closure per verb)
    """Define the workflow and its steps. What it was told, in order, is its result."""
    performed: list[tuple[str, int]] = []

    @troth.step
    async def step(label: int, told: int) -> list[int]:
        performed.append(("step", label))
        for _ in range(label % 3):
            await asyncio.sleep(0)
        return [label, told]

    @troth.step
    def blocking(label: int, told: int) -> list[int]:
        return [label, told]

    @troth.transaction
    async def transaction(tx: Tx, label: int, told: int) -> list[int]:
        await tx.execute("SELECT 1")
        return [label, told]

    @troth.transaction(name="blocking.transaction")
    def blocking_transaction(tx: BlockingTx, label: int, told: int) -> list[int]:
        tx.execute("SELECT 1")
        return [label, told]

    @troth.step
    async def refuse(label: int) -> None:
        raise Refused(label)

    @troth.workflow
    async def leaf(label: int, refused: bool) -> list[int]:
        if label % 2:
            await step(label, 0)
        if refused:
            raise Refused(label)
        return [label, 0]

    async def child(label: int, told: int) -> list[int]:
        return await leaf(label, False)

    async def handle(label: int, told: int) -> list[int]:
        run = await troth.start(leaf, label, False, key=None if label % 3 else str(troth.uuid()))
        return await run.result()

    async def receive(label: int, told: int) -> list[int]:
        return await troth.receive(topic_of(label), list[int])

    calls: dict[str, Callable[[int, int], Coroutine[Any, Any, list[int]]]] = {
        "receive": receive,
        "child": child,
        "handle": handle,
        "step": step,
        "blocking": blocking,
        "transaction": transaction,
        "blocking transaction": blocking_transaction,
    }

    @troth.workflow
    async def work(program: Program) -> list[Any]:  # noqa: C901, PLR0915  (see above)
        trace: list[Any] = []

        async def block(statements: Program) -> None:
            for statement in statements:
                await perform(*statement)

        async def perform(  # noqa: C901, PLR0912, PLR0915  (the table of verbs)
            verb: str, label: int, blocks: list[Program] | None = None
        ) -> None:
            match verb:
                case "pause":
                    await asyncio.sleep(0)
                case "sleep":
                    await troth.sleep(0)
                    trace.append(["slept", label])
                case "chance":
                    number = troth.random().randint(0, 10**9)
                    trace.append(["chance", label, number, str(troth.uuid())])
                case "refuse":
                    await refuse(label)
                case "refuse, caught":
                    try:
                        await refuse(label)
                    except Refused as error:
                        trace.append(["refused", *error.args, troth.now()])
                case "child refuses, caught":
                    try:
                        await leaf(label, True)
                    except Refused as error:
                        trace.append(["refused", *error.args, troth.now()])
                case "sum":  # its argument depends on the order of everything before it
                    trace.append(["told", *await step(label, len(trace)), troth.now()])
                case "receive nothing":
                    assert not await troth.receive("nothing", timeout=0)
                    trace.append(["nothing came", label])
                case "limit":  # of no time: it ends its block somewhere; or of a long one: never
                    try:
                        async with troth.timeout(label % 3 and 60):
                            for inner in blocks or []:
                                await block(inner)
                    except TimeoutError:
                        trace.append(["limit", label])
                case "first":
                    number, _ = await troth.first(*(block(inner) for inner in blocks or []))
                    trace.append(["first", label, number])
                case "gather":
                    await asyncio.gather(
                        *(block(inner) for inner in blocks or []), return_exceptions=True
                    )
                case "spawn":
                    tasks = [asyncio.create_task(block(inner)) for inner in blocks or []]
                    await asyncio.sleep(0)
                    await asyncio.wait(tasks)  # troth: ok
                    for task in tasks:
                        task.exception()  # seen
                case "group" | "group, caught":
                    try:
                        async with asyncio.TaskGroup() as group:
                            for inner in blocks or []:
                                group.create_task(block(inner))
                    except* Refused as errors:
                        trace.append(["group", label, len(errors.exceptions)])
                        if verb == "group":
                            raise
                case _:
                    trace.append(["told", *await calls[verb](label, 0), troth.now()])

        try:
            await block(program)
        except* Refused:
            trace.append(["refused at last"])
        return trace

    return Interpreter(troth, work, performed)


def is_sequential(program: Program) -> bool:
    """Nothing in it is concurrent, so the order of everything is forced."""
    return all(len(statement) == 2 for statement in program)
