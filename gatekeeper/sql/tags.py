"""PostgreSQL's command tag of every statement node (CreateCommandTag in utility.c, cmdtaglist.h).

A statement node that has no entry here has no tag, and what has no tag is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

_OBJECTS: Final[Mapping[str, str]] = {
    "OBJECT_ACCESS_METHOD": "ACCESS METHOD",
    "OBJECT_AGGREGATE": "AGGREGATE",
    "OBJECT_ATTRIBUTE": "TYPE",
    "OBJECT_CAST": "CAST",
    "OBJECT_COLLATION": "COLLATION",
    "OBJECT_COLUMN": "TABLE",
    "OBJECT_CONVERSION": "CONVERSION",
    "OBJECT_DATABASE": "DATABASE",
    "OBJECT_DOMAIN": "DOMAIN",
    "OBJECT_DOMCONSTRAINT": "DOMAIN",
    "OBJECT_EVENT_TRIGGER": "EVENT TRIGGER",
    "OBJECT_EXTENSION": "EXTENSION",
    "OBJECT_FDW": "FOREIGN DATA WRAPPER",
    "OBJECT_FOREIGN_SERVER": "SERVER",
    "OBJECT_FOREIGN_TABLE": "FOREIGN TABLE",
    "OBJECT_FUNCTION": "FUNCTION",
    "OBJECT_INDEX": "INDEX",
    "OBJECT_LANGUAGE": "LANGUAGE",
    "OBJECT_LARGEOBJECT": "LARGE OBJECT",
    "OBJECT_MATVIEW": "MATERIALIZED VIEW",
    "OBJECT_OPCLASS": "OPERATOR CLASS",
    "OBJECT_OPERATOR": "OPERATOR",
    "OBJECT_OPFAMILY": "OPERATOR FAMILY",
    "OBJECT_POLICY": "POLICY",
    "OBJECT_PROCEDURE": "PROCEDURE",
    "OBJECT_PUBLICATION": "PUBLICATION",
    "OBJECT_ROLE": "ROLE",
    "OBJECT_ROUTINE": "ROUTINE",
    "OBJECT_RULE": "RULE",
    "OBJECT_SCHEMA": "SCHEMA",
    "OBJECT_SEQUENCE": "SEQUENCE",
    "OBJECT_STATISTIC_EXT": "STATISTICS",
    "OBJECT_SUBSCRIPTION": "SUBSCRIPTION",
    "OBJECT_TABCONSTRAINT": "TABLE",
    "OBJECT_TABLE": "TABLE",
    "OBJECT_TABLESPACE": "TABLESPACE",
    "OBJECT_TRANSFORM": "TRANSFORM",
    "OBJECT_TRIGGER": "TRIGGER",
    "OBJECT_TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "OBJECT_TSDICTIONARY": "TEXT SEARCH DICTIONARY",
    "OBJECT_TSPARSER": "TEXT SEARCH PARSER",
    "OBJECT_TSTEMPLATE": "TEXT SEARCH TEMPLATE",
    "OBJECT_TYPE": "TYPE",
    "OBJECT_VIEW": "VIEW",
}

_TRANSACTIONS: Final[Mapping[str, str]] = {
    "TRANS_STMT_BEGIN": "BEGIN",
    "TRANS_STMT_START": "START TRANSACTION",
    "TRANS_STMT_COMMIT": "COMMIT",
    "TRANS_STMT_ROLLBACK": "ROLLBACK",
    "TRANS_STMT_SAVEPOINT": "SAVEPOINT",
    "TRANS_STMT_RELEASE": "RELEASE",
    "TRANS_STMT_ROLLBACK_TO": "ROLLBACK",
    "TRANS_STMT_PREPARE": "PREPARE TRANSACTION",
    "TRANS_STMT_COMMIT_PREPARED": "COMMIT PREPARED",
    "TRANS_STMT_ROLLBACK_PREPARED": "ROLLBACK PREPARED",
}

Node = Mapping[str, Any]


def _by(verb: str, field: str) -> Callable[[Node], str | None]:
    def tag(node: Node) -> str | None:
        name = _OBJECTS.get(node.get(field, ""))
        return name and f"{verb} {name}"

    return tag


def _rename(node: Node) -> str | None:
    column = node.get("renameType") == "OBJECT_COLUMN"
    return _by("ALTER", "relationType" if column else "renameType")(node)


def _select(node: Node) -> str:
    while "larg" in node:
        node = node["larg"]
    return "SELECT INTO" if "intoClause" in node else "SELECT"


def _create_as(node: Node) -> str:
    if node.get("objtype") == "OBJECT_MATVIEW":
        return "CREATE MATERIALIZED VIEW"
    return "SELECT INTO" if node.get("is_select_into") else "CREATE TABLE AS"


_TAGS: Final[Mapping[str, str | Callable[[Node], str | None]]] = {
    "AlterCollationStmt": "ALTER COLLATION",
    "AlterDatabaseRefreshCollStmt": "ALTER DATABASE",
    "AlterDatabaseSetStmt": "ALTER DATABASE",
    "AlterDatabaseStmt": "ALTER DATABASE",
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "AlterDomainStmt": "ALTER DOMAIN",
    "AlterEnumStmt": "ALTER TYPE",
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER",
    "AlterExtensionContentsStmt": "ALTER EXTENSION",
    "AlterExtensionStmt": "ALTER EXTENSION",
    "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
    "AlterForeignServerStmt": "ALTER SERVER",
    "AlterFunctionStmt": _by("ALTER", "objtype"),
    "AlterObjectDependsStmt": _by("ALTER", "objectType"),
    "AlterObjectSchemaStmt": _by("ALTER", "objectType"),
    "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY",
    "AlterOperatorStmt": "ALTER OPERATOR",
    "AlterOwnerStmt": _by("ALTER", "objectType"),
    "AlterPolicyStmt": "ALTER POLICY",
    "AlterPublicationStmt": "ALTER PUBLICATION",
    "AlterRoleSetStmt": "ALTER ROLE",
    "AlterRoleStmt": "ALTER ROLE",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "AlterStatsStmt": "ALTER STATISTICS",
    "AlterSubscriptionStmt": "ALTER SUBSCRIPTION",
    "AlterSystemStmt": "ALTER SYSTEM",
    "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION",
    "AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY",
    "AlterTableMoveAllStmt": _by("ALTER", "objtype"),
    "AlterTableSpaceOptionsStmt": "ALTER TABLESPACE",
    "AlterTableStmt": _by("ALTER", "objtype"),
    "AlterTypeStmt": "ALTER TYPE",
    "AlterUserMappingStmt": "ALTER USER MAPPING",
    "CallStmt": "CALL",
    "CheckPointStmt": "CHECKPOINT",
    "ClosePortalStmt": lambda node: "CLOSE CURSOR" if node.get("portalname") else "CLOSE CURSOR ALL",
    "ClusterStmt": "CLUSTER",
    "CommentStmt": "COMMENT",
    "CompositeTypeStmt": "CREATE TYPE",
    "ConstraintsSetStmt": "SET CONSTRAINTS",
    "CopyStmt": "COPY",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "CreateCastStmt": "CREATE CAST",
    "CreateConversionStmt": "CREATE CONVERSION",
    "CreateDomainStmt": "CREATE DOMAIN",
    "CreateEnumStmt": "CREATE TYPE",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "CreateExtensionStmt": "CREATE EXTENSION",
    "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
    "CreateForeignServerStmt": "CREATE SERVER",
    "CreateForeignTableStmt": "CREATE FOREIGN TABLE",
    "CreateFunctionStmt": lambda n: "CREATE PROCEDURE" if n.get("is_procedure") else "CREATE FUNCTION",
    "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "CreateOpFamilyStmt": "CREATE OPERATOR FAMILY",
    "CreatePLangStmt": "CREATE LANGUAGE",
    "CreatePolicyStmt": "CREATE POLICY",
    "CreatePublicationStmt": "CREATE PUBLICATION",
    "CreateRangeStmt": "CREATE TYPE",
    "CreateRoleStmt": "CREATE ROLE",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "CreateStatsStmt": "CREATE STATISTICS",
    "CreateStmt": "CREATE TABLE",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION",
    "CreateTableAsStmt": _create_as,
    "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "CreateTransformStmt": "CREATE TRANSFORM",
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateUserMappingStmt": "CREATE USER MAPPING",
    "CreatedbStmt": "CREATE DATABASE",
    "DeallocateStmt": lambda node: "DEALLOCATE" if node.get("name") else "DEALLOCATE ALL",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "DefineStmt": _by("CREATE", "kind"),
    "DeleteStmt": "DELETE",
    "DiscardStmt": lambda node: "DISCARD " + node.get("target", "DISCARD_ALL").removeprefix("DISCARD_"),
    "DoStmt": "DO",
    "DropOwnedStmt": "DROP OWNED",
    "DropRoleStmt": "DROP ROLE",
    "DropStmt": _by("DROP", "removeType"),
    "DropSubscriptionStmt": "DROP SUBSCRIPTION",
    "DropTableSpaceStmt": "DROP TABLESPACE",
    "DropUserMappingStmt": "DROP USER MAPPING",
    "DropdbStmt": "DROP DATABASE",
    "ExecuteStmt": "EXECUTE",
    "ExplainStmt": "EXPLAIN",
    "FetchStmt": lambda node: "MOVE" if node.get("ismove") else "FETCH",
    "GrantRoleStmt": lambda node: "GRANT ROLE" if node.get("is_grant") else "REVOKE ROLE",
    "GrantStmt": lambda node: "GRANT" if node.get("is_grant") else "REVOKE",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA",
    "IndexStmt": "CREATE INDEX",
    "InsertStmt": "INSERT",
    "ListenStmt": "LISTEN",
    "LoadStmt": "LOAD",
    "LockStmt": "LOCK TABLE",
    "MergeStmt": "MERGE",
    "NotifyStmt": "NOTIFY",
    "PrepareStmt": "PREPARE",
    "ReassignOwnedStmt": "REASSIGN OWNED",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "ReindexStmt": "REINDEX",
    "RenameStmt": _rename,
    "RuleStmt": "CREATE RULE",
    "SecLabelStmt": "SECURITY LABEL",
    "SelectStmt": _select,
    "TransactionStmt": lambda node: _TRANSACTIONS.get(node.get("kind", "")),
    "TruncateStmt": "TRUNCATE TABLE",
    "UnlistenStmt": "UNLISTEN",
    "UpdateStmt": "UPDATE",
    "VacuumStmt": lambda node: "VACUUM" if node.get("is_vacuumcmd") else "ANALYZE",
    "VariableSetStmt": lambda n: "RESET" if n.get("kind", "").startswith("VAR_RESET") else "SET",
    "VariableShowStmt": "SHOW",
    "ViewStmt": "CREATE VIEW",
}

NOT_STATEMENTS: Final = frozenset(
    {
        "PLAssignStmt",  # what PL/pgSQL makes of an assignment
        "RawStmt",  # the wrapper of a statement
        "ReplicaIdentityStmt",  # a part of ALTER TABLE
        "ReturnStmt",  # the body of an SQL function
        "SetOperationStmt",  # made by analysis, not by the grammar
    }
)
"""Nodes named like statements that never stand alone in a query string."""

STATEMENTS: Final = frozenset(_TAGS)
"""Every statement node that is classified."""


def command_tag(kind: str, node: Node) -> str | None:
    """PostgreSQL's tag for this statement, or None for one that is not classified.

    SELECT INTO gets the tag that PostgreSQL gives it after analysis.
    """
    found = _TAGS.get(kind)
    return found if found is None or isinstance(found, str) else found(node)
