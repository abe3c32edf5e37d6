"""What masking does with a query: refuse it, let it wait, or mask what comes back. Doubt masks or refuses.

Where a result column comes from is known three ways, and it is masked if any of them says so: by the OID
and attribute number in RowDescription, exact for plain columns; by lineage for what is computed; and where
lineage and RowDescription do not agree, everything computed counts as derived from all that the statement
touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from gatekeeper.masking import detect, errors
from gatekeeper.masking.copy import CopyMasker, CopyOptions, copy_masker
from gatekeeper.masking.maskers import ALWAYS_NULL, ALWAYS_REDACTED, JSON, Action, cell_mask, is_textual
from gatekeeper.masking.resolve import NO_MASKS, ColumnMask, MaskSet
from gatekeeper.masking.rows import Field, RowMasker, row_masker
from gatekeeper.masking.statements import Pending, Statements
from gatekeeper.model import Facts, Hold, Refusal, StatementFacts
from gatekeeper.sql.catalog import Catalog
from gatekeeper.sql.lineage import CLEAN, NULLNESS, Columns, Key, Output, Taint, Tracer
from gatekeeper.sql.sources import SYSTEM_KEYS, UNSEEN
from gatekeeper.sql.tree import UnreadableError, parse

_FIRST_USER_OID: Final = 16384
_NOT_PENDING: Final = Pending()


@dataclass(frozen=True, slots=True)
class Traced:
    """What was found out about one statement."""

    columns: Columns
    touches: bool
    user_code: bool
    """True where functions or triggers of users may run, so that any message may carry anything."""
    copy: CopyOptions | None = None
    alternatives: tuple[Columns, ...] = ()
    """For COPY of a table: the columns of each that its name can mean."""
    unknown: tuple[str, ...] = ()
    """Names of relations that the catalog does not know."""


@dataclass(frozen=True)
class MaskPlan:
    """What masking does with one query string."""

    refusal: Refusal | None = None
    hold: Hold | None = None
    touches: bool = False
    """False: rows, COPY and errors pass untouched."""
    pending: Pending = _NOT_PENDING
    """Hand this to the plan that follows, until the transaction has ended and the catalog is read anew."""
    statements: tuple[Traced, ...] = ()
    masks: MaskSet = field(default=NO_MASKS, repr=False)
    catalog: Catalog = field(default_factory=lambda: Catalog(0), repr=False)
    uncertain: bool = False
    words: Callable[[], frozenset[str]] = field(default=frozenset, repr=False)

    def rows(self, index: int, fields: Sequence[Field]) -> RowMasker | None:
        """A masker for the rows of the statement of that number; None where nothing of them is masked."""
        if not self.touches or not fields:
            return None
        traced = self._statement(index)
        aligned = self._aligned(traced.columns, fields)
        names: list[str] = []
        cells: dict[int, Action] = {}
        for position, described in enumerate(fields):
            found = self._column(traced, aligned[position] if aligned else None, described)
            if found is not None:
                names.append(found[0])
                cells[position] = found[1]
        return row_masker(tuple(dict.fromkeys(names)), len(fields), cells) if cells else None

    def copy(self, index: int, formats: Sequence[int]) -> CopyMasker | None:
        """A masker for COPY TO STDOUT, `formats` as in CopyOutResponse; None where nothing is masked."""
        if not self.touches:
            return None
        traced = self._statement(index)
        known = self._copied_columns(traced, len(formats))
        sure = len(known) == len(formats)
        names: list[str] = []
        cells: dict[int, Action] = {}
        for position, format_code in enumerate(formats):
            output = known[position] if sure else Output(None, self._doubt(traced))
            type_oid = output.type_oid
            described = Field(output.name or "column", *(output.plain or (0, 0)), type_oid, format_code)
            found = self._copied(output, described)
            if found is not None:
                names.append(found[0])
                cells[position] = found[1]
        if not cells:
            return None
        return copy_masker(
            tuple(dict.fromkeys(names)),
            len(formats),
            cells,
            traced.copy or CopyOptions(),
            binary=1 in formats,
        )

    def _copied_columns(self, traced: Traced, count: int) -> tuple[Output, ...]:
        """The columns of a COPY; empty where it is not certain which are which."""
        if self.uncertain and traced.columns.whole():
            return ()  # columns may have been dropped and added since the catalog was read
        if traced.columns.rest is None:
            return traced.columns.known
        fitting = [columns.known for columns in traced.alternatives if len(columns.known) == count]
        if len(fitting) <= 1:
            return fitting[0] if fitting else ()
        return tuple(
            Output(same[0].name, CLEAN.union(*(column.taint for column in same)))
            for same in zip(*fitting, strict=True)
        )

    def _statement(self, index: int) -> Traced:
        return self.statements[index] if 0 <= index < len(self.statements) else _unknown(self.masks)

    def clean_error(self, fields: dict[str, str]) -> dict[str, str]:
        """The fields of an ErrorResponse or NoticeResponse without what may carry a value."""
        if not self.touches:
            return fields
        if not self._touches_columns:
            return detect.clean_fields(fields, self.masks.detect, self.masks.hash_key)
        return errors.hide(fields, self._known, user_code=any(traced.user_code for traced in self.statements))

    @cached_property
    def _touches_columns(self) -> bool:
        return any(traced.touches for traced in self.statements) or not self.statements

    def _known(self, part: str) -> bool:
        names = (part, *part.split("."))
        return (
            part in self._statement_words
            or part in self._type_words
            or all(bool(self.catalog.named(None, name)) or name in self._column_names for name in names[-2:])
        )

    @cached_property
    def _statement_words(self) -> frozenset[str]:
        return self.words()

    @cached_property
    def _type_words(self) -> frozenset[str]:
        return frozenset(word for name in self.catalog.type_names.values() for word in name.split())

    @cached_property
    def _column_names(self) -> frozenset[str]:
        return frozenset(column.name for r in self.catalog.relations.values() for column in r.columns)

    def _doubt(self, traced: Traced) -> Taint:
        """What a column may carry that lineage cannot name."""
        return (traced.columns.whole() | {NULLNESS}) if traced.columns.whole() else CLEAN

    def _aligned(self, columns: Columns, fields: Sequence[Field]) -> tuple[Output, ...] | None:
        """The outputs of lineage where they are the columns that PostgreSQL describes, one by one."""
        if columns.rest is not None or len(columns.known) != len(fields):
            return None
        for output, described in zip(columns.known, fields, strict=True):
            place = (described.table_oid, described.attnum)
            if described.table_oid and output.plain and output.plain[0] > 0 and output.plain != place:
                return None
        return columns.known

    def _column(self, traced: Traced, output: Output | None, described: Field) -> tuple[str, Action] | None:
        oid = described.table_oid
        if oid and described.attnum == 0:  # a whole row: PostgreSQL names its table
            if oid in self.masks.by_relation or (output is not None and output.taint):
                return f"?{described.name}", self._derived(described, nulls=False)
        elif oid:
            mask = self.masks.columns.get((oid, described.attnum))
            if mask is not None:
                return mask.name, self._action(mask, described)
            if oid in self.catalog.relations:
                return self._detect(described)
            if (
                oid >= _FIRST_USER_OID
                and output is None
                and not self._named_by_a_rule(traced, described.name)
            ):
                return self._detect(described)
        taint = self._doubt(traced) if output is None else output.taint
        if not taint:
            return self._detect(described)
        return f"?{described.name}", self._derived(described, nulls=NULLNESS in taint)

    def _named_by_a_rule(self, traced: Traced, name: str) -> bool:
        """Whether a column of a relation that the catalog does not know (a temporary one) may be masked."""
        if traced.columns.whole() - {UNSEEN, NULLNESS}:
            return True
        schemas = {"public", *(relation.schema for relation in self.catalog.relations.values())}
        return any(
            self.masks.matches(f"{schema}.{table}.{name}") for schema in schemas for table in traced.unknown
        )

    def _copied(self, output: Output, described: Field) -> tuple[str, Action] | None:
        if not output.taint:
            return self._detect(described) if described.type_oid else self._detect_text(described)
        if output.plain is not None and output.plain in self.masks.columns and output.taint == {output.plain}:
            mask = self.masks.columns[output.plain]
            return mask.name, self._action(mask, described)
        return f"?{described.name}", self._derived(described, nulls=NULLNESS in output.taint)

    def _action(self, mask: ColumnMask, described: Field) -> Action:
        textual = is_textual(described.type_oid, self.catalog.type_names)
        return cell_mask(mask.method, self.masks.hash_key, textual=textual, derived=mask.derived)

    def _derived(self, described: Field, *, nulls: bool) -> Action:
        if not is_textual(described.type_oid, self.catalog.type_names):
            return ALWAYS_NULL if nulls else None
        return ALWAYS_REDACTED if nulls else cell_mask("redact", b"", textual=True, derived=True)

    def _detect(self, described: Field) -> tuple[str, Action] | None:
        if not self.masks.detect:
            return None
        textual = is_textual(described.type_oid, self.catalog.type_names)
        if not textual and described.type_oid not in JSON:
            return None
        return f"?{described.name}", detect.scanner(self.masks.detect, self.masks.hash_key, whole=not textual)

    def _detect_text(self, described: Field) -> tuple[str, Action] | None:
        """In COPY a computed column's type is not known: text format is looked at, and masked as a whole."""
        if not self.masks.detect:
            return None
        return f"?{described.name}", detect.scanner(self.masks.detect, self.masks.hash_key, whole=True)


