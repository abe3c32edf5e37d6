"""The server's half of a session: what it sends goes on to the client, masked and counted on the way.

One pass over what was received: slices that need no change are forwarded whole, and no object is made for a
row that is neither masked nor kept.
"""

from __future__ import annotations

from struct import Struct, error
from typing import TYPE_CHECKING, Final

from gatekeeper.errors import ProtocolError
from gatekeeper.events import Sample, StatementClosed
from gatekeeper.masking.copy import CopyMasker
from gatekeeper.masking.plan import MaskPlan
from gatekeeper.masking.rows import Field, RowMasker
from gatekeeper.model import Refusal
from gatekeeper.proxy import actions
from gatekeeper.proxy.pending import BIND, CLOSE, DESCRIBE, EXECUTE, FUNCTION, PARSE, QUERY, SYNC, Entry
from gatekeeper.proxy.statements import Run
from gatekeeper.proxy.wire import backend
from gatekeeper.proxy.wire.framing import HEADER_BYTES, MAX_MESSAGE_BYTES
from gatekeeper.sql.values import as_text

if TYPE_CHECKING:
    from gatekeeper.proxy.judging import Judging

_int32: Final = Struct("!i").unpack_from
_int16: Final = Struct("!h").unpack_from
_DATA_ROW: Final = ord("D")
_COPY_DATA: Final = ord("d")
_MOST_MASKERS: Final = 128
_LARGE_BYTES: Final = 262_144
"""A row longer than this is forwarded as it comes, and not kept, where it is not masked."""
_MOST_SAMPLE_CELL: Final = 4096
"""Characters of a value that are kept for replay."""


