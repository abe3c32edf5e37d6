"""The strongest lock that a statement takes on the relations it names.

From PostgreSQL 18, 13.3.1 "Table-Level Locks", the notes of each command's page, and for ALTER TABLE its
forms' own. Where a form is not known, the strongest: an approver is told of a lock too many, never too few.
"""

from __future__ import annotations

from typing import Final

from gatekeeper.model import StatementFacts
from gatekeeper.sql.tree import Tree, UnreadableError, parse

MODES: Final = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""As pg_locks names them, weakest first; LOCK TABLE counts them from 1."""
(
    _ACCESS_SHARE, _ROW_SHARE, _ROW_EXCLUSIVE, _SHARE_UPDATE,
    _SHARE, _SHARE_ROW, _EXCLUSIVE, _ACCESS_EXCLUSIVE,
) = MODES  # fmt: skip
_RANK: Final = {mode: rank for rank, mode in enumerate(MODES)}

_CONFLICTS: Final = {
    _ACCESS_SHARE: MODES[7:],
    _ROW_SHARE: MODES[6:],
    _ROW_EXCLUSIVE: MODES[4:],
    _SHARE_UPDATE: MODES[3:],
    _SHARE: (*MODES[2:4], *MODES[5:]),
    _SHARE_ROW: MODES[2:],
    _EXCLUSIVE: MODES[1:],
    _ACCESS_EXCLUSIVE: MODES,
}
"""Table 13.2."""

_WRITTEN: Final = {
    "INSERT": _ROW_EXCLUSIVE, "UPDATE": _ROW_EXCLUSIVE, "DELETE": _ROW_EXCLUSIVE, "MERGE": _ROW_EXCLUSIVE,
    "COPY": _ROW_EXCLUSIVE,
    "ANALYZE": _SHARE_UPDATE, "VACUUM": _SHARE_UPDATE, "COMMENT": _SHARE_UPDATE,
    "CREATE STATISTICS": _SHARE_UPDATE, "SECURITY LABEL": _SHARE_UPDATE,
    "CREATE INDEX": _SHARE, "REINDEX": _SHARE,
    "ALTER SEQUENCE": _SHARE_ROW, "CREATE TRIGGER": _SHARE_ROW,
    "GRANT": _ACCESS_SHARE, "REVOKE": _ACCESS_SHARE, "EXPLAIN": _ACCESS_SHARE, "PREPARE": _ACCESS_SHARE,
    "DO": _ACCESS_SHARE, "CALL": _ACCESS_SHARE, "DECLARE CURSOR": _ACCESS_SHARE, "EXECUTE": _ACCESS_SHARE,
    "CREATE FUNCTION": _ACCESS_SHARE, "CREATE PROCEDURE": _ACCESS_SHARE, "CREATE VIEW": _ACCESS_SHARE,
    "CREATE TABLE AS": _ACCESS_SHARE, "CREATE MATERIALIZED VIEW": _ACCESS_SHARE,
    "SELECT INTO": _ACCESS_SHARE,
}  # fmt: skip
"""On what a statement writes. A tag that is not here: AccessExclusiveLock. Those of a new object's own
statements lock nothing that was there before."""

_LOCKS_ALL_IT_NAMES: Final = frozenset(
    {
        "ANALYZE", "CLUSTER", "COMMENT", "CREATE INDEX", "CREATE STATISTICS", "LOCK TABLE", "REINDEX",
        "SECURITY LABEL", "VACUUM",
    }
)  # fmt: skip
"""What these name counts as read, and is locked as if it were written."""

_ALTER_TABLE: Final = {
    # ALTER TABLE, "Description": each form that takes less than ACCESS EXCLUSIVE says so.
    "AT_SetStatistics": _SHARE_UPDATE, "AT_SetOptions": _SHARE_UPDATE, "AT_ResetOptions": _SHARE_UPDATE,
    "AT_SetRelOptions": _SHARE_UPDATE, "AT_ResetRelOptions": _SHARE_UPDATE, "AT_ClusterOn": _SHARE_UPDATE,
    "AT_DropCluster": _SHARE_UPDATE, "AT_ValidateConstraint": _SHARE_UPDATE,
    "AT_AttachPartition": _SHARE_UPDATE, "AT_DetachPartitionFinalize": _SHARE_UPDATE,
    "AT_EnableTrig": _SHARE_ROW, "AT_EnableAlwaysTrig": _SHARE_ROW, "AT_EnableReplicaTrig": _SHARE_ROW,
    "AT_EnableTrigAll": _SHARE_ROW, "AT_EnableTrigUser": _SHARE_ROW, "AT_DisableTrig": _SHARE_ROW,
    "AT_DisableTrigAll": _SHARE_ROW, "AT_DisableTrigUser": _SHARE_ROW,
}  # fmt: skip


def strongest(statement: StatementFacts) -> tuple[str, str]:
    """The lock modes that a statement takes on the relations it writes, and on those it reads."""
    own, referenced = _own(statement)
    modes = {tag: _WRITTEN.get(tag, _ACCESS_EXCLUSIVE) for tag in statement.tags if _takes_locks(tag)}
    if own is not None and statement.tag in modes:
        modes[statement.tag] = own
    written = [_ACCESS_SHARE, *modes.values()]
    read = [_ACCESS_SHARE, *(mode for tag, mode in modes.items() if tag in _LOCKS_ALL_IT_NAMES)]
    if referenced is not None:
        read.append(referenced)
    if any(tag.startswith("SELECT FOR ") for tag in statement.tags):
        read.append(_ROW_SHARE)
    return _max(written), _max(read)


def conflict(mine: str, theirs: str) -> bool:
    """True where two sessions cannot hold both."""
    return theirs in _CONFLICTS.get(mine, MODES)


def stronger(one: str, other: str) -> str:
    """The stronger of two modes."""
    return _max([one, other])


def _max(modes: list[str]) -> str:
    return max(modes, key=_RANK.__getitem__)


def _takes_locks(tag: str) -> bool:
    return not tag.startswith("SELECT") or tag == "SELECT INTO"


def _own(statement: StatementFacts) -> tuple[str | None, str | None]:
    """What the statement's own form says: on what it names first, and on what it refers to."""
    try:
        parsed = parse(statement.text)
    except (UnreadableError, RecursionError):
        return None, None
    if len(parsed) != 1:
        return None, None
    kind, node = parsed[0].kind, parsed[0].node
    return _own_mode(kind, node), _referenced_mode(kind, node)


