"""What Django asks an application for."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class TrothConfig(AppConfig):  # type: ignore[misc]  # Django ships no types
    """Finds the definitions of all installed applications."""

    name = "troth.integrations.django_app"
    label = "troth"
    verbose_name = "troth"

    def ready(self) -> None:
        from troth.integrations.django_app.project import the_troth

        the_troth()  # what is wrong with its settings is told before definitions are read
        autodiscover_modules("workflows")
