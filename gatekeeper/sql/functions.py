"""What PostgreSQL's own functions, and those of its contrib modules, do beyond computing a value.

A name that stands in none of these tables only computes, or reads what its caller may read anyway.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

from gatekeeper.model import StatementClass

_SERVER: Final = re.compile(
    r"""pg_(
        read_(binary_)?file(_.*)? | ls_.*dir(_.*)? | stat_file(_.*)? | file_.* | logdir_ls
      | (terminate|cancel)_backend | reload_conf | rotate_logfile(_.*)? | promote | switch_wal
      | create_restore_point | (start|stop)_backup.* | backup_(start|stop)
      | wal_replay_(pause|resume) | log_(backend_memory_contexts|standby_snapshot)
      | (create|copy|drop|advance)_.*replication_slot.* | replication_slot_advance
      | logical_slot_.* | logical_emit_message | sync_replication_slots | replication_origin_.*
      | hba_file_rules | ident_file_mappings | show_all_file_settings
      | (current_)?logfile_rotate | stop_making_pinned_objects | split_walfile_name_.*
      | get_wal_(block|record|stats|fpi).* | prewarm | truncate_visibility_map | surgery.* | amcheck.*
      | get_.*_for_logical_replication | terminate_.* | buffercache_evict.* | import_system_collations_.*
      | (clear|restore)_sys.* | get_process_memory_contexts
    )
    | binary_upgrade_.* | lo_(import|export) | dblink.* | postgres_fdw_.* | heap_force_.*
    | autoprewarm_.* | get_raw_page | (bt|heap|brin|gin|gist|hash|fsm)_(page|meta|bitmap|revmap|tuple).*
    | page_header | tuple_data_split | adminpack.*
    | ts_?stat_file | file_fdw_.* | pg_?logical_.* | xslt_process""",
    re.VERBOSE,
)

_WRITE: Final = re.compile(
    r"""nextval | setval | pg_nextoid
    | lo_(creat|create|unlink|put|from_bytea|truncate|truncate64|import|open) | lowrite | be_lo_.*
    | brin_(summarize|desummarize)_.* | gin_clean_pending_list
    | pg_(restore|clear)_(relation|attribute)_stats | pg_stat_reset.* | pg_stat_statements_reset
    | lo_manage | pg_largeobject_.*""",
    re.VERBOSE,
)

_MISC: Final = re.compile(r"pg_notify", re.VERBOSE)
_DDL: Final = re.compile(r"pg_import_system_collations | pg_extension_config_dump", re.VERBOSE)

_DYNAMIC: Final = re.compile(
    r"""(query|cursor|table|schema|database)_to_xml(schema|_and_xmlschema)? | ts_stat | ts_rewrite
    | crosstab.* | connectby | dblink.* | xpath_table | pg_logical_slot_.*""",
    re.VERBOSE,
)

_HARMLESS_IN_EXTENSIONS: Final = re.compile(
    r"""uuid_(nil|ns_.*|generate_.*) | digest | hmac | crypt | gen_(salt|random_.*) | armor | dearmor
    | (pgp_(sym|pub)_)?(encrypt|decrypt)(_.*)? | pgp_.* | fips_mode
    | (word_|strict_word_)?similarity(_.*)? | show_(trgm|limit) | unaccent(_.*)? | hstore(_.*)? | akeys
    | avals    | skeys | svals | slice(_array)? | defined | exist | each | delete | citext.* | texticregex.*
    | subltree | subpath | nlevel | lca | ltree.* | text2ltree | levenshtein(_.*)? | soundex | difference
    | (d)?metaphone(_.*)? | daitch_mokotoff | cube.* | earth(_.*)? | ll_to_earth | latitude | longitude
    | gc_to_sec | sec_to_gc | icount | sort(_.*)? | uniq | idx | subarray | intset | normal_rand | is_?n\d*
    | tablefunc | st_.* | postgis_.* | geometry.* | geography.* | box[23]d.* | populate_record""",
    re.VERBOSE,
)


def classes(name: str) -> frozenset[StatementClass]:
    """The classes that a call of this built-in or contrib function needs; empty for most."""
    return _CLASSES.get(name) or _remember(name)


_CLASSES: dict[str, frozenset[StatementClass]] = {}


def _remember(name: str) -> frozenset[StatementClass]:
    found = frozenset(
        statement_class
        for pattern, statement_class in (
            (_SERVER, StatementClass.SERVER),
            (_WRITE, StatementClass.WRITE),
            (_MISC, StatementClass.MISC),
            (_DDL, StatementClass.DDL),
        )
        if pattern.fullmatch(name)
    )
    if name in BUILTINS:
        _CLASSES[name] = found
    return found


def runs_text(name: str) -> bool:
    """Whether it runs SQL that it gets as text, or reads a relation that it gets as a value."""
    return _DYNAMIC.fullmatch(name) is not None


def known_in_extensions(name: str) -> bool:
    """Whether it is known what an extension's function of this name does."""
    return bool(_HARMLESS_IN_EXTENSIONS.fullmatch(name) or classes(name) or runs_text(name))


BUILTINS: Final = frozenset(resources.files(__package__).joinpath("builtins.txt").read_text().split())
"""Names of the functions of pg_catalog and information_schema, of PostgreSQL 15 and 18 together."""