class Relay:
    """Reads the server's messages and gives the client's bytes to the session's outbox."""

    def __init__(self, session: Judging, record_rows: int) -> None:
        self._session = session
        self._record_rows = record_rows
        self.status = "I"
        """Of the last ReadyForQuery: I idle, T in a transaction, E in a failed one."""
        self.transaction_started_at: float | None = None
        self.transaction_statements = 0
        self.search_path: str | None = None
        """As the server reports it; None where it does not."""
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        """Bytes that the message in `_parts` has in all; 0 where its header is not there yet."""
        self._passing = 0
        """Bytes to come of a message whose beginning has gone to the client already."""
        self._notices: list[bytes] = []
        self._farewell = False
        """The server has ended the session with a FATAL error of its own."""
        self._row_known = False
        self._masker: RowMasker | None = None
        self._sample_left = 0
        self._fields: tuple[Field, ...] = ()
        self._copy: CopyMasker | None = None
        self._copying_in = False
        self._maskers: dict[tuple[int, int, tuple[Field, ...]], tuple[MaskPlan, RowMasker | None]] = {}
        self._encoding = "utf-8"
        self._last_run: Run | None = None
        self._ends_run = False
        self._handlers = {
            ord("1"): self._parse_complete,
            ord("2"): self._bind_complete,
            ord("3"): self._close_complete,
            ord("t"): self._parameter_description,
            ord("T"): self._row_description,
            ord("n"): self._no_data,
            ord("D"): self._data_row,
            ord("C"): self._command_complete,
            ord("I"): self._empty_query,
            ord("s"): self._portal_suspended,
            ord("E"): self._error,
            ord("N"): self._notice,
            ord("Z"): self._ready,
            ord("S"): self._parameter_status,
            ord("A"): self._as_it_is,
            ord("G"): self._copy_in,
            ord("H"): self._copy_out,
            ord("d"): self._copy_data,
            ord("c"): self._copy_done,
            ord("V"): self._function_result,
        }

    # --- framing ----------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take what the server sent. Raises ProtocolError where it makes no sense."""
        if self._passing:
            if len(data) <= self._passing:
                self._passing -= len(data)
                self._session.to_client.append(data)
                if not self._passing:
                    self._boundary()
                return
            self._session.to_client.append(data[: self._passing])
            data = data[self._passing :]
            self._passing = 0
            self._boundary()
        if self._parts:
            joined = self._join(data)
            if joined is None:
                return
            data = joined
        try:
            self._scan(data, now)
        except (error, ValueError) as problem:
            raise ProtocolError("a message from the server whose fields do not fit it") from problem

    def _join(self, data: bytes) -> bytes | None:
        """Add to the message that is not all there; None while it still is not.

        Less than a header is looked at again: with its header, a message may be one that streams.
        """
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return None
        whole = b"".join(self._parts)
        self._parts = []
        self._have = self._need = 0
        return whole

    @staticmethod
    def _length(data: bytes, position: int) -> int:
        length: int = _int32(data, position + 1)[0]
        if length < 4 or length > MAX_MESSAGE_BYTES:
            raise ProtocolError("invalid message length from the server")
        return length

    def _scan(self, data: bytes, now: float) -> None:
        out = self._session.to_client
        size = len(data)
        position = kept = 0  # data[kept:position] goes to the client as it is
        while size - position >= HEADER_BYTES:
            kind = data[position]
            (length,) = _int32(data, position + 1)
            end = position + 1 + length
            if end > size or length < 4:
                self._length(data, position)
                break
            if kind == _DATA_ROW and self._row_known and self._masker is None and not self._sample_left:
                position = end
                continue
            handler = self._handlers.get(kind)
            if handler is None:
                raise ProtocolError(f"unexpected message type {kind} from the server")
            replaced = handler(data, position, end, now)
            if replaced is not None:
                if kept < position:
                    out.append(data[kept:position])
                if replaced:
                    out.append(replaced)
                kept = end
            position = end
        if position < size and self._passes(data, position, size):
            position = size
        if kept < position:
            out.append(data if not kept and position == size else data[kept:position])
        if position < size:
            if data[position] not in self._handlers:
                raise ProtocolError(f"unexpected message type {data[position]} from the server")
            self._parts = [data[position:]]
            self._have = size - position
            self._need = 1 + self._length(data, position) if self._have >= HEADER_BYTES else 0
        if self._notices and not self._passing:
            self._boundary()

    def _passes(self, data: bytes, position: int, size: int) -> bool:
        """Whether the message that is not all there can go on as it comes: a row or CopyData as it is."""
        if size - position < HEADER_BYTES:
            return False
        kind = data[position]
        length = self._length(data, position)
        if kind == _DATA_ROW:
            if length < _LARGE_BYTES or not self._knows_rows() or self._masker is not None:
                return False
            self._keep_blank(length)
        elif kind != _COPY_DATA or self._copy is not None:
            return False
        self._passing = position + 1 + length - size
        return True

    def _keep_blank(self, length: int) -> None:
        """A row that is too large for the sample is counted in it."""
        head = self._session.pending.head
        if self._sample_left and head is not None and head.run is not None:
            self._sample_left -= 1
            blank = (None,) * (len(self._fields) - 1)
            head.run.sample.append((f"(a row of {length} bytes, not kept)", *blank))

    def _boundary(self) -> None:
        """Between two messages, what is ours may go to the client."""
        if self._notices:
            self._session.to_client.extend(self._notices)
            self._notices.clear()

    def notice(self, message: bytes) -> None:
        """Send the client a NoticeResponse of ours, as soon as no message is cut by it."""
        if self._passing:
            self._notices.append(message)
        else:
            self._session.to_client.append(message)

    def fatal(self, refusal: Refusal) -> None:
        """Send the client a FATAL error of ours; where a message is under way, closing has to be enough.

        Where the server has sent one already, ours would be a second.
        """
        if not self._passing and not self._farewell:
            self._session.to_client.append(backend.error_response(refusal, "FATAL", self._encoding))

    # --- results ----------------------------------------------------------------------------------------

    def _plan(self, entry: Entry) -> tuple[MaskPlan, int] | None:
        run = entry.run
        if run is not None:
            return run.plans.get(entry.index) or (
                run.judgement.plan,
                entry.portal.index if entry.portal is not None else entry.index,
            )
        if entry.portal is not None:
            return entry.portal.judgement.plan, entry.portal.index
        if entry.prepared is not None:
            return entry.prepared.judgement.plan, entry.prepared.index
        return None

    def _mask_for(self, plan: MaskPlan, index: int, fields: tuple[Field, ...]) -> RowMasker | None:
        if not plan.touches:
            return None
        key = (id(plan), index, fields)
        found = self._maskers.get(key)
        if found is None:
            if len(self._maskers) >= _MOST_MASKERS:
                self._maskers.clear()
            found = self._maskers[key] = (plan, plan.rows(index, fields))
        return found[1]

    def _begin_rows(self, entry: Entry, fields: tuple[Field, ...]) -> None:
        """The rows that come now have these fields."""
        self._row_known = True
        self._fields = fields
        plan = self._plan(entry)
        if plan is None:
            raise ProtocolError("rows for a statement that nobody judged")
        self._masker = self._mask_for(*plan, fields)
        run = entry.run
        if run is None:
            return
        if not run.columns or entry.kind == EXECUTE:
            run.columns = tuple(f.name for f in fields)
            self._sample_left = self._record_rows - len(run.sample) if fields else 0
        if self._masker is not None:
            run.masked.update(dict.fromkeys(self._masker.masked))

    def _knows_rows(self) -> bool:
        """Whether the shape of the rows that come now is known; an Execute has it from its portal."""
        if not self._row_known:
            entry = self._session.pending.head
            portal = entry.portal if entry is not None and entry.kind == EXECUTE else None
            if entry is not None and portal is not None and portal.shape is not None:
                self._begin_rows(entry, portal.shape)
        return self._row_known

    def _end_rows(self) -> None:
        self._row_known = False
        self._masker = None
        self._sample_left = 0

    def _data_row(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        if entry is None or not self._knows_rows():
            raise ProtocolError("a row of unknown shape")
        masker = self._masker
        body = data[position + HEADER_BYTES : end]
        if masker is not None:
            body = masker.apply(body)
        if masker is None and len(body) + 4 >= _LARGE_BYTES:
            self._keep_blank(len(body) + 4)
        elif self._sample_left and entry.run is not None:
            self._sample_left -= 1
            entry.run.sample.append(self._texts(body))
        if masker is None:
            return None
        return b"D" + (len(body) + 4).to_bytes(4, "big") + body

    def _texts(self, body: bytes) -> tuple[str | None, ...]:
        cells = backend.read_cells(body)
        texts = []
        for cell, shape in zip(cells, self._fields, strict=True):
            text = as_text(shape.type_oid, shape.format, cell)
            if text is not None and len(text) > _MOST_SAMPLE_CELL:
                text = text[:_MOST_SAMPLE_CELL] + "…"
            texts.append(text)
        return tuple(texts)

    def _row_description(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        fields = backend.read_row_description(data[position + HEADER_BYTES : end], self._encoding)
        if entry is not None and entry.kind == QUERY:
            self._begin_rows(entry, fields)
            return None
        return self._described(entry, fields)

    def _no_data(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        return self._described(self._session.pending.head, ())

    def _described(self, entry: Entry | None, fields: tuple[Field, ...]) -> bytes | None:
        if entry is None or entry.kind != DESCRIBE:
            raise ProtocolError("a description that nobody asked for")
        self._session.pending.pop()
        if entry.portal is not None:
            entry.portal.fields = fields
        elif entry.prepared is not None:
            entry.prepared.fields = fields
        return b"" if entry.injected else None

    def _parameter_description(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        if entry is None or entry.kind != DESCRIBE:
            raise ProtocolError("a description that nobody asked for")
        if entry.prepared is not None:
            (count,) = _int16(data, position + HEADER_BYTES)
            entry.prepared.parameter_types = Struct(f"!{count & 0xFFFF}I").unpack_from(
                data, position + HEADER_BYTES + 2
            )
        return None

    # --- progress ---------------------------------------------------------------------------------------

    def _popped(self, kind: int) -> Entry:
        pending = self._session.pending
        entry = pending.head
        if entry is None or entry.kind != kind:
            raise ProtocolError("an answer from the server that fits no message")
        pending.pop()
        return entry

    @staticmethod
    def _confirm(entry: Entry, index: int | None = None) -> None:
        for at, slot in entry.slots:
            if index is None or at == index:
                slot.confirm()

    def _parse_complete(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        self._confirm(self._popped(PARSE))
        return None

    def _bind_complete(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        self._confirm(self._popped(BIND))
        return None

    def _close_complete(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        self._confirm(self._popped(CLOSE))
        return None

    def _command_complete(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        if entry is None or entry.kind not in (QUERY, EXECUTE):
            raise ProtocolError("an answer from the server that fits no message")
        tag = data[position + HEADER_BYTES : end - 1].decode("utf-8", "replace")
        run = entry.run
        replaced = None
        if run is not None and run.ends_run:
            tag = "CALL"
            replaced = backend.message(b"C", b"CALL\0")
            self._ends_run = True
        self._confirm(entry, entry.index)
        if self._copying_in:
            self._copying_in = False
            self._session.pending.copy_ended()
        self._end_rows()
        self._copy = None
        if run is not None:
            run.outcome.append(tag)
            count = backend.rows_of_tag(tag)
            if count is not None:
                run.rows = (run.rows or 0) + count
        self.transaction_statements += 1
        if entry.kind == QUERY:
            entry.index += 1
        else:
            self._executed(now)
        return replaced

    def _executed(self, now: float) -> None:
        """An Execute is answered. Of a portal that is read in pages, each page has an outcome."""
        entry = self._popped(EXECUTE)
        if entry.run is not None:
            entry.run.closed = False
        self._closes(entry.run, now)

    def _empty_query(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        if entry is not None and entry.kind == EXECUTE:
            self._executed(now)
        return None

    def _portal_suspended(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._popped(EXECUTE)
        self._end_rows()
        if entry.run is not None:
            entry.run.closed = False
            self.close_run(entry.run, "suspended", now)
        return None

    def _closes(self, run: Run | None, now: float) -> None:
        if run is not None:
            self._last_run = run
            self.close_run(run, None, now)

    def close_run(self, run: Run, outcome: str | None, now: float | None = None) -> None:
        """Record how a statement ended; None: by what the server said."""
        if run.closed:
            return
        run.closed = True
        at = run.started_at if now is None else now
        sample = Sample(run.columns, tuple(run.sample)) if run.sample else None
        self._session.events.append(
            StatementClosed(
                at,
                self._session.info.id,
                run.n,
                outcome or "; ".join(run.outcome) or "EMPTY",
                run.rows,
                max(0.0, (at - run.started_at) * 1000),
                tuple(run.masked),
                sample,
            )
        )

    def _ready(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        session = self._session
        entry = session.pending.head
        if entry is None or entry.kind not in (QUERY, FUNCTION, SYNC):
            raise ProtocolError("ReadyForQuery that fits no message")
        session.pending.pop()
        if entry.kind != SYNC and entry.run is not None:
            for _, slot in reversed(entry.slots):
                slot.revert()
            self._closes(entry.run, now)
        self._last_run = None
        self._end_rows()
        self._copy = None
        if end != position + HEADER_BYTES + 1:
            raise ProtocolError("malformed ReadyForQuery")
        session.pending.copy_in = False
        status = chr(data[position + HEADER_BYTES])
        if status != "I" and self.status == "I":
            self.transaction_started_at = now
            self.transaction_statements = 0
        self.status = status
        session.state_since = now
        if status == "I":
            self.transaction_started_at = None
            session.transaction_ended()
        if self._ends_run:
            self._ends_run = False
            session.requests.append(actions.EndRun())
        return None

    def _function_result(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        if entry is None or entry.kind != FUNCTION:
            raise ProtocolError("an answer from the server that fits no message")
        if entry.run is not None:
            entry.run.outcome.append("FUNCTION")
        return None

    # --- COPY -------------------------------------------------------------------------------------------

    def _copy_in(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        self._session.pending.copy_begins()
        self._copying_in = True
        return None

    def _copy_out(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        if entry is None or entry.kind not in (QUERY, EXECUTE):
            raise ProtocolError("an answer from the server that fits no message")
        plan = self._plan(entry)
        if plan is None:
            raise ProtocolError("COPY for a statement that nobody judged")
        masks, index = plan
        body = position + HEADER_BYTES
        (count,) = _int16(data, body + 1)
        formats = Struct(f"!{count}h").unpack_from(data, body + 3)
        self._copy = masks.copy(index, formats) if masks.touches else None
        if self._copy is not None and entry.run is not None:
            entry.run.masked.update(dict.fromkeys(self._copy.masked))
        return None

    def _copy_data(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        if self._copy is None:
            return None
        masked = self._copy.feed(data[position + HEADER_BYTES : end])
        return backend.message(b"d", masked) if masked else b""

    def _copy_done(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        if self._copy is None:
            return None
        rest = self._copy.finish()
        self._copy = None
        return (backend.message(b"d", rest) if rest else b"") + data[position:end]

    # --- errors, notices, settings ----------------------------------------------------------------------

    def _error(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        session = self._session
        entry = session.pending.head
        fields = backend.read_fields(data[position + HEADER_BYTES : end], self._encoding)
        code = fields.get("C", "")
        self._farewell = self._farewell or fields.get("V") in ("FATAL", "PANIC")
        replaced: bytes | None = None
        if entry is None:
            return None
        self._end_rows()
        self._copy = None
        self._copying_in = False
        if entry.refusal is not None and code == "42601":
            code = entry.refusal.sqlstate
            ours = backend.error_fields(entry.refusal)
            replaced = backend.fields_message(b"E", {**ours, "S": fields.get("S", "ERROR")}, self._encoding)
        elif (plan := self._plan(entry)) is not None and plan[0].touches:
            replaced = backend.fields_message(b"E", plan[0].clean_error(fields), self._encoding)
        run = entry.run or (self._last_run if entry.kind == SYNC else None)
        if entry.kind == DESCRIBE and entry.portal is not None:
            run = entry.portal.run  # its Execute will never be answered
        if run is not None:
            run.outcome = [code]
            run.rows = None
            run.closed = False  # a commit at Sync may fail after the statement had its tag
            self.close_run(run, code, now)
        if entry.kind in (QUERY, FUNCTION):
            for _, slot in reversed(entry.slots):
                slot.revert()
        elif entry.kind != SYNC:
            session.pending.fail()
        return replaced

    def _notice(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        entry = self._session.pending.head
        plan = self._plan(entry) if entry is not None else None
        if plan is None or not plan[0].touches:
            return None
        fields = backend.read_fields(data[position + HEADER_BYTES : end], self._encoding)
        return backend.fields_message(b"N", plan[0].clean_error(fields), self._encoding)

    def _parameter_status(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        name, value = backend.read_parameter_status(data[position + HEADER_BYTES : end])
        self.parameter(name, value)
        return None

    def parameter(self, name: str, value: str) -> None:
        """The server reports a setting. Raises ProtocolError for one under which nothing can be judged."""
        if name == "standard_conforming_strings" and value != "on":
            raise ProtocolError("standard_conforming_strings is off: statements cannot be judged")
        if name == "search_path":
            self.search_path = value
        if name == "client_encoding":
            self._encoding = self._session.set_client_encoding(value)

    def _as_it_is(self, data: bytes, position: int, end: int, now: float) -> bytes | None:
        return None

    def abandon(self) -> None:
        """The session is over: forget what will never be answered."""
        self._session.pending.abandon()
        self._notices.clear()