def _own_mode(kind: str, node: Tree) -> str | None:
    match kind:
        case "LockStmt":
            return MODES[int(node["mode"]) - 1]
        case "AlterTableStmt" if node.get("objtype") in {"OBJECT_TABLE", "OBJECT_FOREIGN_TABLE"}:
            commands = [command["AlterTableCmd"] for command in node.get("cmds", ())]
            return _max([_alter_mode(command) for command in commands] or [_ACCESS_EXCLUSIVE])
        case "IndexStmt":
            return _SHARE_UPDATE if node.get("concurrent") else _SHARE
        case "DropStmt" if node.get("concurrent"):
            return _SHARE_UPDATE
        case "RefreshMatViewStmt":
            return _EXCLUSIVE if node.get("concurrent") else _ACCESS_EXCLUSIVE
        case "ReindexStmt":
            return _SHARE_UPDATE if _option(node.get("params"), "concurrently") else _SHARE
        case "VacuumStmt":
            return _ACCESS_EXCLUSIVE if _option(node.get("options"), "full") else _SHARE_UPDATE
        case "ClusterStmt":
            return _ACCESS_EXCLUSIVE
        case _:
            return None


def _referenced_mode(kind: str, node: Tree) -> str | None:
    """On the other end of a foreign key, on the parent of a new partition, on a partition attached."""
    if kind not in {"AlterTableStmt", "CreateStmt"}:
        return None
    modes = [_ACCESS_SHARE]
    if "partbound" in node or _has_form(node, "AT_AttachPartition", "AT_DetachPartition"):
        modes.append(_ACCESS_EXCLUSIVE)
    if "inhRelations" in node or _has_form(node, "AT_AddInherit", "AT_DropInherit"):
        modes.append(_SHARE_UPDATE)
    if "pktable" in _keys(node):
        modes.append(_SHARE_ROW)
    return _max(modes)


def _has_form(node: Tree, *forms: str) -> bool:
    return any(command["AlterTableCmd"].get("subtype") in forms for command in node.get("cmds", ()))


def _alter_mode(command: Tree) -> str:
    form = command.get("subtype", "")
    if form == "AT_AddConstraint":
        constraint = command.get("def", {}).get("Constraint", {})
        return _SHARE_ROW if constraint.get("contype") == "CONSTR_FOREIGN" else _ACCESS_EXCLUSIVE
    if form == "AT_DetachPartition":
        partition = command.get("def", {}).get("PartitionCmd", {})
        return _SHARE_UPDATE if partition.get("concurrent") else _ACCESS_EXCLUSIVE
    return _ALTER_TABLE.get(form, _ACCESS_EXCLUSIVE)


def _option(options: list[Tree] | None, name: str) -> bool:
    """True where the option is there, unless it plainly says no."""
    for option in options or ():
        element = option.get("DefElem", {})
        if element.get("defname") == name:
            text = str(element.get("arg", "")).lower()
            return not any(no in text for no in ("'off'", "'false'", "'no'", "{'integer': {}}"))
    return False


def _keys(node: object) -> frozenset[str]:
    """Every field name in a tree."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            found.update(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return frozenset(found)
