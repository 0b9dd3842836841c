"""Statements and tables in files: what they say, what they lack, and what is not believed."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.reconcile.conftest import Books, kinds
from troth.base.errors import UsageError
from troth.reconcile import Item, Page, Side, Source, SourceError, Window, proof
from troth.reconcile.model import Fault, Feed
from troth.reconcile.proof import Kept
from troth.reconcile.sources import files as module
from troth.reconcile.sources.bai import Bai2
from troth.reconcile.sources.camt import Camt053
from troth.reconcile.sources.files import Folder
from troth.reconcile.sources.table import Table, columns

NOVEMBER = Window(
    datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), timedelta(days=3)
)


async def read(source: Source, window: Window = NOVEMBER) -> tuple[list[Item], Feed]:
    """All of a source, and what is known of its completeness."""
    pages: list[Kept] = []
    items: list[Item] = []
    cursor = None
    while True:
        page: Page = await source.page(cursor, window)
        digest = proof.digest_of(page)
        again = proof.came_before(pages, page, digest)
        kept = [] if again else [each for each in page.items if window.reaches(each.at)]
        said = proof.said_by(page, len(kept), again=again)
        pages.append(Kept(len(pages) + 1, cursor, page.next, digest, said))
        items += kept
        cursor = page.next
        if cursor is None:
            break
    now = window.last
    return items, proof.feed_of(
        Side.THEIRS, source.name, pages, window, now, grace=timedelta(days=40)
    )


# camt.053 -------------------------------------------------------------------------------------------------------------


def entry(
    amount: str,
    side: str,
    ref: str,
    *,
    e2e: str = "NOTPROVIDED",
    day: int = 5,
    more: str = "",
    status: str = "BOOK",
) -> str:
    return f"""<Ntry><Amt Ccy="EUR">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd><Sts><Cd>{status}</Cd></Sts>
      <BookgDt><Dt>2026-11-{day:02}</Dt></BookgDt><ValDt><Dt>2026-11-{day:02}</Dt></ValDt><AcctSvcrRef>{ref}</AcctSvcrRef>
      <NtryDtls><TxDtls><Refs><EndToEndId>{e2e}</EndToEndId></Refs>{more}</TxDtls></NtryDtls></Ntry>"""


def statement(
    number: int, opening: str, closing: str, *entries: str, day: int = 5, id_: str | None = None
) -> str:
    balances = "".join(
        f"""<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">{amount.lstrip("-")}</Amt>
        <CdtDbtInd>{"DBIT" if amount.startswith("-") else "CRDT"}</CdtDbtInd><Dt><Dt>2026-11-{day:02}</Dt></Dt></Bal>"""
        for code, amount in (("OPBD", opening), ("CLBD", closing))
    )
    return f"""<?xml version="1.0"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>
      <GrpHdr><MsgId>M{number}</MsgId></GrpHdr><Stmt><Id>{id_ or f"S{number}"}</Id><ElctrncSeqNb>{number}</ElctrncSeqNb>
      <Acct><Id><IBAN>NL30MOCK0000000005</IBAN></Id><Ccy>EUR</Ccy></Acct>{balances}{"".join(entries)}</Stmt>
      </BkToCstmrStmt></Document>"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, "*.*")


def put(folder: Folder, **contents: str) -> None:
    for name, content in contents.items():
        (folder.path / name.replace("__", ".")).write_text(content)


async def test_a_statement_says_what_moved(folder: Folder) -> None:
    returned = "<RtrInf><Rsn><Cd>AC04</Cd></Rsn></RtrInf>"
    put(folder, a__xml=statement(
        1, "100.00", "87.00",
        entry("25.00", "DBIT", "P1", e2e="run/pay"), entry("25", "CRDT", "R1", e2e="run/pay", more=returned, day=6),
        entry("7.5", "DBIT", "P2", e2e="other"), entry("5.50", "DBIT", "P3"),
        entry("99.00", "DBIT", "P4", status="PDNG"),
    ))  # fmt: skip
    items, feed = await read(Camt053(folder, keyed=True))
    assert feed.flaws == ()
    iban = "NL30MOCK0000000005"
    assert [(each.id, each.amount, each.kind, each.key, each.reference) for each in items] == [
        (f"{iban}/P1", -2500, "debit", "run/pay", "run/pay"),
        (f"{iban}/R1", 2500, "return", None, "run/pay"),
        (f"{iban}/P2", -750, "debit", "other", "other"),
        (f"{iban}/P3", -550, "debit", None, ""),
    ]
    assert items[1].at == datetime(2026, 11, 6, tzinfo=UTC)
    assert (await read(Camt053(folder)))[0][0].key is None


