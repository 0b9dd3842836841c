"""A Django shop, and what is said of it under the lab.

Django has one configuration per process, so this is one: it prints its verdicts. `python -m tests.lab.django_shop URL`
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

from troth.lab import Lab
from troth.lab.steps import Limits

settings.configure(
    SECRET_KEY="test",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "shop.sqlite3",
            "CONN_MAX_AGE": 60,
        },
        "pg": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "db.example.com"},
    },
    EMAIL_HOST="mail.example.com",
    USE_TZ=True,
    LOGGING_CONFIG=None,
)
django.setup()

from celery import Celery  # noqa: E402
from celery.exceptions import Reject  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.mail import send_mail  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import DatabaseError, connections, models, transaction  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

EMAIL = "ada@example.com"
tasks = Celery("shop", broker="redis://localhost:6379/0")
tasks.conf.task_ignore_result = True


class Order(models.Model):  # noqa: DJ008  (nobody prints it)
    email = models.EmailField()
    mailed = models.BooleanField(default=False)

    class Meta:
        app_label = "shop"


class Account(models.Model):  # noqa: DJ008
    email = models.EmailField(unique=True)
    credit = models.IntegerField(default=100)
    spent = models.IntegerField(default=0)

    class Meta:
        app_label = "shop"


def create_tables(using: str = "default") -> None:
    with connections[using].schema_editor() as editor:
        editor.create_model(Order)
        editor.create_model(Account)
    Account.objects.using(using).create(email=EMAIL)


def mail() -> None:
    send_mail("your order", "thank you", "shop@example.com", [EMAIL])


def mail_in_the_block(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        if not Order.objects.filter(email=EMAIL).exists():
            Order.objects.create(email=EMAIL)
            mail()
    return HttpResponse("ok")


def mail_on_commit(request: HttpRequest) -> HttpResponse:
    """Never a mail without an order. Sometimes an order without a mail."""
    with transaction.atomic():
        if not Order.objects.filter(email=EMAIL).exists():
            Order.objects.create(email=EMAIL)
            transaction.on_commit(mail)
    return HttpResponse("ok")


def mail_that_is_remembered(request: HttpRequest) -> HttpResponse:
    order, _ = Order.objects.get_or_create(id=1, defaults={"email": EMAIL})
    if not order.mailed:
        mail()
        Order.objects.filter(id=1).update(mailed=True)
    return HttpResponse("ok")


def get_or_create(request: HttpRequest) -> HttpResponse:
    Order.objects.get_or_create(email=EMAIL)
    return HttpResponse("ok")


def get_or_create_by_key(request: HttpRequest) -> HttpResponse:
    Order.objects.get_or_create(id=1, defaults={"email": EMAIL})
    return HttpResponse("ok")


@tasks.task(acks_late=True, reject_on_worker_lost=True)
def mark_as_mailed(number: int) -> None:
    """What the warehouse does, if it finds the order."""
    try:
        order = Order.objects.filter(id=number).first()
        if order is not None:
            order.mailed = True
            order.save()
    except DatabaseError as error:
        raise Reject(error, requeue=True) from error


def delay_in_the_block(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        order, _ = Order.objects.get_or_create(id=1, defaults={"email": EMAIL})
        mark_as_mailed.delay(order.id)
    return HttpResponse("ok")


def delay_on_commit(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        order, made = Order.objects.get_or_create(id=1, defaults={"email": EMAIL})
        if made:
            transaction.on_commit(lambda: mark_as_mailed.delay(order.id))
    return HttpResponse("ok")


def delay_after_the_block(request: HttpRequest) -> HttpResponse:
    """In any case: as long as somebody asks again, it is sent again."""
    order, _ = Order.objects.get_or_create(id=1, defaults={"email": EMAIL})
    mark_as_mailed.delay(order.id)
    return HttpResponse("ok")


being_served: set[str] = set()


def one_at_a_time(request: HttpRequest) -> HttpResponse:
    """What an error leaves in the set stays there as long as the process lives."""
    if EMAIL in being_served:
        return HttpResponse("no", status=409)
    being_served.add(EMAIL)
    Order.objects.get_or_create(id=1, defaults={"email": EMAIL})
    being_served.discard(EMAIL)
    return HttpResponse("ok")


def order_and_mail(request: HttpRequest) -> HttpResponse:
    """With ATOMIC_REQUESTS, the commit comes after the view. The mail does not."""
    Order.objects.create(email=EMAIL)
    mail()
    return HttpResponse("ok")


def spend(request: HttpRequest) -> HttpResponse:
    account = Account.objects.using("pg").get(email=EMAIL)
    return spent(account)


def spend_locked(request: HttpRequest) -> HttpResponse:
    with transaction.atomic(using="pg"):
        return spent(Account.objects.using("pg").select_for_update().get(email=EMAIL))


def spent(account: Account) -> HttpResponse:
    if account.credit < 60:
        return HttpResponse("no", status=409)
    Account.objects.using("pg").update(credit=account.credit - 60, spent=models.F("spent") + 60)
    return HttpResponse("ok")


def count_orders() -> None:
    """A management command, without a request: under the lab, the event loop is not its own."""
    Order.objects.filter(mailed=False).update(mailed=True)


VIEWS = (
    mail_in_the_block,
    mail_on_commit,
    mail_that_is_remembered,
    get_or_create,
    get_or_create_by_key,
    delay_in_the_block,
    delay_on_commit,
    delay_after_the_block,
    one_at_a_time,
    order_and_mail,
    spend,
    spend_locked,
)
urlpatterns = [path(f"{view.__name__}/", view) for view in VIEWS]
application = get_wsgi_application()


def once(answer: object) -> bool:
    del answer
    return False


def post(lab: Lab, view: Callable[..., object], **options: Any) -> None:
    lab.user(lab.wsgi(application).post(f"/{view.__name__}/"), **options)


def orders(lab: Lab, view: Callable[..., object], **options: Any) -> None:
    lab.database("shop.sqlite3", migrate=create_tables)
    lab.accept("the mail may repeat", sink=lab.mailbox(), because="harmless")
    post(lab, view, **options)
    lab.always("one order", lambda w: len(w.db.shop_order) <= 1, severity="money")
    lab.told(200, "there is an order", lambda w: w.db.shop_order)
    lab.at_rest(
        "whoever got a mail has an order", lambda w: not w.mailbox.messages or w.db.shop_order
    )


def mails(lab: Lab, view: Callable[..., object]) -> None:
    orders(lab, view, overlap=1)
    lab.at_rest("whoever has an order got a mail", lambda w: w.mailbox.messages)


def atomic_requests(lab: Lab, view: Callable[..., object]) -> None:
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    orders(lab, view, again=once)


def money(lab: Lab, view: Callable[..., object]) -> None:
    lab.database(sys.argv[1], migrate=lambda: create_tables("pg"))
    for _ in range(2):
        post(lab, view, again=once)
    lab.always("no more is spent than there was", lambda w: w.db.shop_account[0].spent <= 100)


def delayed(lab: Lab, view: Callable[..., object]) -> None:
    orders(lab, view, overlap=1)
    lab.workers(lab.celery(tasks), n=1)
    lab.at_rest("the warehouse knows of it", lambda w: all(one.mailed for one in w.db.shop_order))


def asynchronous(lab: Lab, view: Callable[..., object]) -> None:
    lab.database("shop.sqlite3", migrate=create_tables)
    lab.user(lab.http(get_asgi_application()).post(f"/{view.__name__}/"))
    lab.always("one order", lambda w: len(w.db.shop_order) <= 1, severity="money")


def remembering(lab: Lab, view: Callable[..., object]) -> None:
    orders(lab, view, overlap=1)
    lab.told(409, "there is an order", lambda w: w.db.shop_order)


def commanded(lab: Lab, view: Callable[..., object]) -> None:
    orders(lab, view, again=once)
    lab.timer(count_orders)
    lab.at_rest("all are counted", lambda w: all(one.mailed for one in w.db.shop_order))


CASES: dict[str, tuple[Callable[..., None], Callable[..., object]]] = {
    "mail in the block": (lambda lab, view: orders(lab, view, again=once), mail_in_the_block),
    "mail on commit": (mails, mail_on_commit),
    "mail that is remembered": (mails, mail_that_is_remembered),
    "get or create": (orders, get_or_create),
    "get or create by a key": (orders, get_or_create_by_key),
    "atomic requests": (atomic_requests, order_and_mail),
    "without a lock": (money, spend),
    "with a lock": (money, spend_locked),
    "delay in the block": (delayed, delay_in_the_block),
    "delay on commit": (delayed, delay_on_commit),
    "delay after the block": (delayed, delay_after_the_block),
    "asgi": (asynchronous, get_or_create),
    "asgi, by a key": (asynchronous, get_or_create_by_key),
    "memory": (remembering, one_at_a_time),
    "a command": (commanded, get_or_create_by_key),
}


def said(name: str) -> dict[str, Any]:
    describe, view = CASES[name]
    connections.settings["default"]["ATOMIC_REQUESTS"] = False
    lab = Lab(name, closer=0)
    describe(lab, view)
    verdict = lab.explore(budget=60)
    broken = {one.promise.name: one.faults for one in verdict.counterexamples}
    return {"word": verdict.word, "broken": broken, "text": str(verdict)}


if __name__ == "__main__":
    logging.disable()
    Limits.aftermath = 0.2
    sys.stdout.write(json.dumps({name: said(name) for name in sys.argv[2:]}))
