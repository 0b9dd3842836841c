"""A transaction step on an SQLAlchemy session: its rows and the journal entry are one commit."""

import asyncio

import psycopg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from troth import RunFailedError, Troth
from troth.integrations.sqlalchemy import SQLAlchemySource
from troth.store.connect import Database

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
database = Database.find()
# Your own URL, mostly; this is the very database that troth has found, whatever form its address has.
engine = create_async_engine(
    "postgresql+psycopg://", async_creator=lambda: psycopg.AsyncConnection.connect(database.url)
)


class Base(DeclarativeBase):
    pass


class Stock(Base):
    __tablename__ = "stock"
    article: Mapped[str] = mapped_column(primary_key=True)
    left: Mapped[int]


class SoldOutError(Exception):
    pass


@troth.transaction(via=SQLAlchemySource(engine), fails_on=SoldOutError)
async def reserve(session: AsyncSession, article: str) -> int:
    stock = await session.scalar(select(Stock).filter_by(article=article).with_for_update())
    if stock is None or not stock.left:
        raise SoldOutError(article)
    stock.left -= 1
    return stock.left  # troth flushes, records and commits


@troth.workflow(fails_on=SoldOutError)
async def order(article: str) -> int:
    return await reserve(article)


async def main() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        session.add(Stock(article="lamp", left=2))
    async with troth.worker():
        for _ in range(3):
            try:
                print(await (await troth.start(order, "lamp")).result(timeout=30), "left")
            except RunFailedError as error:
                print(error)
    await engine.dispose()
    database.close()


if __name__ == "__main__":
    asyncio.run(main())