async def test_a_batch_is_taken_apart_if_its_parts_are_its_amount(folder: Folder) -> None:
    part = """<TxDtls><Refs><EndToEndId>{}</EndToEndId></Refs><Amt Ccy="EUR">{}</Amt><CdtDbtInd>CRDT</CdtDbtInd></TxDtls>"""
    batch = """<Ntry><Amt Ccy="EUR">{}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><ValDt><Dt>2026-11-05</Dt></ValDt>
        <AcctSvcrRef>B</AcctSvcrRef><NtryDtls>{}</NtryDtls></Ntry>"""
    parts = part.format("a", "1.00") + part.format("b", "2.00")
    put(folder, a__xml=statement(1, "0.00", "3.00", batch.format("3.00", parts)))
    put(folder, b__xml=statement(2, "3.00", "7.00", batch.format("4.00", parts)))
    items, feed = await read(Camt053(folder))
    assert feed.flaws == ()
    assert [(each.id.partition("/")[2], each.amount) for each in items] == [
        ("B#1", 100),
        ("B#2", 200),
        ("B", 400),
    ]


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        (statement(2, "90.00", "80.00", entry("5.00", "DBIT", "Q")), Fault.SUM),
        (statement(2, "80.00", "75.00", entry("5.00", "DBIT", "Q")), Fault.GAP),
        (statement(3, "90.00", "85.00", entry("5.00", "DBIT", "Q")), Fault.GAP),
        (statement(2, "90.00", "85.00", entry("5.00", "DBIT", "Q"), id_="S1"), Fault.REPEATED),
    ],
)  # fmt: skip
async def test_what_does_not_add_up_is_not_complete(
    folder: Folder, second: str, fault: Fault
) -> None:
    put(folder, a__xml=statement(1, "100.00", "90.00", entry("10.00", "DBIT", "P")), b__xml=second)
    _, feed = await read(Camt053(folder))
    assert [each.fault for each in feed.flaws] == [fault]


async def test_a_file_that_came_twice_counts_once(folder: Folder) -> None:
    one = statement(1, "100.00", "90.00", entry("10.00", "DBIT", "P"))
    two = statement(2, "90.00", "80.00", entry("10.00", "DBIT", "Q"))
    put(folder, a__xml=one, b__xml=one, c__xml=two)
    items, feed = await read(Camt053(folder))
    assert ([each.amount for each in items], feed.flaws, feed.repeated) == ([-1000, -1000], (), 1)


async def test_long_statements_come_in_parts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_ITEMS", 2)
    entries = [entry("1.00", "CRDT", f"P{n}") for n in range(5)]
    put(
        folder,
        a__xml=statement(1, "0.00", "5.00", *entries),
        b__xml=statement(2, "5.00", "4.00", entry("1.00", "DBIT", "Q")),
    )
    items, feed = await read(Camt053(folder))
    assert (len(items), feed.pages, feed.flaws) == (6, 4, ())


