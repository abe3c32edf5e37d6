from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from gatekeeper.errors import RecordingError
from gatekeeper.events import Sample, StatementDecided
from gatekeeper.model import Action, ApprovalRecord, Decision
from gatekeeper.recording.export import FIELDS, export
from gatekeeper.recording.reader import Records, open_records
from gatekeeper.recording.screen import clean, table
from gatekeeper.recording.store import open_store

from .samples import SAMPLE, T0, closed, ended, login, opened

NASTY = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> \x1b]0;title\x07 \u2028 \u202e & \x9b31m"
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    store = open_store(str(tmp_path / "r.db"))
    held = ApprovalRecord("a1", "unbounded-write", "denied", (Decision("ann", T0 + 3, False, NASTY),))
    store.submit(
        [login(subject=NASTY), opened(1, "select id, ssn\nfrom customers"), closed(1, sample=SAMPLE)]
    )
    store.submit([opened(2, "delete from orders", verdict=Action.APPROVE, guards=("unbounded-write",))])
    store.submit([StatementDecided(T0 + 3, "s1", 2, held), closed(2, outcome="42501", rows=None)])
    store.submit([opened(3, NASTY, params=(NASTY, None)), closed(3, sample=Sample((NASTY,), ((NASTY,),)))])
    store.submit([opened(4, "=1+1", relations=("@x", "y")), opened(5, "-- x"), ended()])
    store.close()
    return open_records(tmp_path / "r.db")


def test_csv_has_a_header_and_no_formula(records: Records) -> None:
    text = "".join(export(records, "csv"))
    assert text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == FIELDS
    assert [r["kind"] for r in rows] == ["login", *["statement"] * 5, "session_end"]
    assert rows[1]["sql"] == "select id, ssn\nfrom customers"
    assert rows[4]["sql"] == "'=1+1"
    assert rows[5]["sql"] == "'-- x"
    assert rows[4]["relations"] == "'@x; y"
    assert json.loads(rows[3]["params"]) == [NASTY, None]
    assert not any(value[:1] in "=+-@\t\r" for row in rows for value in row.values() if value)


def test_a_page_holds_what_was_recorded_as_data_only(records: Records) -> None:
    text = "".join(export(records, "html", "s1"))
    assert text.count("<script") == 2
    assert "<img" not in text
    assert re.search(r"https?://", text) is None
    (data,) = re.findall(r'<script type="application/json" id="records">(.*?)</script>', text, re.DOTALL)
    assert [r["kind"] for r in json.loads(data)] == ["login", *["statement"] * 5, "session_end"]
    assert json.loads(data)[3]["sql"] == NASTY
    assert "default-src 'none'" in text


def test_asciicast_has_rising_times_and_no_control_characters_of_others(records: Records) -> None:
    header, *events = [json.loads(line) for line in export(records, "asciicast", "s1")]
    assert header["version"] == 2
    assert header["timestamp"] == int(T0)
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    assert times[1] == 1.0
    assert times[2] == 1.25
    shown = "".join(text for _, kind, text in events if kind == "o")
    assert set(re.findall(r"\x1b[^m]*m", shown)) <= {f"\x1b[{code}m" for code in (0, 1, 2, 31, 32, 33)}
    assert not re.search(r"[\x07\x9b\u202e]", shown)
    assert "\\x1b]0;title\\x07" in shown
    assert " id | ssn       \r\n" in shown
    assert " 1  | [REDACTED]\r\n" in shown
    assert "denied by ann" in shown
    assert "ERROR: 42501" in shown
    assert "-- outcome not known" in shown


@pytest.mark.parametrize("form", ["html", "asciicast"])
def test_a_replay_is_of_one_session(records: Records, form: str) -> None:
    with pytest.raises(RecordingError, match="shows one session: say which"):
        export(records, form)  # type: ignore[arg-type]


def test_exports_of_one_session_leave_the_others_out(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "r.db"))
    store.submit(
        [login("a"), login("b"), opened(1, session="a"), opened(1, session="b"), ended("a"), ended("b")]
    )
    store.close()
    lines = [json.loads(line) for line in export(open_records(tmp_path / "r.db"), "jsonl", "b")]
    assert {line["session"] for line in lines} == {"b"}
    assert len(lines) == 3


def test_wide_characters_keep_the_columns_straight() -> None:
    assert table(("a", "b"), (("漢字", "x"), ("e\u0301", None))) == [
        " a    | b",
        " -----+--",
        " 漢字 | x",
        " e\u0301    |  ",
    ]
    assert clean("a\tb\r\nc\x00", "\r\n") == "a    b\r\nc\\x00"
