"""Groups: definitions of one part of a program, in modules that know of no `Troth`.

`billing = Group("billing")` has the decorators of a `Troth`; `troth.include(billing)` makes what it has, and what it will
have, part of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from troth.base.errors import UsageError
from troth.store.parts import Relay
from troth.workflow.decorators import Definitions
from troth.workflow.definition import StepDefinition, Workflow


class Group(Definitions):
    """Workflows, steps and resources under one name. *prefix*: call them `billing.charge` rather than `charge`.

    Names are stored with every run, so a group that has runs keeps its prefix, or its lack of one.
    """

    relays: Sequence[Relay] = ()

    def __init__(self, name: str, *, prefix: bool = False) -> None:
        super().__init__()
        self.name = name
        self.prefix = f"{name}." if prefix else ""
        self._owners: list[Definitions] = []

    def bind(self, schema: str) -> None:
        """It has no tables."""

    def join(self, owner: Definitions) -> None:
        """Become part of a program. Raises `UsageError` if that has a definition of the same name; nothing is added then."""
        for what, ours, theirs in (
            ("step", self.steps, owner.steps),
            ("workflow", self.workflows, owner.workflows),
        ):
            twice = sorted(set(ours) & set(theirs))
            if twice:
                msg = (
                    f"group {self.name} has a {what} {twice[0]}, and the program has one of that name already: give one "
                    f"of them name=, or make it Group({self.name!r}, prefix=True)"
                )
                raise UsageError(msg)
        owner.resources.include(self.resources)
        for queue in self.queues.values():
            owner.know(queue)
        owner.steps.update(self.steps)
        owner.workflows.update(self.workflows)
        self._owners.append(owner)

    def require_known_to(self, workflow: Workflow[Any, Any]) -> None:
        """Raise `UsageError` unless a program that has this group has the workflow too."""
        if not any(workflow in owner.workflows.values() for owner in self._owners):
            msg = (
                f"group {self.name} is not included in the program of {workflow.name}: call troth.include({self.name}) "
                "where the program is put together"
            )
            raise UsageError(msg)

    @property
    def program(self) -> Definitions:
        """The program that included it last; itself, if none has."""
        return self._owners[-1] if self._owners else self

    def _add(self, made: StepDefinition[Any, Any]) -> StepDefinition[Any, Any]:
        made.name = made.__name__ = self.prefix + made.name
        super()._add(made)
        for owner in self._owners:
            owner._add(made)  # noqa: SLF001  (another one of its own kind)
        return made

    def _add_workflow(self, made: Workflow[Any, Any]) -> None:
        made.name = made.__name__ = self.prefix + made.name
        super()._add_workflow(made)
        for owner in self._owners:
            if made.queue is not None:
                owner.know(made.queue)
            owner._add_workflow(made)  # noqa: SLF001  (another one of its own kind)
