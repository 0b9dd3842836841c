"""troth as an application of Django: one `Troth` for the project, whose definitions are found in `workflows.py`.

    INSTALLED_APPS = [..., "troth.integrations.django_app"]
    TROTH = {"using": "default", "schema": "troth"}       # may be left out

    # shop/workflows.py
    from troth.integrations.django_app import troth

    @troth.workflow
    async def checkout(order: int) -> str: ...

When Django is ready, the module `workflows` of every installed application has been imported. `manage.py troth …` is the
command line on the project's database; `worker`, `dev` and `check` are about the project's `Troth` there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from troth.app import Troth

    troth: Troth

__all__ = ["troth"]


def __getattr__(name: str) -> Any:
    if name != "troth":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import django
    from django.apps import apps

    from troth.integrations.django_app.project import the_troth

    if not apps.ready and not apps.loading:  # `troth worker` imports this first of all
        django.setup()
    return the_troth()
