"""Reads the body of a PL/pgSQL block: every SQL statement and expression in it, as text.

Follows pl_gram.y (PostgreSQL 18) statement by statement. Every token belongs to a keyword of PL/pgSQL or to a
text that is given back to be parsed, so whatever is misread fails to parse; nothing is skipped. libpg_query's
own reader is not used: it aborts the process on some texts, fails on types in schemas, and its output leaves
out the expressions of several statements.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gatekeeper.sql.words import END, Word, Words

MAX_DEPTH: Final = 100


@dataclass(slots=True)
class Body:
    """What stands in a block."""

    statements: list[str] = field(default_factory=list)
    expressions: list[str] = field(default_factory=list)
    """Each as a SELECT."""
    executed: list[str] = field(default_factory=list)
    """Expressions whose value EXECUTE runs, each as a SELECT."""
    types: set[str] = field(default_factory=set)
    """Words of the types of variables: a domain checks what is assigned."""


def read(text: str) -> Body:
    """Read a block. Raises UnreadableError for what PL/pgSQL would not accept, or is not understood."""
    return _Reader(text).run()


_LEVELS: Final = frozenset({"debug", "log", "info", "notice", "warning", "exception"})
_DIRECTIONS: Final = frozenset(
    {"next", "prior", "first", "last", "absolute", "relative", "forward", "backward", "all"}
)  # fmt: skip
_ASSIGN: Final = frozenset({":=", "="})
_AFTER_VARIABLE: Final = _ASSIGN | {"[", "."}


class _Reader(Words):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.body = Body()

    def expression(self, words: list[Word]) -> None:
        if not words:
            raise self.unclear()
        self.body.expressions.append("SELECT " + self.text(words))

    def expressions(self, *ends: str) -> str:
        """A list of expressions, up to one of `ends`."""
        words, end = self.until(*ends)
        self.expression(words)
        return end

    # --- blocks ---------------------------------------------------------------------------------------

    def run(self) -> Body:
        while self.take("#"):
            # #option dump, #print_strict_params on, #variable_conflict use_column
            self.need("option", "print_strict_params", "variable_conflict")
            self.need("dump", "on", "off", "error", "use_variable", "use_column")
        self.label()
        self.block()
        self.take(";")
        if self.at != len(self.words):
            raise self.unclear()
        return self.body

    def label(self) -> None:
        if self.take("<<"):
            self.at += 1
            self.need(">>")

    def block(self) -> None:
        """[DECLARE …] BEGIN … [EXCEPTION …] END [label]."""
        if self.take("declare"):
            while not self.take("begin"):
                if not self.take("declare"):
                    self.declaration()
        else:
            self.need("begin")
        self.sequence("end", "exception")
        if self.take("exception"):
            while self.take("when"):
                self.names(self.until("then")[0])
                self.sequence("end", "when")
        self.need("end")
        if self.peek() not in (";", END):
            self.at += 1

    def declaration(self) -> None:
        words, _ = self.until(";")
        if len(words) < 2:
            raise self.unclear()
        rest = words[1:]
        texts = [word.text for word in rest]
        if texts[0] == "alias":
            return
        if "cursor" in texts[:3] and texts[0] in ("cursor", "no", "scroll"):
            self.cursor(rest[texts.index("cursor") + 1 :])
            return
        for index, piece in enumerate(texts):
            if piece in (":=", "=", "default"):
                self.type(rest[:index])
                self.expression(rest[index + 1 :])
                return
        self.type(rest)

    def type(self, words: list[Word]) -> None:
        self.names(words, ".", "%", "[", "]", "(", ")", ",")
        self.body.types.update(word.text or self.text([word]).strip('"') for word in words)

    def cursor(self, words: list[Word]) -> None:
        """[(arguments)] IS | FOR query."""
        for index, word in enumerate(words):
            if word.text in ("is", "for"):
                self.names(words[:index], ".", "%", "[", "]", "(", ")", ",")
                self.body.statements.append(self.text(words[index + 1 :]))
                return
        raise self.unclear()

    def sequence(self, *ends: str) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.unclear()
        while self.peek() not in ends:
            if self.at >= len(self.words):
                raise self.unclear()
            self.statement()
        self.depth -= 1

    # --- statements -----------------------------------------------------------------------------------

    def statement(self) -> None:
        self.label()
        word = self.peek()
        if word in ("declare", "begin"):
            self.block()
            self.need(";")
        elif (reader := _RESERVED.get(word)) is not None:
            self.at += 1
            reader(self)
        elif not word or word == "(" or self.peek(1) in _AFTER_VARIABLE:
            self.assignment()
        elif (reader := _UNRESERVED.get(word)) is not None:
            self.at += 1
            reader(self)
        else:
            self.sql()

    def assignment(self) -> None:
        target, _ = self.until(":=", "=")
        self.expression(target)
        self.expressions(";")

    def if_(self) -> None:
        self.expressions("then")
        self.sequence("elsif", "elseif", "else", "end")
        while self.take("elsif", "elseif"):
            self.expressions("then")
            self.sequence("elsif", "elseif", "else", "end")
        if self.take("else"):
            self.sequence("end")
        self.need("end")
        self.need("if")
        self.need(";")

    def case(self) -> None:
        if not self.take("when"):
            self.expressions("when")
        self.expressions("then")
        self.sequence("when", "else", "end")
        while self.take("when"):
            self.expressions("then")
            self.sequence("when", "else", "end")
        if self.take("else"):
            self.sequence("end")
        self.need("end")
        self.need("case")
        self.need(";")

    def loop(self) -> None:
        self.sequence("end")
        self.need("end")
        self.need("loop")
        self.names(self.until(";")[0])

    def while_(self) -> None:
        self.expressions("loop")
        self.loop()

    def for_(self) -> None:
        self.names(self.until("in")[0], ",", ".")
        if self.take("execute"):
            if self.execute("loop", "using") == "using":
                self.expressions("loop")
        else:
            self.for_in()
        self.loop()

    def for_in(self) -> None:
        reverse = self.peek() == "reverse"
        start = self.at
        words, end = self.until("..", "loop")
        if end == "..":
            self.expression(words[1:] if reverse else words)
            if self.expressions("loop", "by") == "by":
                self.expressions("loop")
        elif self.is_cursor(words):
            self.at = start + 1
            self.cursor_arguments("loop")
        else:
            self.body.statements.append(self.text(words))

    def is_cursor(self, words: list[Word]) -> bool:
        """A name, or a name with its arguments: never a statement."""
        if len(words) < 3:
            return len(words) == 1
        closed = self.split(words[1:], ")")
        one_pair = len(closed) == 2 and not closed[1]
        return words[1].text == "(" and one_pair and words[0].text not in ("values", "select")

    def foreach(self) -> None:
        self.names(self.until("in")[0], ",", ".")
        self.need("array")
        self.expressions("loop")
        self.loop()

    def exit_(self) -> None:
        words, end = self.until(";", "when")
        self.names(words)
        if end == "when":
            self.expressions(";")

    def return_(self) -> None:
        if self.take(";"):
            return
        if self.take("next"):
            if not self.take(";"):
                self.expressions(";")
        elif self.take("query"):
            if not self.take("execute"):
                self.sql()
            elif self.execute(";", "using") == "using":
                self.expressions(";")
        else:
            self.expressions(";")

    def raise_(self) -> None:
        words, end = self.until(";", "using")
        if words and words[0].text in _LEVELS:
            words = words[1:]
        first, *arguments = self.split(words, ",")
        self.names(first)
        for argument in arguments:
            self.expression(argument)
        if end == "using":
            for option in self.split(self.until(";")[0], ","):
                if len(option) < 3 or option[1].text not in _ASSIGN:
                    raise self.unclear()
                self.expression(option[2:])

    def execute(self, *ends: str) -> str:
        """The text to run, up to one of `ends`."""
        words, end = self.until(*ends)
        if not words:
            raise self.unclear()
        self.body.executed.append("SELECT " + self.text(words))
        return end

    def execute_statement(self) -> None:
        end = self.execute("into", "using", ";")
        while end != ";":
            if end == "into":
                words, end = self.until("using", ";")
                self.names(words, ",", ".")
            else:
                end = self.expressions("into", ";")

    def perform(self) -> None:
        self.expressions(";")

    def get(self) -> None:
        self.names(self.until(";")[0], "=", ":=", ",", ".")

    def open_(self) -> None:
        self.at += 1
        if self.take("no"):
            self.need("scroll")
        else:
            self.take("scroll")
        if not self.take("for"):
            self.cursor_arguments(";")
        elif not self.take("execute"):
            self.sql()
        elif self.execute(";", "using") == "using":
            self.expressions(";")

    def cursor_arguments(self, end: str) -> None:
        words, _ = self.until(end)
        if not words:
            return
        if words[0].text != "(" or words[-1].text != ")":
            raise self.unclear()
        for argument in self.split(words[1:-1], ","):
            named = len(argument) > 2 and argument[1].text in (":=", "=>")
            self.expression(argument[2:] if named else argument)

    def fetch(self) -> None:
        words, end = self.until("into", ";")
        if end == "into":
            self.names(self.until(";")[0], ",", ".")
        *direction, cursor = self.split(words, "from", "in")
        self.names(cursor)
        for words in direction:
            rest = words[1:] if words and words[0].text in _DIRECTIONS else words
            if rest and rest[0].text != "all":
                self.expression(rest)

    def words_only(self) -> None:
        self.names(self.until(";")[0])

    def sql(self) -> None:
        """An SQL statement as it stands, but for INTO and its targets (make_execsql_stmt)."""
        first, level, blocks = self.at, 0, 0
        pieces: list[str] = []
        start = first
        routine = self.peek() == "create" and {"function", "procedure"} & {self.peek(1), self.peek(3)}
        while True:
            if self.at >= len(self.words):
                raise self.unclear()
            word = self.peek()
            if word == ";" and level <= 0 and blocks == 0:
                break
            level += (word in ("(", "[")) - (word in (")", "]"))
            if routine:
                blocks += (word == "begin") or (word == "case" and blocks > 0)
                blocks -= word == "end" and blocks > 0
            if word == "into" and self.at > first and not self.keeps_into(first):
                pieces.append(self.text(self.words[start : self.at]))
                self.at += 1
                self.into_targets()
                start = self.at
                continue
            self.at += 1
        pieces.append(self.text(self.words[start : self.at]))
        self.at += 1
        self.body.statements.append(" ".join(piece for piece in pieces if piece))

    def keeps_into(self, first: int) -> bool:
        return self.peek(-1) in ("insert", "merge") or self.words[first].text == "import"

    def into_targets(self) -> None:
        self.take("strict")
        while True:
            self.at += 1
            while self.take("."):
                self.at += 1
            if not self.take(","):
                return


_RESERVED: Final = {
    "if": _Reader.if_,
    "case": _Reader.case,
    "loop": _Reader.loop,
    "while": _Reader.while_,
    "for": _Reader.for_,
    "foreach": _Reader.foreach,
    "execute": _Reader.execute_statement,
    "null": _Reader.words_only,
}
_UNRESERVED: Final = {
    "exit": _Reader.exit_,
    "continue": _Reader.exit_,
    "return": _Reader.return_,
    "raise": _Reader.raise_,
    "assert": _Reader.perform,
    "perform": _Reader.perform,
    "get": _Reader.get,
    "open": _Reader.open_,
    "fetch": _Reader.fetch,
    "move": _Reader.fetch,
    "close": _Reader.words_only,
}