NOTHING: Final = MaskPlan()


def plan(
    facts: Facts,
    masks: MaskSet,
    catalog: Catalog,
    *,
    uncertain: bool = False,
    pending: Pending = _NOT_PENDING,
) -> MaskPlan:
    """What masking does with a query.

    `uncertain`: the transaction has DDL that is not committed. `pending`: that of the plan before it in the
    same transaction.
    """
    aliases = pending.aliases.union(*(statement.aliases for statement in facts.statements))
    if masks.empty or not facts.statements:
        return MaskPlan(pending=Pending(aliases=aliases)) if aliases else NOTHING
    before = (set(pending.renamed), set(pending.harmless_triggers), set(pending.made))
    planner = _Planner(masks, catalog, uncertain, *before)
    found = tuple(planner.statement(statement) for statement in facts.statements)
    return MaskPlan(
        refusal=planner.refusal,
        hold=planner.hold if planner.refusal is None else None,
        touches=any(traced.touches for traced in found) or bool(masks.detect),
        pending=Pending(
            frozenset(planner.renamed), frozenset(planner.harmless_triggers), frozenset(planner.made), aliases
        ),
        statements=found,
        masks=masks,
        catalog=catalog,
        uncertain=planner.uncertain,
        words=lambda: errors.words_of(facts.sql),
    )


