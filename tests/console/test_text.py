from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gatekeeper.console import brief
from gatekeeper.console.sql import coloured, formatted, one_line
from gatekeeper.console.table import masked_places, result_lines
from gatekeeper.console.text import (
    clock_span,
    count,
    duration,
    fit,
    is_sqlstate,
    labelled,
    millis,
    safe,
    size,
    sparkline,
    wrap,
)
from gatekeeper.console.widgets.countdown import bar
from gatekeeper.model import Impact
from gatekeeper.recording.views import RecordView

ANY = st.text(max_size=200)
SPANS = st.lists(st.tuples(ANY.map(lambda t: safe(t, lines=True)), st.just("")), max_size=5)
ROWS = st.lists(st.lists(st.one_of(st.none(), ANY), min_size=3, max_size=3), max_size=5)


@given(ANY)
def test_no_text_can_move_hide_or_reorder_what_is_drawn(text: str) -> None:
    for made in (safe(text), safe(text, lines=True)):
        for char in made.replace("\n", ""):
            assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(ANY)
def test_the_layout_changes_white_space_alone(text: str) -> None:
    assert "".join(formatted(text).split()) == "".join(text.split())


@given(ANY)
def test_colours_change_no_character(text: str) -> None:
    shown = "".join(t for t, _ in coloured(text))
    if "⟨" not in shown:
        assert "".join(shown.split()) == "".join(safe(text, lines=True).split())


@given(SPANS, st.integers(12, 80), st.integers(0, 4))
def test_wrapped_lines_fit_and_lose_no_character(spans: list[tuple[str, str]], width: int, hang: int) -> None:
    lines = wrap(spans, width, hang=hang)
    assert all(cell_len("".join(t for t, _ in line)) <= width for line in lines)
    assert "".join("".join(t for t, _ in line) for line in lines).replace(" ", "") == "".join(
        t for t, _ in spans
    ).replace(" ", "").replace("\n", "")


@given(ANY, st.integers(1, 60))
def test_fitted_text_has_exactly_its_width(text: str, width: int) -> None:
    assert cell_len(fit(safe(text), width)) == width


@pytest.mark.parametrize(
    ("sql", "laid_out"),
    [
        ("select 1", "select 1"),
        (
            "UPDATE customers SET status = 'inactive', note = note || ' x' WHERE id = 1 AND a IN (1,2)",
            "UPDATE customers\nSET status = 'inactive', note = note || ' x'\nWHERE id = 1\n  AND a IN (1,2)",
        ),
        (
            "delete from orders where created_at between '2024-01-01' and '2024-02-01' and status = 'x'",
            "delete from orders\nwhere created_at between '2024-01-01' and '2024-02-01'\n  and status = 'x'",
        ),
    ],
)
def test_a_statement_is_laid_out_by_its_clauses(sql: str, laid_out: str) -> None:
    assert formatted(sql) == laid_out


def test_a_comment_cannot_swallow_the_rest_of_one_line() -> None:
    assert "⏎" in "".join(t for t, _ in one_line("select 1 -- x\n; drop table t"))


def test_a_keyword_after_a_dot_is_a_name() -> None:
    roles = dict(coloured("select public.user from public.orders"))
    assert roles["public"] == "sql.name"
    assert roles["user"] == "sql.name"
    assert roles["select"] == "sql.keyword"


def test_numbers_are_short() -> None:
    assert [duration(s) for s in (5, 190, 7_500, 360_000)] == ["5s", "3m 10s", "2h 05m", "4d 4h"]
    assert [clock_span(s) for s in (-3, 102, 3_723)] == ["0:00", "1:42", "1:02:03"]
    assert [millis(v) for v in (None, 0.42, 18.3, 2_400, 90_000)] == [
        "–",
        "0.42 ms",
        "18 ms",
        "2.4 s",
        "1m 30s",
    ]
    assert [count(v) for v in (None, 950, 12_400, 3_100_000)] == ["–", "950", "12.4k", "3.1M"]
    assert [size(v) for v in (None, 300, 8_192, 15_000_000)] == ["–", "300 B", "8.0 kB", "14 MB"]


def test_sqlstates_are_told_from_tags() -> None:
    assert all(map(is_sqlstate, ("42501", "57P01", "XX000", "P0001")))
    assert not any(map(is_sqlstate, ("BEGIN", "FETCH 5", "MERGE 3", "GRANT", "INSERT 0 1", "COPY 5")))


def test_a_sparkline_shows_the_newest() -> None:
    assert sparkline((0, 0, 7, 14), 4) == "▁▁▅█"
    assert sparkline((), 3) == "▁▁▁"


@pytest.mark.parametrize("share", [-1, 0, 0.01, 0.5, 0.999, 1, 2])
def test_the_countdown_fills_its_line(share: float) -> None:
    full, empty = bar(share, 20)
    assert len(full + empty) == 20


def test_words_narrow_and_a_minus_leaves_out() -> None:
    assert brief.matches(("select", "-ssn"), ("SELECT 1", "app"))
    assert not brief.matches(("select", "-app"), ("SELECT 1", "app"))
    assert brief.matches((), ("x",))


def test_a_plan_is_shown_without_its_costs() -> None:
    lines = brief.impact(
        Impact((), 5, ("Delete on orders  (cost=0.00..109.28 rows=0 width=0)", "  ->  Seq Scan on orders")),
        80,
    )
    assert "Delete on orders ← Seq Scan on orders" in "".join(t for t, _ in lines[-1])


def test_masked_columns_are_marked() -> None:
    assert masked_places(("id", "ssn", "x"), ("public.customers.ssn", "?x")) == {1, 2}


@given(ROWS, st.integers(20, 120))
def test_a_result_of_anything_fits(rows: list[list[str | None]], width: int) -> None:
    record = RecordView(
        seq=1,
        kind="statement",
        at=0.0,
        session="s",
        hash="",
        outcome="SELECT 9",
        rows=9,
        sample_columns=("a", "b\x1b[2J", "c"),
        sample_rows=tuple(map(tuple, rows)),
        masked_columns=("t.c",),
    )
    lines = ["".join(t for t, _ in line) for line in result_lines(record, width)]
    assert all(cell_len(line) <= width for line in lines[: 2 + len(rows)])
    assert "\x1b" not in "".join(lines)


def test_a_label_has_its_own_column() -> None:
    lines = labelled("plan", [("word " * 12, "")], 40)
    assert all("".join(t for t, _ in line).startswith(("plan      ", " " * 10)) for line in lines)