async def test_a_file_that_changes_while_it_is_read_is_an_error(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_ITEMS", 1)
    whole = statement(1, "0.00", "2.00", entry("1.00", "CRDT", "A"), entry("1.00", "CRDT", "B"))
    put(folder, a__xml=whole)
    first = await Camt053(folder).page(None, NOVEMBER)
    put(folder, a__xml=whole.replace(">A<", ">C<"))
    with pytest.raises(SourceError, match="has changed"):
        await Camt053(folder).page(first.next, NOVEMBER)


async def test_no_statement_is_not_a_clean_one(folder: Folder) -> None:
    _, feed = await read(Camt053(folder))
    assert Fault.EMPTY in {each.fault for each in feed.flaws}
    with pytest.raises(SourceError, match="there is no directory"):
        await read(Camt053(Folder(folder.path / "elsewhere")))


BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><Document>&b;</Document>"""


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        "<Document><BkToCstmrStmt>",
        "<Document/>",
        statement(1, "1.00", "1.00", entry("0.001", "DBIT", "P")),
        statement(1, "1.00", "1.00").replace("OPBD", "XXXX"),
        statement(1, "1.00", "1.00", entry("1.00", "DBIT", "P")).replace(
            "DBIT</CdtDbtInd><Sts>", "</CdtDbtInd><Sts>"
        ),
    ],
    ids=["entities", "cut", "nothing", "parts of a cent", "no opening", "no side"],
)
async def test_what_is_no_statement_is_not_believed(folder: Folder, content: str) -> None:
    put(folder, a__xml=content)
    with pytest.raises(SourceError, match=r"a\.xml"):
        await read(Camt053(folder))


async def test_an_entry_that_cannot_be_read_is_named(folder: Folder) -> None:
    good, bad = entry("1.00", "CRDT", "P1"), entry("1,00", "CRDT", "P2")
    put(folder, a__xml=statement(7, "0.00", "2.00", good, bad))
    with pytest.raises(
        SourceError, match=r"a\.xml.*statement S7, entry 2: '1,00' is not an amount"
    ):
        await read(Camt053(folder))


async def test_a_file_that_is_too_large_is_not_read(folder: Folder) -> None:
    put(folder, a__xml=statement(1, "0.00", "0.00"))
    small = Folder(folder.path, "*.*", largest=100)
    with pytest.raises(SourceError, match=r"a\.xml is larger than 100 bytes: .* say largest="):
        await read(Camt053(small))


# BAI2 -----------------------------------------------------------------------------------------------------------------

BAI = """01,122099999,123456789,261105,0200,1,80,1,2/
02,031001234,122099999,1,261105,,USD,2/
03,0123456789,USD,010,10000,,,015,{closing},,/
16,165,2500,,BANKREF1,run/collect,DEPOSIT/
16,475,500,,BANKREF2,,CHECK PAID/
49,{control},4/
98,{control},1,6/
99,{control},1,8/
"""


async def test_a_bai2_file_says_what_moved(folder: Folder) -> None:
    put(folder, a__bai=BAI.format(closing=12000, control=25000))
    items, feed = await read(Bai2(folder, keyed=True))
    assert feed.flaws == ()
    assert [(each.id, each.amount, each.currency, each.kind, each.key) for each in items] == [
        ("0123456789/BANKREF1", 2500, "USD", "credit", "run/collect"),
        ("0123456789/BANKREF2", -500, "USD", "debit", None),
    ]


async def test_a_bai2_file_that_does_not_add_up_is_not_complete(folder: Folder) -> None:
    put(folder, a__bai=BAI.format(closing=12100, control=25100))
    _, feed = await read(Bai2(folder))
    assert [(each.fault, each.minor) for each in feed.flaws] == [(Fault.SUM, 100)]


@pytest.mark.parametrize(
    ("says", "instead"),
    [("49,25000,4/", "49,25001,4/"), ("49,25000,4/", "49,25000,5/"), ("98,25000,1,6/", "98,25000,2,6/"), ("99,25000,1,8/", "99,25000,1,9/")],
)  # fmt: skip
async def test_a_bai2_file_that_is_not_what_its_trailers_say_is_not_believed(
    folder: Folder, says: str, instead: str
) -> None:
    put(folder, a__bai=BAI.format(closing=12000, control=25000).replace(says, instead))
    with pytest.raises(SourceError, match="the trailer of a"):
        await read(Bai2(folder))


async def test_a_bai2_record_may_go_on(folder: Folder) -> None:
    text = BAI.format(closing=12000, control=25000)
    text = text.replace(
        "16,165,2500,,BANKREF1,run/collect,DEPOSIT/",
        "16,165,2500,V,261106,0900/\n88,BANKREF1,run/collect,DEPO\n88,SIT/",
    )
    text = (
        text.replace(",4/", ",6/")
        .replace("1,6/", "1,8/")
        .replace("1,8/\n99,25000,1,8/", "1,8/\n99,25000,1,10/")
    )
    put(folder, a__bai=text)
    items, feed = await read(Bai2(folder, keyed=True))
    assert feed.flaws == ()
    assert (items[0].id, items[0].key, items[0].amount) == (
        "0123456789/BANKREF1",
        "run/collect",
        2500,
    )


@pytest.mark.parametrize(
    ("says", "instead", "said"),
    [
        ("16,165,2500,", "16,165,25.00,", r"line 4 \(16\): '25.00' is no amount"),
        ("16,165,2500,", "16,165,2_500,", r"line 4 \(16\): '2_500' is no amount"),
        ("16,165,2500,,BANKREF1,run/collect,DEPOSIT/", "16,165/", r"line 4 \(16\): a field is missing"),
        ("16,165,", "17,165,", r"line 4 \(17\): a record 17 is out of place"),
    ],
)  # fmt: skip
async def test_a_bai2_record_that_cannot_be_read_is_named(
    folder: Folder, says: str, instead: str, said: str
) -> None:
    put(folder, a__bai=BAI.format(closing=12000, control=25000).replace(says, instead))
    with pytest.raises(SourceError, match=rf"a\.bai is not a BAI2 file.*{said}"):
        await read(Bai2(folder))


async def test_a_bai2_text_with_a_strange_byte_is_one_line(folder: Folder) -> None:
    """0x85 is three dots in a code page of Windows, and the end of a line to Python."""
    text = BAI.format(closing=12000, control=25000).replace("DEPOSIT", "DEPOSIT\x85")
    (folder.path / "a.bai").write_bytes(text.replace("\n", "\r\n").encode("latin-1"))
    items, feed = await read(Bai2(folder))
    assert (len(items), feed.flaws) == (2, ())


async def test_a_bai2_file_that_is_cut_is_not_believed(folder: Folder) -> None:
    put(folder, a__bai=BAI.format(closing=12000, control=25000)[:200])
    with pytest.raises(SourceError, match="not a BAI2 file"):
        await read(Bai2(folder))


# Tables ---------------------------------------------------------------------------------------------------------------

ITEM = columns(
    id="id", amount="amount", currency="EUR", at="day", key="key", fee="fee", reference="note"
)
HEAD = "id,amount,day,key,fee,note\n"


def rows(count: int) -> str:
    return HEAD + "".join(
        f'r{n},{n}.05,2026-11-{1 + n % 28:02},k{n},0.10,"a, ""b"" ü"\n' for n in range(count)
    )


async def test_a_table_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(b"\xef\xbb\xbf" + rows(4500).encode())
    items, feed = await read(Table(path, ITEM, count=4500))
    assert (len(items), feed.pages, feed.flaws) == (4500, 3, ())
    last = items[-1]
    assert (last.id, last.amount, last.key, last.fee, last.reference) == (
        "r4499",
        449_905,
        "k4499",
        10,
        'a, "b" ü',
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is cut, or empty"),
        (rows(3)[:-4], "it is cut, or empty"),
        (HEAD + "r1,1.00,2026-11-01\n", "3 cells, where the header has 6"),
        (HEAD + 'r1,"1,00",2026-11-01,k,,\n', "is not an amount"),
        (HEAD + "r1,1.00,yesterday,k,,\n", "Invalid isoformat"),
        (rows(4).replace("ü", "u"), "has 4 rows, and must have 3"),
        (
            (HEAD + "r1,1.00,2026-11-01,k,,ü\n").encode("latin-1"),
            "line 2: it is no row of utf-8-sig",
        ),
        (HEAD + 'r1,1.00,2026-11-01,k,,"two\nlines"\n', "line 2: it is no row of utf-8-sig"),
        (
            HEAD + "r1,1.00,2026-11-01,k,," + "x" * 1_000_001 + "\n",
            "line 2: it is longer than 1,000,000 bytes",
        ),
        (HEAD.replace("fee", "key"), "several columns are called key"),
        (
            HEAD.replace("fee", "fees") + "r1,1.00,2026-11-01,k,,\n",
            "has no column 'fee', but id, amount",
        ),
    ],
    ids=[
        "empty",
        "cut",
        "cells",
        "comma",
        "day",
        "count",
        "latin",
        "lines",
        "long",
        "twice",
        "column",
    ],
)
async def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError, match=said):
        await read(Table(path, ITEM, count=3))


async def test_a_table_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(rows(2500))
    first = await Table(path, ITEM).page(None, NOVEMBER)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="has changed"):
        await Table(path, ITEM).page(first.next, NOVEMBER)


async def test_a_table_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no file .*not the same as one without rows"):
        await read(Table(tmp_path / "export.csv", ITEM))


def test_a_table_needs_its_columns() -> None:
    with pytest.raises(UsageError):
        columns(id="", amount="a", currency="EUR", at="b")
    for terms in ({"count": -1}, {"count": "3"}, {"delimiter": ""}, {"delimiter": ";;"}):
        with pytest.raises(UsageError):
            Table(Path("export.csv"), ITEM, **terms)  # type: ignore[arg-type]


# In a run -------------------------------------------------------------------------------------------------------------


async def test_a_statement_that_leaves_one_out_names_it_and_can_be_vouched_for(
    books: Books, folder: Folder
) -> None:
    """Its closing balance includes what it does not list: a break by the arithmetic, with a hint what it was."""
    day = datetime.now(UTC).date() - timedelta(days=9)
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    text = statement(7, "100.00", "70.00", entry("10.00", "DBIT", "P", e2e="E1"), day=5)
    put(folder, a__xml=text.replace("2026-11-05", day.isoformat()))
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    put(folder, b__xml=statement(8, "70.00", "70.00").replace("2026-11-05", yesterday))
    books.ours.items = [
        Item("run/1", -1000, "EUR", at, "E1"),
        Item("run/2", -2000, "EUR", at, "E2"),
    ]
    bank = Camt053(folder, keyed=True)
    line = await books.run(theirs=bank, grace=timedelta(days=2))
    assert line.verdict == "unproven"
    (found,) = await books.breaks()
    assert (found.subject, found.kind, found.minor) == (
        "statement:theirs:S7",
        "statement_arithmetic",
        2000,
    )
    assert "that is just run/2 of ours" in found.note
    until = datetime.now(UTC) + timedelta(days=30)
    await books.rows(
        "UPDATE {}.reconcile_break SET state = 'accepted', until = %s, explained_by = 'ada' WHERE id = %s",
        until, found.id,
    )  # fmt: skip
    line = await books.run(theirs=bank, grace=timedelta(days=2))
    assert kinds(await books.breaks()) == {
        "statement:theirs:S7": "statement_arithmetic", "key:E2": "missing_theirs",
    }  # fmt: skip
