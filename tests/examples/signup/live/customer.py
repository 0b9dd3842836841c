"""A customer of the running service, over its API, and what the others have of them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from tests.examples.signup.live.running import Service
from tests.harness.postgres import wait_until

DAY = 24 * 60 * 60
PASSWORD = "correct horse battery"


class Customer:
    """Somebody with an account. It talks as a browser's page does: cookie, and `Sec-Fetch-Site`."""

    def __init__(self, service: Service, name: str) -> None:
        self.email = f"{name}-{uuid4().hex[:8]}@example.com"
        self._service = service
        self._http = httpx.Client(base_url=service.url, timeout=30)
        self._provider = httpx.Client(base_url=service.stage.provider_url, timeout=60)
        self._mailbox = httpx.Client(base_url=service.stage.mailbox_url)
        self.cookie = ""

    # -- what they do ----------------------------------------------------------------------------

    def sign_up(self, *, trial: bool = True, card: str = "pm_card_visa") -> dict[str, Any]:
        """Signed up and logged in; the account."""
        given = {"email": self.email, "name": "Ada", "plan": "pro", "password": PASSWORD}
        answer = self.post("/v1/signups", given | {"trial": trial, "card": card})
        assert answer.status_code == 200, answer.text
        assert self.log_in().status_code == 204
        return dict(answer.json())

    def log_in(self) -> httpx.Response:
        given = {"email": self.email, "password": PASSWORD}
        answer = self._http.post("/v1/sessions", json=given)
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer

    def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """The final answer: what goes on is asked after with the same key until it has ended."""
        headers = {**self.headers, "idempotency-key": str(uuid4())}

        def ask() -> httpx.Response:
            return self._http.post(path, json=body, headers=headers)

        answer = ask()

        def ended() -> bool:
            nonlocal answer
            if answer.status_code == 202:
                answer = ask()
            return answer.status_code != 202

        wait_until(ended, f"the answer of {path}")
        return answer

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path, headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        """A cookie of `__Host-` needs TLS; this connection has none, so no client sends it by itself."""
        return {"cookie": self.cookie, "sec-fetch-site": "same-origin"}

    # -- what is the case ------------------------------------------------------------------------

    def state(self) -> str:
        """The subscription, as the service shows it."""
        return str(self.get("/v1/account").raise_for_status().json()["subscription"])

    def becomes(self, state: str) -> None:
        wait_until(lambda: self.state() == state, f"a subscription that is {state}")

    def mails(self, subject: str) -> int:
        """How many of those that begin so have arrived."""
        found = self._mailbox.get("/messages", params={"to": self.email}).json()
        return sum(mail["subject"].startswith(subject) for mail in found)

    def is_told(self, subject: str) -> None:
        wait_until(lambda: self.mails(subject), f"the mail {subject!r}")

    def charges(self) -> list[int]:
        """What was taken from their cards."""
        mine = {
            one["id"] for one in self._truth("customer") if one["object"].get("email") == self.email
        }
        return [
            one["object"]["amount"]
            for one in self._truth("charge")
            if one["object"]["customer"] in mine and one["object"]["status"] == "succeeded"
        ]

    def subscription_at_provider(self) -> str:
        found = self._service.rows(
            "SELECT subscription_id FROM signup.account WHERE email = %s "
            "ORDER BY created_at LIMIT 1",
            self.email,
        )
        [state] = [
            one["object"]["status"]
            for one in self._truth("subscription")
            if one["id"] == found[0][0]
        ]
        return str(state)

    # -- the provider ----------------------------------------------------------------------------

    def _truth(self, kind: str) -> list[dict[str, Any]]:
        answer = self._provider.get("/_truth", params={"type": kind})
        return list(answer.json()["objects"][kind]["rows"])

    def days_pass(self, days: int) -> None:
        """For the provider. What becomes due has happened when this returns."""
        self._provider.post("/_clock", json={"advance": days * DAY + 60}).raise_for_status()

    def deliver(self, **rules: Any) -> None:
        """How the provider delivers events from now on; without rules, well."""
        self._provider.post("/_deliveries", json=rules).raise_for_status()

    def flush(self, **how: Any) -> int:
        """Deliver what is held; how many deliveries that were."""
        answer = self._provider.post("/_deliveries/flush", json=how).raise_for_status()
        return int(answer.json()["sent"])

    def close(self) -> None:
        for client in (self._http, self._provider, self._mailbox):
            client.close()
