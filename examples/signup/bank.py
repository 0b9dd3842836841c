"""The bank, as it is spoken to by files of ISO 20022: orders (pain.001) go out, statements (camt.053) come in.

An order has a number of ours, and the bank takes each number once (reason DUPL). So an order whose answer was lost is sent
again as it is, and is not paid twice.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from xml.sax.saxutils import escape

import httpx

from examples.signup.books import Disbursement
from examples.signup.settings import EFFECT_TIMEOUT_S, bank_account, bank_iban, bank_url, statements
from troth import Found, Missing, Provider, Refused
from troth.reconcile.sources.camt import Camt053
from troth.reconcile.sources.files import Folder

# How long banks remember the number of an order differs; a month is what ours promises. The other figure is ours.
bank = Provider("bank", key_lifetime=timedelta(days=30), lands_within=timedelta(minutes=2))

OURS = "Quay"
ACCEPTED, DUPLICATE = "accepted", "DUPL"
STATEMENT = r"camt\.053[.\d]*-{account}-(\d+)(?:\.\w+)?\.xml"
AT_ONCE = "1999-01-01"
"""The day of an order that is to be carried out as soon as can be, as German banks have agreed."""


# Orders -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Payee:
    name: str
    iban: str


def order(made: Disbursement, payee: Payee) -> str:
    """The order to pay this, as a document. The same one for the same disbursement, whenever it is sent."""
    number, amount = made.id, made.amount
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"><CstmrCdtTrfInitn>
<GrpHdr><MsgId>{number}</MsgId><CreDtTm>{AT_ONCE}T00:00:00Z</CreDtTm><NbOfTxs>1</NbOfTxs>
<CtrlSum>{amount.text()}</CtrlSum><InitgPty><Nm>{OURS}</Nm></InitgPty></GrpHdr>
<PmtInf><PmtInfId>{number}</PmtInfId><PmtMtd>TRF</PmtMtd><ReqdExctnDt><Dt>{AT_ONCE}</Dt></ReqdExctnDt>
<Dbtr><Nm>{OURS}</Nm></Dbtr><DbtrAcct><Id><IBAN>{bank_iban()}</IBAN></Id></DbtrAcct>
<DbtrAgt><FinInstnId><Othr><Id>NOTPROVIDED</Id></Othr></FinInstnId></DbtrAgt>
<CdtTrfTxInf><PmtId><EndToEndId>{number}</EndToEndId></PmtId>
<Amt><InstdAmt Ccy="{amount.currency}">{amount.text()}</InstdAmt></Amt>
<Cdtr><Nm>{escape(payee.name)}</Nm></Cdtr><CdtrAcct><Id><IBAN>{payee.iban}</IBAN></Id></CdtrAcct>
<RmtInf><Ustrd>{OURS}: your credit</Ustrd></RmtInf></CdtTrfTxInf></PmtInf></CstmrCdtTrfInitn></Document>
"""


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=bank_url(), timeout=EFFECT_TIMEOUT_S)


async def pay(made: Disbursement, payee: Payee) -> str:
    """Have the bank pay this, once. Raises `Refused` with the bank's words."""
    async with client() as http:
        answer = await http.post("/payments", content=order(made, payee).encode())
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        answer.raise_for_status()
    said = answer.json()
    if said["reason"] == DUPLICATE:  # an earlier attempt has arrived: what became of that one?
        said = await decision(made.id)
    else:
        [said] = said["payments"] or [said]  # or the whole order was refused
    if said is None or said.get("outcome", said.get("status")) != ACCEPTED:
        why = said["reason_text"] if said else "it has refused the order as a whole"
        raise Refused(f"the bank does not pay this: {why}")
    return ACCEPTED


async def find(made: Disbursement) -> Found[str] | Missing:
    """Has the bank taken it over? What it has refused has not happened."""
    said = await decision(made.id)
    return Found(ACCEPTED) if said and said["status"] == ACCEPTED else Missing()


async def decision(number: str) -> dict[str, Any] | None:
    """What the bank has decided about a payment; None if it has none with this number."""
    async with client() as http:
        answer = await http.get(f"/_mock/payments/{number}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    return dict(answer.raise_for_status().json())


# Statements ---------------------------------------------------------------------------------------


class Mailbox:
    """The statements that the bank has put into a directory of ours. Their names have a number that grows with the days."""

    name = "the bank's mailbox"

    async def names(self) -> list[str]:
        """The oldest first. Raises `SourceError` if there is no such directory."""
        return [each for _, each in numbered(await folder().names())]

    async def read(self, name: str) -> bytes:
        return await folder().read(name)


def folder() -> Folder:
    return Folder(statements(), "camt.053*.xml")


def numbered(names: Iterable[str]) -> list[tuple[int, str]]:
    """Of these files, the statements of our account, in the order of their numbers."""
    fitting = re.compile(STATEMENT.format(account=re.escape(bank_account())))
    found = [(fitting.fullmatch(each), each) for each in names]
    return sorted((int(fits[1]), each) for fits, each in found if fits)


STATEMENTS = Camt053(Mailbox(), keyed=True)
"""Read as items. What we are sent by the provider has the payout as its key, and what we send the disbursement."""
