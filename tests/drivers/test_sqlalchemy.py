"""SQLAlchemy 2 with the ORM, and Alembic's migrations up, down and written by comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import main as alembic
from sqlalchemy import orm
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.drivers.place import Place


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "sa_author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    data: orm.Mapped[dict[str, Any] | None] = orm.mapped_column(JSONB)
    books: orm.Mapped[list[Book]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "sa_book"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str]
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("sa_author.id"))
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


def address(place: Place, driver: str) -> sa.URL:
    env = place.through()
    return sa.URL.create(
        f"postgresql+{driver}", env["PGUSER"], env["PGPASSWORD"], env["PGHOST"], int(env["PGPORT"]),
        env["PGDATABASE"],
    )  # fmt: skip


@pytest.fixture
def engine(place: Place) -> Iterator[sa.Engine]:
    engine = sa.create_engine(address(place, "psycopg"))
    Base.metadata.create_all(engine)
    yield engine
    Base.metadata.drop_all(engine)
    engine.dispose()


def test_the_orm_reads_writes_and_reflects(engine: sa.Engine) -> None:
    with orm.Session(engine) as session:
        session.add_all(
            Author(name=f"name {i}", data={"i": i}, books=[Book(title=f"{i}.{j}") for j in range(3)])
            for i in range(50)
        )
        session.commit()
        query = sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.id)
        authors = session.scalars(query).all()
        assert [len(author.books) for author in authors] == [3] * 50
        assert session.scalar(sa.select(sa.func.count()).select_from(Book).join(Author)) == 150
        upsert = insert(Author).values(name="name 1", data={"i": -1})
        session.execute(upsert.on_conflict_do_update(index_elements=["name"], set_={"data": {"i": -1}}))
        session.expire_all()
        assert session.scalars(sa.select(Author).filter_by(name="name 1")).one().data == {"i": -1}
        with pytest.raises(sa.exc.IntegrityError):
            session.execute(sa.insert(Author).values(name="name 2"))
        session.rollback()
        assert len(list(session.execute(sa.select(Book).execution_options(yield_per=10)))) == 150
    found = sa.MetaData()
    found.reflect(engine, only=["sa_author", "sa_book"])
    assert [f.target_fullname for f in found.tables["sa_book"].foreign_keys] == ["sa_author.id"]


async def test_the_same_without_blocking(place: Place, engine: sa.Engine) -> None:
    other = create_async_engine(address(place, "asyncpg"))
    async with AsyncSession(other) as session:
        session.add(Author(name="Ada", books=[Book(title="Notes")]))
        await session.commit()
        found = await session.scalars(sa.select(Book.title).join(Author).where(Author.name == "Ada"))
        assert found.all() == ["Notes"]
    await other.dispose()


ENVIRONMENT = """
import os
from alembic import context
import sqlalchemy as sa
from tests.drivers.test_sqlalchemy import Base

engine = sa.create_engine(os.environ["URL"])
with engine.connect() as connection:
    context.configure(
        connection, target_metadata=Base.metadata, version_table="sa_version",
        include_name=lambda name, kind, parents: kind != "table" or name.startswith("sa_"),
    )
    with context.begin_transaction():
        context.run_migrations()
"""
HAND_WRITTEN = '''
"""An enum, an index that is built concurrently, and data."""
from alembic import op
import sqlalchemy as sa
revision, down_revision = "second", "first"

def upgrade():
    kind = sa.Enum("novel", "poem", name="sa_kind")
    kind.create(op.get_bind())
    op.add_column("sa_book", sa.Column("kind", kind, server_default="novel", nullable=False))
    op.bulk_insert(sa.table("sa_author", sa.column("name")), [{"name": "one"}, {"name": "two"}])
    op.execute("update sa_author set data = '{}' where data is null")
    with op.get_context().autocommit_block():
        op.create_index("sa_book_title", "sa_book", ["title"], postgresql_concurrently=True)

def downgrade():
    op.drop_index("sa_book_title")
    op.drop_column("sa_book", "kind")
    op.execute("drop type sa_kind")
'''


def test_alembic_migrates_up_and_down_and_compares(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("URL", address(place, "psycopg").render_as_string(hide_password=False))
    versions = tmp_path / "migrations/versions"
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")

    def revision(name: str) -> Path:
        alembic(["revision", "--autogenerate", "-m", name, "--rev-id", name])
        [file] = versions.glob(f"{name}*.py")
        return file

    alembic(["init", "migrations"])
    (tmp_path / "migrations/env.py").write_text(ENVIRONMENT)
    assert "sa_author" in revision("first").read_text()
    (versions / "second.py").write_text(HAND_WRITTEN)
    alembic(["upgrade", "head"])
    assert place.sql("select version_num from sa_version") == "second"
    assert place.sql("select count(*) from sa_author where data = '{}'") == "2"
    third = revision("third")
    assert "op.drop_index(op.f('sa_book_title')" in third.read_text()
    assert "op.drop_column('sa_book', 'kind')" in third.read_text()
    third.unlink()
    alembic(["downgrade", "first"])
    alembic(["downgrade", "base"])
    assert place.sql("select to_regclass('sa_author')") == ""
    place.sql("drop table sa_version")