def unknown(masks: MaskSet, catalog: Catalog) -> MaskPlan:
    """For results of which nothing is known: every computed column and every masked one is masked."""
    if masks.empty:
        return NOTHING
    return MaskPlan(touches=True, statements=(), masks=masks, catalog=catalog)


def _unknown(masks: MaskSet) -> Traced:
    return Traced(Columns((), frozenset(masks.columns) | {UNSEEN, NULLNESS}), touches=True, user_code=True)


@dataclass
class _Planner:
    masks: MaskSet
    catalog: Catalog
    uncertain: bool
    renamed: set[str]
    harmless_triggers: set[str]
    made: set[str]
    refusal: Refusal | None = None
    hold: Hold | None = None

    def statement(self, facts: StatementFacts) -> Traced:
        source = self.masks.source(self.catalog)
        source.uncertain = self.uncertain
        if self._harmless(facts, source.touching):
            self._after(facts)
            return Traced(Columns(()), touches=False, user_code=False)
        tracer = Tracer(source, frozenset(self.renamed), self.masks.absorbing, self.made)
        statements = Statements(tracer, harmless_triggers=self.harmless_triggers)
        copy: CopyOptions | None = None
        alternatives: tuple[Columns, ...] = ()
        try:
            raw = parse(facts.text)
            columns = (
                statements.trace(raw[0].kind, raw[0].node) if len(raw) == 1 else Columns((), source.masked)
            )
            if len(raw) == 1 and raw[0].kind == "CopyStmt":
                copy = CopyOptions.of(raw[0].node.get("options", ()))
                alternatives = statements.alternatives(raw[0].node)
        except (UnreadableError, RecursionError, KeyError, ValueError, IndexError):
            # a tree that was not understood: nothing is known of what it does
            columns = Columns((), source.masked)
            tracer.flows |= source.masked
        self.renamed |= statements.renames
        self._judge(tracer, statements, facts)
        if copy is not None and columns.whole() and not copy.safe:
            self._refuse(columns.whole(), "COPY in this encoding cannot be masked")
        touches = self._touches(facts, source.touching, columns, tracer)
        self._after(facts)
        code = bool(facts.opaque_functions) or facts.dynamic_sql or self._runs_user_code(facts)
        return Traced(columns, touches, code, copy, alternatives, self._unknown_relations(facts))

    def _harmless(self, facts: StatementFacts, names: frozenset[str]) -> bool:
        """True where the facts alone show that no masked column has to do with the statement."""
        if not self.masks.rules:
            return True
        return False if facts.copy == "out" or self.uncertain or self.renamed else self._plain(facts, names)

    def _plain(self, facts: StatementFacts, names: frozenset[str]) -> bool:
        if facts.dynamic_sql or facts.opaque_functions or facts.executes or facts.fetches:
            return False
        if facts.changes_catalog or facts.transaction:
            return facts.transaction is not None and not facts.changes_catalog
        for relation in facts.relations:
            if relation.name in names:
                return False
            if relation.schema not in ("pg_catalog", "information_schema") and not self.catalog.named(
                relation.schema, relation.name
            ):
                return False
        source = self.masks.source(self.catalog)
        return not any(source.function(f.schema, f.name)[0] for f in facts.functions)

    def _touches(
        self, facts: StatementFacts, names: frozenset[str], columns: Columns, tracer: Tracer
    ) -> bool:
        return (
            bool(columns.whole() or tracer.predicates or tracer.flows)
            or any(relation.name in names for relation in facts.relations)
            or any(relation.name in self.renamed for relation in facts.relations)
            or facts.dynamic_sql
            or bool(facts.opaque_functions)
            or bool(self._unknown_relations(facts))
        )

    def _unknown_relations(self, facts: StatementFacts) -> tuple[str, ...]:
        return tuple(
            relation.name
            for relation in facts.relations
            if relation.schema not in ("pg_catalog", "information_schema")
            and not self.catalog.named(relation.schema, relation.name)
        )

    def _runs_user_code(self, facts: StatementFacts) -> bool:
        if any(self.catalog.routines_named(f.schema, f.name) for f in facts.functions):
            return True
        written = (
            r for ref in facts.relations if ref.written for r in self.catalog.named(ref.schema, ref.name)
        )
        return facts.tag in ("DO", "CALL") or any(r.triggers or r.calls for r in written)

    def _after(self, facts: StatementFacts) -> None:
        self.uncertain = self.uncertain or facts.changes_catalog

    # --- verdict ---------------------------------------------------------------------------------------

    def _judge(self, tracer: Tracer, statements: Statements, facts: StatementFacts) -> None:
        flows, predicates = frozenset(tracer.flows), frozenset(tracer.predicates)
        if flows - {NULLNESS}:
            self._refuse(flows, "Its values would go where no mask covers them.")
        ungated_sql = (statements.dynamic or facts.dynamic_sql) and not self.masks.dynamic_is_gated
        ungated_code = (statements.opaque or bool(facts.opaque_functions)) and not self.masks.opaque_is_gated
        if ungated_sql or ungated_code:
            self._refuse(tracer.source.masked, "The statement runs code that cannot be read.")
        for key in sorted(predicates - {NULLNESS}):
            mask = self.masks.columns.get(key)
            if mask is None or mask.predicates == "block":
                self._refuse((key,), "It would decide which rows come, how many or in what order.")
            elif mask.predicates == "approve" and self.hold is None:
                self.hold = Hold(f"mask {mask.rule}", 1, self.masks.approval_timeout_s)

    def _refuse(self, keys: Iterable[Key], detail: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal("42501", f'column "{self._name(keys)}" is masked', detail)

    def _name(self, keys: Iterable[Key]) -> str:
        """The name of one of them: a table's own column, if there is one."""
        named = [self.masks.columns[key] for key in keys if key in self.masks.columns]
        named.sort(
            key=lambda mask: (mask.key in SYSTEM_KEYS or mask.via == "*", mask.via is not None, mask.key)
        )
        return named[0].name if named else self.masks.rules[0].columns[0]
