"""What all telemetry events have in common, and the words that many of them use. The table of them is in `events`."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias
from uuid import UUID

from msgspec import Struct

RunId: TypeAlias = Annotated[UUID, "the run"]
WorkflowName: TypeAlias = Annotated[str, "the name of its workflow, with the version"]
Path: TypeAlias = Annotated[str, "the call's place in the run: branch, name and occurrence"]
StepName: TypeAlias = Annotated[str, "the name of the step"]
Attempt: TypeAlias = Annotated[int, "of this call, from 1"]
Worker: TypeAlias = Annotated[int, "the worker's id; 0 before it has one"]
Claim: TypeAlias = Annotated[int, "how often the run has been claimed"]
Key: TypeAlias = Annotated[str | None, "the start key"]
Seconds: TypeAlias = Annotated[float, "how long it took, in seconds"]
Trace: TypeAlias = Annotated[str | None, "the W3C traceparent that is stored with the run"]
Error: TypeAlias = Annotated[str | None, "what was raised, as `Type: message`; null if nothing was"]


class Event(Struct, frozen=True, gc=False):
    """What happened. `msgspec.json.encode(event)` and `msgspec.structs.asdict(event)` take it apart."""

    name: ClassVar[str] = ""
