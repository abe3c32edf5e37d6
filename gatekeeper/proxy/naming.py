"""Names in SQL and in the protocol: what PREPARE, EXECUTE, DECLARE and FETCH mean on the server."""

from __future__ import annotations

from typing import Final

from gatekeeper.errors import ProtocolError
from gatekeeper.masking.plan import MaskPlan
from gatekeeper.model import Action, Refusal, StatementFacts, Undecided, Verdict
from gatekeeper.proxy.judge import Judgement
from gatekeeper.proxy.judging import Judging
from gatekeeper.proxy.names import UnsettledError
from gatekeeper.proxy.pending import Entry
from gatekeeper.proxy.state import Blocked
from gatekeeper.proxy.statements import Portal, Prepared

_NAME_BYTES: Final = 63
"""NAMEDATALEN - 1: the server cuts names there."""


class Naming(Judging):
    """Follows the names of prepared statements, portals and cursors."""

    def _names_in(self, judgement: Judgement, entry: Entry, now: float) -> Refusal | None:
        """Follow PREPARE, EXECUTE, DECLARE and FETCH in SQL; gives a refusal where one cannot be followed."""
        try:
            refusal = self._follow_names(judgement, entry, now)
        except (Blocked, UnsettledError):
            _take_back(entry)
            raise
        if refusal is not None:
            _take_back(entry)
        return refusal

    def _follow_names(self, judgement: Judgement, entry: Entry, now: float) -> Refusal | None:
        run = entry.run
        assert run is not None
        for index, statement in enumerate(judgement.facts.statements):
            plan = self._plan_by_name(statement, now)
            if isinstance(plan, Refusal):
                return plan
            if plan is not None:
                run.plans[index] = plan
            if statement.prepares is not None:
                made = Prepared(statement.text, judgement, self.uncertain, by_sql=True, index=index)
                slot = self.prepared.set(self._name(statement.prepares), made, self._segment)
                entry.slots.append((index, slot))
            if statement.declares is not None:
                cursor = Portal(statement.text, judgement, None, index=index)
                entry.slots.append(
                    (index, self.portals.set(self._name(statement.declares), cursor, self._segment))
                )
        return None

    def _plan_by_name(self, statement: StatementFacts, now: float) -> tuple[MaskPlan, int] | Refusal | None:
        """The plan of what EXECUTE or FETCH names; None where the statement names nothing."""
        if statement.executes is not None:
            target = self.prepared.get(self._name(statement.executes), self._segment)
            if target is None:
                return Refusal("26000", f'prepared statement "{statement.executes}" does not exist')
            if target.judgement.epoch != self.judge.epoch:
                target.judgement, target.index = self._judge(target.sql, now), 0
                verdict = target.judgement.verdict
                if isinstance(verdict, Verdict) and verdict.action not in (Action.ALLOW, Action.WARN):
                    return verdict.refusal or Refusal(
                        "42501",
                        f'prepared statement "{statement.executes}" was prepared under older rules',
                        hint="Prepare it again.",
                    )
            if statement.tag != "EXECUTE" and target.judgement.plan.touches:
                return Refusal("42501", "masked columns cannot be read through EXECUTE here")
            plan = self.judge.unknown() if target.doubtful else target.judgement.plan
            return plan, target.index
        if statement.fetches is not None:
            portal = self.portals.get(self._name(statement.fetches), self._segment)
            if portal is not None and portal.judgement.epoch != self.judge.epoch:
                refused = self._judged_again(portal, now)
                if refused is not None:
                    return refused[0]
                portal.doubtful = True  # names may mean other relations now than those that it reads
            if portal is None or portal.doubtful:
                return self.judge.unknown(), 0
            return portal.judgement.plan, portal.index
        return None

    def _judged_again(self, portal: Portal, now: float) -> tuple[Refusal, Judgement] | None:
        """A portal or cursor that was judged under older rules or names is judged anew before it runs.

        Gives the refusal and its judgement, where it comes to one; the portal then stays as it was, and is
        judged again the next time.
        """
        fresh = self._judge(portal.sql, now, undecided=True)
        before, verdict = portal.judgement.verdict, fresh.verdict
        if isinstance(verdict, Undecided):
            # By the same rules it was decided when it was bound; what others estimate now, nobody has asked.
            same = portal.judgement.rules_version == fresh.rules_version
        elif verdict.refusal is not None:
            return verdict.refusal, fresh
        else:
            same = verdict.hold is None or (isinstance(before, Verdict) and before.hold == verdict.hold)
        if not same:
            return Refusal("42501", "the rules changed after this was bound", hint="Bind it again."), fresh
        portal.judgement, portal.index = fresh, 0
        if portal.run is not None:
            portal.run.judgement = fresh
        return None

    def _name(self, name: str) -> bytes:
        raw = name.encode(self._codec, "replace")
        if len(raw) > _NAME_BYTES - 4 and not raw.isascii():
            raise ProtocolError("the name of a statement or cursor is too long")  # the parser may have cut it
        return self._key(raw)

    def _key(self, raw: bytes) -> bytes:
        """What the server keeps of a name.

        It converts a name to its own encoding and cuts it there. Where two names of the client could come to
        be one of the server's, or the reverse, nobody could say which statement is meant.
        """
        if raw.isascii():
            return raw[:_NAME_BYTES]
        if not self._utf8 or len(raw) > _NAME_BYTES:
            raise ProtocolError("the name of a statement or portal must be ASCII, or short and in UTF8")
        return raw


def _take_back(entry: Entry) -> None:
    """The entry will not be sent: names keep their old meaning."""
    for _, slot in reversed(entry.slots):
        slot.revert()
    entry.slots.clear()
