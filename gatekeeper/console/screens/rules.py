"""The rules in force: what the file says, how often each was met, and why a changed file is not in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, NamedTuple

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from gatekeeper.console import brief
from gatekeeper.console.feed import Changed
from gatekeeper.console.screens.desk import Desk
from gatekeeper.console.text import (
    Span,
    content,
    count,
    duration,
    fit,
    fit_spans,
    joined,
    plural,
    safe,
    wrap,
)
from gatekeeper.console.widgets.bars import Hint
from gatekeeper.console.widgets.rows import Rows
from gatekeeper.control.operator import RuleView

_TITLES: Final = {"guard": "Guards", "grant": "Grants", "mask": "Masks"}
_ACTIONS: Final = {"warn": ("!", "warn"), "approve": ("◆", "held"), "block": ("✗", "bad")}
_MOST_PROBLEMS: Final = 5


class Item(NamedTuple):
    """A rule, or the heading of a group."""

    name: str
    rule: RuleView | None


class RulesScreen(Desk):
    """Guards, grants, masks."""

    TAB = "rules"
    HINTS = (
        Hint("/", "search", "slash"),
        Hint("enter", "hide or show in full"),
        Hint("?", "help", "question_mark"),
    )
    HELP_TITLE = "Rules"
    HELP_KEYS = (("enter", "hide or show the rule in full, below"), ("/", "search; escape clears"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", show=False),
        Binding("escape", "clear", show=False),
    ]
    AUTO_FOCUS = "#rules"

    def __init__(self) -> None:
        super().__init__()
        self.words: tuple[str, ...] = ()
        self._full = True

    def body(self) -> Iterable[Widget]:
        """The file's state, the rules, one in full."""
        yield Static(id="file")
        yield Rows[Item](
            key=lambda i: (i.rule.kind if i.rule else "", i.name),
            draw=self._row,
            skip=lambda i: i.rule is None,
            empty=[("  no rules", "faint")],
            id="rules",
        )
        yield Static(id="full")
        yield Input(id="filter", placeholder="words in name, action, conditions")

    def on_mount(self) -> None:
        """No search, nothing in full."""
        self.query_one("#filter").display = False
        self.query_one("#full").display = False

    @property
    def _rules(self) -> Rows[Item]:
        return self.query_one("#rules", Rows)

    def changed(self, changed: Changed) -> None:
        """Draw what a snapshot changed."""
        if changed & Changed.RULES:
            self._show()
            self._draw_file()

    def tick(self) -> None:
        """Times grow."""
        super().tick()
        self._draw_file()
        self._rules.refresh()

    def _draw_file(self) -> None:
        rules, now, width = self.console.feed.rules, self.console.clock(), self.size.width - 3
        head: list[Span] = [
            ("Rules ", "key"),
            (safe(rules.path), "strong"),
            (f"  {safe(rules.version)}", "dim"),
        ]
        if rules.problems:
            head.append(("  the file has errors: the rules below, from before, stay in force", "bad"))
        else:
            head.append((f"  in force for {duration(now - rules.loaded_at)}", "ok"))
        lines = wrap(head, width, hang=6)
        for problem in rules.problems[:_MOST_PROBLEMS]:
            lines += wrap([("✗ ", "bad"), (safe(problem), "")], width, hang=2)[:3]
        more = len(rules.problems) - _MOST_PROBLEMS
        if more > 0:
            lines.append([(f"  and {plural(more, 'error')} more", "bad")])
        if rules.restart_needed:
            lines += wrap(
                [
                    ("↻ ", "warn"),
                    ("a restart is needed for ", "warn"),
                    (safe(", ".join(rules.restart_needed)), "strong"),
                ],
                width,
                hang=2,
            )
        self.query_one("#file", Static).update(content(joined(lines)))

    def _show(self) -> None:
        rules = [
            r
            for r in self.console.feed.rules.rules
            if not self.words or brief.matches(self.words, (r.kind, r.name, r.action, r.summary))
        ]
        items: list[Item] = []
        for kind, title in _TITLES.items():
            of_kind = [Item(r.name, r) for r in rules if r.kind == kind]
            if of_kind:
                items += [*([Item("", None)] if items else []), Item(title, None), *of_kind]
        self._rules.show(items)
        self._show_full()

    def _show_full(self) -> None:
        full = self.query_one("#full", Static)
        chosen = self._rules.current
        full.display = self._full and chosen is not None and chosen.rule is not None
        if chosen is not None and chosen.rule is not None:
            rule = chosen.rule
            width = self.size.width - 4
            spans: list[Span] = [
                (safe(rule.name), "strong"),
                ("  ", ""),
                (safe(rule.action), "accent"),
                ("\n", ""),
                (safe(rule.summary), ""),
            ]
            full.update(content(joined(wrap(spans, width))))

    def _row(self, item: Item, width: int) -> Sequence[Sequence[Span]]:
        rule = item.rule
        if rule is None:
            last = f"{'hits':>7}  {'last':>8} " if item.name else ""
            return [[*fit_spans([(f" {item.name}", "key")], width - len(last)), (last, "faint")]]
        name, action = (24, 32) if width >= 120 else (22, 20) if width >= 100 else (20, 14)
        glyph, role = _ACTIONS.get(rule.action, (" ", "mask" if rule.kind == "mask" else ""))
        ago = (
            ""
            if rule.last_hit_at is None
            else f"{duration(self.console.clock() - rule.last_hit_at).split()[0]} ago"
        )
        return [
            [
                (f" {glyph} ", role),
                (fit(safe(rule.name), name) + " ", "strong"),
                (fit(safe(rule.action), action) + " ", role),
                *fit_spans([(safe(rule.summary), "dim")], width - name - action - 5 - 18),
                (f"{count(rule.hits) if rule.hits else '·':>7}", "" if rule.hits else "faint"),
                (f"  {ago:>8} ", "faint"),
            ]
        ]

    # --- keys -------------------------------------------------------------------------------------------

    def on_rows_moved(self) -> None:
        """Another rule."""
        self._show_full()

    def on_rows_chosen(self) -> None:
        """Show it in full, or no longer."""
        self._full = not self._full
        self._show_full()

    def action_search(self) -> None:
        """Search as one types."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list."""
        self.words = tuple(event.value.casefold().split())
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the search and go back."""
        event.input.display = bool(event.value)
        self._rules.focus()

    def action_clear(self) -> None:
        """Show everything again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self._rules.focus()
