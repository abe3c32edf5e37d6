"""The extended protocol: Parse to Sync, each judged before it goes on (PostgreSQL 18, 54.2.3)."""

from __future__ import annotations

from gatekeeper.events import StatementBound
from gatekeeper.model import Refusal, Undecided, Verdict
from gatekeeper.proxy.judge import Judgement
from gatekeeper.proxy.judging import END_RUN, RECORDED_UNDECIDED, REFUSED_PARSE, UNPARSABLE, ends_run
from gatekeeper.proxy.naming import Naming
from gatekeeper.proxy.pending import BIND, CLOSE, DESCRIBE, EXECUTE, PARSE, SYNC, Entry
from gatekeeper.proxy.pieces import RULES_CHANGED, is_plain
from gatekeeper.proxy.statements import Portal, Prepared, Run
from gatekeeper.proxy.wire import frontend
from gatekeeper.sql.values import as_text


class Extended(Naming):
    """Handles the messages of the extended protocol."""

    def _parse(self, message: bytes, now: float) -> None:
        parse = frontend.read_parse(message)
        name = self._key(parse.name)
        sql = self._text(parse.sql)
        if isinstance(sql, Refusal):
            self._refuse_unread(sql, REFUSED_PARSE, self._forgets(name, Entry(PARSE)))
            return
        judgement = self._judge(sql, now, undecided=True)
        verdict = judgement.verdict
        run = self._open(sql, judgement, now, "extended")
        if isinstance(verdict, Verdict) and verdict.refusal is not None:
            # Under the client's own name: a Parse that fails takes the old unnamed statement away.
            refused = frontend.parse(parse.name, UNPARSABLE)
            self._refuse(run, verdict.refusal, refused, self._forgets(name, Entry(PARSE)))
            return
        ending = ends_run(judgement)
        prepared = Prepared(
            sql, judgement, self.uncertain, run=run,
            opened_verdict=RECORDED_UNDECIDED if isinstance(verdict, Undecided) else verdict,
            parameter_types=parse.type_oids, ends_run=ending,
        )  # fmt: skip
        entry = Entry(PARSE, run=run, prepared=prepared)
        entry.slots.append((0, self.prepared.set(name, prepared, self._segment)))
        if ending:
            message = frontend.parse(parse.name, END_RUN)
        self.state_since = now
        self._send(message, entry, gate=True)

    def _forgets(self, name: bytes, entry: Entry) -> Entry:
        """A Parse that fails drops the unnamed statement all the same."""
        if not name:
            self.prepared.set(name, None, self._segment).confirm()
        return entry

    def _bind(self, message: bytes, now: float) -> None:
        bind = frontend.read_bind(message)
        prepared = self._bound_statement(bind.statement)
        if prepared is not None:
            params = params_of(prepared, bind.formats, bind.values)
            self._bind_to(prepared, bind, params, message, Entry(BIND), now)

    def _bound_statement(self, name: bytes) -> Prepared | None:
        """The statement that a Bind names; None where the Bind was refused for there is none."""
        prepared = self.prepared.get(self._key(name), self._segment)
        if prepared is None:
            what = f'prepared statement "{name.decode(self._codec, "replace")}"'
            what = what if name else "unnamed prepared statement"
            self._refuse_unread(Refusal("26000", f"{what} does not exist"), REFUSED_PARSE, Entry(BIND))
        return prepared

    def _bind_to(
        self, prepared: Prepared, bind: frontend.Bind, params: tuple[str | None, ...], message: bytes,
        entry: Entry, now: float,
    ) -> None:  # fmt: skip
        judgement = self._judgement_at_bind(prepared, params, now)
        if entry.in_pieces and not is_plain(judgement):
            self.end(RULES_CHANGED, "rules changed")
            return
        run = self._run or self._bound(prepared, judgement, params, now)
        run.judgement = judgement
        refusal = self._settled_verdict(run, judgement, params)
        if refusal is not None:
            self._refuse(run, refusal, REFUSED_PARSE, entry)
            return
        portal = Portal(
            prepared.sql,
            judgement,
            prepared,
            run,
            bind.result_formats,
            ends_run=prepared.ends_run,
            index=prepared.index,
            doubtful=prepared.doubtful,
        )
        entry.run, entry.portal = run, portal
        self._starts(run, judgement, now)  # what it may do to other portals, it does not do to its own
        entry.slots.append((0, self.portals.set(self._key(bind.portal), portal, self._segment)))
        self._send(message, entry, gate=True)

    def _judgement_at_bind(self, prepared: Prepared, params: tuple[str | None, ...], now: float) -> Judgement:
        """What was judged at Parse, judged anew where the rules, the catalog or the time have changed."""
        judgement = prepared.judgement
        if (
            judgement.epoch == self.judge.epoch
            and not self.judge.stale
            and not self.uncertain
            and not prepared.uncertain
            and now < judgement.valid_until
            and isinstance(judgement.verdict, Verdict)
        ):
            return judgement
        fresh = self._judge(prepared.sql, now, params)
        if self._estimates is None:
            prepared.judgement, prepared.index, prepared.uncertain = fresh, 0, self.uncertain
        return fresh

    def _bound(
        self, prepared: Prepared, judgement: Judgement, params: tuple[str | None, ...], now: float
    ) -> Run:
        """The record of this execution: the one that Parse opened, if it still says what is true."""
        run, prepared.run = prepared.run, None
        if run is not None and judgement.verdict == prepared.opened_verdict:
            self.events.append(StatementBound(now, self.info.id, run.n, params))
            self._run = run
            return run
        if run is not None:
            self.relay.close_run(run, "replaced", now)  # by the record of what was judged with its values
        return self._open(prepared.sql, judgement, now, "extended", params=params)

    def _describe(self, message: bytes, now: float) -> None:
        target = frontend.read_target(message)
        entry = Entry(DESCRIBE)
        name = self._key(target.name)
        if target.kind == "S":
            entry.prepared = self.prepared.get(name, self._segment)
            if entry.prepared is not None:
                entry.prepared.described_epoch = self.judge.epoch
        else:
            entry.portal = self.portals.get(name, self._segment)
            if entry.portal is not None:
                entry.portal.described = True
        self._send(message, entry)

    def _execute(self, message: bytes, now: float) -> None:
        raw, _ = frontend.read_execute(message)
        portal = self.portals.get(self._key(raw), self._segment)
        if portal is None:
            name = raw.decode(self._codec, "replace")
            self._refuse_unread(
                Refusal("34000", f'portal "{name}" does not exist'), REFUSED_PARSE, Entry(EXECUTE)
            )
            return
        judgement = portal.judgement
        if judgement.epoch != self.judge.epoch:
            refused = self._judged_again(portal, now)
            if refused is not None:
                run = self._open(portal.sql, refused[1], now, "extended")
                self._refuse(run, refused[0], REFUSED_PARSE, Entry(EXECUTE))
                return
            judgement = portal.judgement
        run = portal.run or self._run or self._open(portal.sql, judgement, now, "extended")
        entry = Entry(EXECUTE, run=run, portal=portal)
        if portal.doubtful:
            run.plans[0] = self.judge.unknown(), 0
        elif not judgement.plain and portal.prepared is not None and not portal.prepared.by_sql:
            refusal = self._names_in(judgement, entry, now)
            if refusal is not None:
                self._refuse(run, refusal, REFUSED_PARSE, entry)
                return
        if run.closed:
            # The portal is executed again: it gives what is left of it, under the same record.
            run.closed = False
        run.ends_run = portal.ends_run
        if not self._is_described(portal):
            portal.described = True
            self._send(frontend.describe("P", raw), Entry(DESCRIBE, portal=portal, injected=True))
        self._send(message, entry, gate=portal.run is None)

    def _is_described(self, portal: Portal) -> bool:
        """Whether the server has told, or was asked to tell, what rows the portal gives."""
        if portal.described:
            return True
        # What was told of the statement may be of other tables, where search_path or an uncommitted DDL has
        # changed what its names mean: masks need to know what is true of this portal.
        if portal.doubtful or portal.judgement.plan.touches or not portal.judgement.plain:
            return False
        prepared = portal.prepared
        return prepared is not None and prepared.described_epoch == self.judge.epoch

    def _close(self, message: bytes, now: float) -> None:
        target = frontend.read_target(message)
        entry = Entry(CLOSE)
        name = self._key(target.name)
        if target.kind == "S":
            entry.slots.append((0, self.prepared.set(name, None, self._segment)))
        else:
            entry.slots.append((0, self.portals.set(name, None, self._segment)))
        self._send(message, entry)

    def _sync(self, message: bytes, now: float) -> None:
        self._send(message, Entry(SYNC))
        self._segment += 1

    def _flush(self, message: bytes, now: float) -> None:
        self.to_server.append(message)


def params_of(
    prepared: Prepared, formats: tuple[int, ...], values: tuple[bytes | None, ...]
) -> tuple[str | None, ...]:
    """Parameters as people read them."""
    types = prepared.parameter_types
    return tuple(
        as_text(types[i] if i < len(types) else 0, formats[i], value) for i, value in enumerate(values)
    )
