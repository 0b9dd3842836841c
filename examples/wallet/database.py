"""What both versions share: the tables, and sessions of SQLAlchemy on asyncpg."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[str] = mapped_column(primary_key=True)
    balance: Mapped[int]  # cents


class Deposit(Base):
    """Money that is on its way from a bank."""

    __tablename__ = "deposits"
    reference: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    amount: Mapped[int]
    status: Mapped[str] = mapped_column(default="pending")


class Transfer(Base):
    """Money that went from one account to another."""

    __tablename__ = "transfers"
    key: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    target: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    amount: Mapped[int]


_engines: dict[str, AsyncEngine] = {}


def engine() -> AsyncEngine:
    """The engine of this process, made when it is first needed."""
    url = os.environ.get("WALLET_DATABASE_URL", "postgresql+asyncpg:///wallet")
    if url not in _engines:
        _engines[url] = create_async_engine(url)
    return _engines[url]


async def create_tables() -> None:
    async with engine().begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


async def open_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine(), expire_on_commit=False) as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session)]
