"""Two states of the masked values: an answer that differs between them tells something of them."""

# ruff: noqa: E501 - one statement of SQL is one line

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.harness import Gate
from tests.leaks.attack import Heard, How, at_the_database, at_the_gate, tell
from tests.masking.schema import MASK, SETUP
from tests.proxy.wire import Wire

MASK_RULES = f"""
[[mask]]
name = "pii"
columns = {list(MASK.columns)!r}
method = "redact"
except_grants = ["dba"]
predicates = "block"
""".replace("'", '"')

_THIRD = """
insert into customers (id, name, ssn, email, card, salary, score, born, tags, raw, note) values
    (3, 'Cyd', 'Milan-55', 'm@m.m', 'm', 1000, 9, '1950-01-01', '{m}', 'milan', 'third');
"""
"""A row whose masked values are the same in both states, for what depends on an order."""
_OTHER = """
update customers set ssn = 'Zulu-99', email = 'z@z.z', card = 'none', salary = 17, score = 0.5, born = '2001-01-01',
    uid = '00000000-0000-0000-0000-000000000001', doc = '{"k": "zz", "m": [1, 2, 3]}', tags = '{a,b,c}', raw = 'zulu',
    seen = '2001-01-01', addr = '("s","t")', level = 'gradeone', ip = '10.0.0.1', span = '[1,3)', code = 'zulu' where id = 1;
update events set ssn = 'Zulu-99';
update child set secret = 'Zulu-99';
"""
_FIRST = """
update customers c set (ssn, email, card, salary, score, born, uid, doc, tags, raw, seen, addr, level, ip, span, code) =
    (select ssn, email, card, salary, score, born, uid, doc, tags, raw, seen, addr, level, ip, span, code from kept) where id = 1;
update events set ssn = 'Kanarie-SSN-7781';
update child set secret = 'Kanarie-SSN-7781';
"""
_KEEP = "drop table if exists keeper.kept; create table keeper.kept as select * from customers where id = 1;"
_CLEAN = "drop schema public cascade; drop schema if exists other cascade; create schema public;"


@dataclass
class Answers:
    """What one attack brought, at the database and through the gateway, in the two states."""

    direct: tuple[Heard, Heard]
    through: tuple[Heard, Heard]


class States:
    """Brings the database back to a known state, with the one or the other values."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.connection: asyncpg.Connection[Any]
        self._first = True

    async def open(self) -> None:
        self.connection = await self.gate.database.connect()
        await self.connection.execute("create schema keeper")
        await self.connection.execute(_KEEP + _THIRD)
        await self._settle()

    async def close(self) -> None:
        await self.connection.close()

    async def rebuild(self) -> None:
        """Everything anew, as nobody's statement changed it; the gateway looks at the catalog again."""
        await self.connection.execute(_CLEAN + SETUP + _KEEP + _THIRD)
        await self._settle()
        self._first = True
        async with at_the_gate(self.gate, "dba") as wire:
            await tell(wire, ["create table passing ()", "drop table passing", "select 1"])

    async def ask(self, attacks: Iterable[str], how: How = "simple", grant: str = "ci") -> dict[str, Answers]:
        """All these attacks in both states, each undone after it was told."""
        found: dict[str, list[Heard]] = {attack: [] for attack in attacks}
        for first in (True, False):
            await self.values(first=first)
            async with at_the_database(self.gate) as direct:
                for attack, heard in found.items():
                    heard.append(await self._told(direct, attack, how))
                    await tell(direct, ["discard all"])
                    async with at_the_gate(self.gate, grant) as wire:
                        heard.append(await self._told(wire, attack, how))
        await self.values(first=True)
        return {attack: Answers((h[0], h[2]), (h[1], h[3])) for attack, h in found.items()}

    @staticmethod
    async def _told(wire: Wire, attack: str, how: How) -> Heard:
        await tell(wire, ["begin"])
        heard = await tell(wire, attack.split(" ;; "), how)
        await tell(wire, ["rollback"])
        return heard

    async def values(self, *, first: bool) -> None:
        """Bring the one or the other values; rows stand in the same order."""
        if first != self._first:
            sql = _FIRST.replace("from kept", "from keeper.kept") if first else _OTHER
            await self.connection.execute(sql)
            await self._settle()
            self._first = first

    async def _settle(self) -> None:
        await self.connection.execute("cluster customers using customers_pkey")
        await self.connection.execute("refresh materialized view people_m; analyze")
