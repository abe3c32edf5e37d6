"""Which session settings a statement changes, and to what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatekeeper.model import SettingChange
from gatekeeper.sql.tree import Tree

UNKNOWN: Final = SettingChange("?", None, computed=True)


def constant(node: Any) -> str | None:
    """The text of a constant, through casts and signs; None for anything else."""
    if not isinstance(node, dict):
        return None
    while "TypeCast" in node:
        node = node["TypeCast"].get("arg") or {}
    if "String" in node:
        return str(node["String"].get("sval", ""))
    if "Integer" in node:
        return str(node["Integer"].get("ival", 0))
    value = node.get("A_Const")
    if value is None or value.get("isnull"):
        return None
    for field in ("sval", "fval", "bsval"):
        if field in value:
            return str(value[field].get(field, ""))
    if "ival" in value:
        return str(value["ival"].get("ival", 0))
    if "boolval" in value:
        return "true" if value["boolval"].get("boolval") else "false"
    return None


def of_set(node: Tree, *, local: bool = False) -> list[SettingChange]:
    """Of SET and RESET in all their forms."""
    name = node.get("name", "").lower()
    local = local or node.get("is_local", False)
    match node.get("kind"):
        case "VAR_SET_VALUE":
            values = [constant(argument) for argument in node.get("args", ())]
            if not values or None in values:
                return [SettingChange(name, None, computed=True, local=local)]
            return [SettingChange(name, ", ".join(v for v in values if v is not None), local=local)]
        case "VAR_SET_MULTI":
            if name == "transaction snapshot":
                return []
            prefix = "default_transaction_" if name == "session characteristics" else "transaction_"
            return of_transaction(node.get("args", []), prefix)
        case "VAR_RESET_ALL":
            return [SettingChange("*", None, local=local)]
        case "VAR_SET_CURRENT":
            return [SettingChange(name, None, computed=True, local=local)]
        case _:
            return [SettingChange(name, None, local=local)]


def of_transaction(options: Sequence[Tree], prefix: str) -> list[SettingChange]:
    """Of BEGIN, START TRANSACTION and SET TRANSACTION: isolation, read only, deferrable."""
    changes = []
    for option in options:
        element = option.get("DefElem", {})
        name = str(element.get("defname", "")).removeprefix("transaction_")
        value = constant(element.get("arg"))
        if name in ("read_only", "deferrable") and value is not None:
            value = "on" if value in ("1", "true", "on") else "off"
        changes.append(SettingChange(prefix + name, value, local=prefix == "transaction_"))
    return changes


def of_call(arguments: Sequence[Tree]) -> SettingChange:
    """Of set_config(name, value, is_local)."""
    if len(arguments) != 3 or any("NamedArgExpr" in argument for argument in arguments):
        return UNKNOWN
    name, value, local = (constant(argument) for argument in arguments)
    if name is None:
        return UNKNOWN
    return SettingChange(name.lower(), value, computed=value is None, local=local == "true")
