"""The classes that each statement needs of itself, as pgaudit sorts them, and SERVER.

What is nested in a statement adds its own. An empty set: always allowed, or only what is nested counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatekeeper.model import StatementClass
from gatekeeper.sql.tags import STATEMENTS

READ, WRITE, FUNCTION, ROLE, DDL, MISC, SERVER = StatementClass

_TABLE: Final[Mapping[frozenset[StatementClass], str]] = {
    frozenset({DDL, SERVER}): """
        AlterExtensionContentsStmt AlterExtensionStmt AlterFdwStmt AlterForeignServerStmt
        AlterSubscriptionStmt AlterSystemStmt CreateExtensionStmt CreateFdwStmt
        CreateForeignServerStmt CreateForeignTableStmt
        CreatePLangStmt CreateSubscriptionStmt CreateTableSpaceStmt DropSubscriptionStmt DropTableSpaceStmt
        ImportForeignSchemaStmt
    """,
    frozenset({ROLE}): """
        AlterDefaultPrivilegesStmt AlterRoleSetStmt AlterRoleStmt CreateRoleStmt DropRoleStmt GrantRoleStmt
        GrantStmt
    """,
    frozenset({ROLE, SERVER}): "AlterUserMappingStmt CreateUserMappingStmt",
    frozenset({READ}): "SelectStmt",
    frozenset({WRITE}): "DeleteStmt InsertStmt MergeStmt TruncateStmt UpdateStmt",
    frozenset({FUNCTION}): "CallStmt DoStmt",
    frozenset({MISC}): "CheckPointStmt ListenStmt LockStmt NotifyStmt ReindexStmt UnlistenStmt VacuumStmt",
    frozenset({SERVER}): "LoadStmt",
    frozenset(): """
        ClosePortalStmt ConstraintsSetStmt CopyStmt DeallocateStmt DeclareCursorStmt DiscardStmt ExecuteStmt
        ExplainStmt FetchStmt PrepareStmt TransactionStmt VariableSetStmt VariableShowStmt
    """,
    frozenset({DDL}): """
        AlterCollationStmt AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt AlterDatabaseStmt AlterDomainStmt
        AlterEnumStmt AlterEventTrigStmt AlterFunctionStmt AlterObjectDependsStmt AlterObjectSchemaStmt
        AlterOpFamilyStmt AlterOperatorStmt AlterOwnerStmt AlterPolicyStmt AlterPublicationStmt AlterSeqStmt
        AlterStatsStmt AlterTSConfigurationStmt AlterTSDictionaryStmt AlterTableMoveAllStmt
        AlterTableSpaceOptionsStmt AlterTableStmt AlterTypeStmt ClusterStmt CommentStmt CompositeTypeStmt
        CreateAmStmt CreateCastStmt CreateConversionStmt CreateDomainStmt CreateEnumStmt CreateEventTrigStmt
        CreateFunctionStmt CreateOpClassStmt CreateOpFamilyStmt CreatePolicyStmt CreatePublicationStmt
        CreateRangeStmt CreateSchemaStmt CreateSeqStmt CreateStatsStmt CreateStmt CreateTableAsStmt
        CreateTransformStmt CreateTrigStmt CreatedbStmt DefineStmt DropOwnedStmt DropStmt DropUserMappingStmt
        DropdbStmt IndexStmt ReassignOwnedStmt RefreshMatViewStmt RenameStmt RuleStmt SecLabelStmt ViewStmt
    """,
}

CLASSES: Final[Mapping[str, frozenset[StatementClass]]] = {
    kind: classes for classes, kinds in _TABLE.items() for kind in kinds.split()
}

_SAME_NAMES: Final = """
    AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt AlterDatabaseStmt AlterPublicationStmt AlterStatsStmt
    AlterSubscriptionStmt AlterSystemStmt AlterTableSpaceOptionsStmt ClusterStmt CommentStmt
    CreatePublicationStmt CreateStatsStmt CreateSubscriptionStmt CreateTableSpaceStmt CreatedbStmt
    DropSubscriptionStmt DropTableSpaceStmt DropdbStmt IndexStmt RefreshMatViewStmt SecLabelStmt
"""
"""DDL after which every name of this database means what it meant before."""
SAME_NAMES: Final = frozenset(_SAME_NAMES.split())


def changes_names(kind: str) -> bool:
    """Whether names or shapes may differ after this statement."""
    return DDL in CLASSES[kind] and kind not in SAME_NAMES


assert CLASSES.keys() == STATEMENTS
