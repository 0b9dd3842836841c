"""The three outsides: how each is started, what must be there before, and what it has in truth."""

from __future__ import annotations

import functools
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx

from tests.matrix.processes import ROOT, Child

STRANGER = ROOT / ".venv-localstripe" / "bin" / "python"
PINS = ROOT / "requirements" / "localstripe.txt"


class World(ABC):
    """One outside, asked directly and not through the edge."""

    protocol: ClassVar[str] = "http"
    writes: ClassVar[str] = "POST "  # how a request begins that makes something

    def __init__(self, port: int, http: httpx.Client) -> None:
        self.port = port
        self.http = http

    @abstractmethod
    def prepare(self, column: str) -> dict[str, str]:
        """Make what the objects of a cell hang on; give the ids."""

    @abstractmethod
    def truth(self, column: str) -> Counter[str]:
        """How many objects there are, by mark."""

    def copies(self, column: str) -> Counter[str]:
        """How many deliveries there were, by mark, where those are not the same as objects."""
        return self.truth(column)

    def post(self, path: str, **form: object) -> dict[str, Any]:
        answer = self.http.post(path, data=form)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made


class Billing(World):
    """Stripe's API, by whomever."""

    price: dict[str, str]

    def prepare(self, column: str) -> dict[str, str]:
        if column == "subscription":
            return self.price | {"customer": self.buyer}
        if column == "refund":
            card = self.post("/v1/payment_methods", type="card", **CARD)
            paid = self.post(
                "/v1/payment_intents",
                amount=1500,
                currency="eur",
                payment_method=card["id"],
                confirm="true",
            )
            return {"payment_intent": paid["id"]}
        return {}

    @functools.cached_property
    def buyer(self) -> str:
        customer = self.post("/v1/customers", email="buyer@example.com")["id"]
        card = self.post("/v1/payment_methods", type="card", **CARD)["id"]
        self.post(f"/v1/payment_methods/{card}/attach", customer=customer)
        self.post(f"/v1/customers/{customer}", **{"invoice_settings[default_payment_method]": card})
        return str(customer)


CARD = {
    "card[number]": "4242424242424242",
    "card[exp_month]": "12",
    "card[exp_year]": "2040",
    "card[cvc]": "123",
}


class ExampleProvider(Billing):
    """The provider of the example signup: it keeps Stripe's promises about keys."""

    def __init__(self, port: int, http: httpx.Client) -> None:
        super().__init__(port, http)
        price = self.post(
            "/v1/prices",
            currency="eur",
            unit_amount=900,
            **{"product_data[name]": "pro", "recurring[interval]": "month"},
        )
        self.price = {"item": "price", "price": price["id"]}

    def truth(self, column: str) -> Counter[str]:
        kind = column.replace(" ", "_")
        truth = self.http.get("/_truth", params={"type": kind}).raise_for_status().json()
        return by_mark(truth["objects"][kind]["rows"])


class Localstripe(Billing):
    """localstripe, by others. It ignores keys, and knows plans where Stripe has prices."""

    def __init__(self, port: int, http: httpx.Client) -> None:
        super().__init__(port, http)
        product = self.post("/v1/products", name="pro", type="service")
        plan = self.post(
            "/v1/plans", product=product["id"], amount=900, currency="eur", interval="month"
        )
        self.price = {"item": "plan", "price": plan["id"]}

    def truth(self, column: str) -> Counter[str]:
        path = f"/v1/{column.replace(' ', '_')}s"
        status = {"status": "all"} if column == "subscription" else {}
        listed = self.http.get(path, params={"limit": 10_000, **status}).raise_for_status().json()
        assert not listed["has_more"]
        return by_mark(listed["data"])


class Mailbox(World):
    """A mail server. A mail is one by its Message-ID, however many copies of it arrive."""

    protocol = "smtp"
    writes = "mail FROM"

    def prepare(self, column: str) -> dict[str, str]:
        return {}

    def truth(self, column: str) -> Counter[str]:
        return Counter(mark for mark, _ in set(self._arrived()))

    def copies(self, column: str) -> Counter[str]:
        return Counter(mark for mark, _ in self._arrived())

    def _arrived(self) -> list[tuple[str, str]]:
        messages = self.http.get("/messages").raise_for_status().json()
        return [(one["to"][0].partition("@")[0], one["message_id"]) for one in messages]


def by_mark(rows: list[Mapping[str, Any]]) -> Counter[str]:
    marks = ((row.get("metadata") or {}).get("mark") for row in rows)
    return Counter(mark for mark in marks if mark)


@contextmanager
def world(name: str, directory: Path) -> Iterator[World]:
    """An outside in a process of its own, with its data in *directory* or nowhere."""
    log = directory / f"{name}.log"
    if name == "localstripe":
        make_environment()
        command: list[str | Path] = [STRANGER, Path(__file__).with_name("localstripe_server.py")]
    else:
        module = "provider" if name == "example provider" else "mailbox"
        data = directory / f"{module}.sqlite"
        command = [sys.executable, "-m", f"examples.signup.{module}", f"--data={data}"]
    with Child(command, log) as child:
        ports = child.says()
        control = f"http://127.0.0.1:{ports.get('http_port') or ports['port']}"
        with httpx.Client(base_url=control, auth=("sk_test_matrix", ""), timeout=30) as http:
            yield WORLDS[name](ports.get("smtp_port") or ports["port"], http)


WORLDS: dict[str, type[World]] = {
    "example provider": ExampleProvider,
    "localstripe": Localstripe,
    "mailbox": Mailbox,
}


def make_environment() -> None:
    """An environment for localstripe alone, by its pins; made again only when those have changed."""
    ready = STRANGER.parents[1] / ".ready"
    if ready.exists() and ready.stat().st_mtime >= PINS.stat().st_mtime:
        return
    uv = Path(sys.executable).with_name("uv")
    commands: tuple[list[str | Path], ...] = (
        ["venv", "--quiet", "--allow-existing", f"--python={sys.executable}", STRANGER.parents[1]],
        ["pip", "install", "--quiet", f"--python={STRANGER}", "--require-hashes", "-r", PINS],
    )
    for arguments in commands:
        subprocess.run([uv, *arguments], cwd=ROOT, check=True)
    ready.touch()
