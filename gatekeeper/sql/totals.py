"""What an operation on a masked value can tell besides its result.

A total operation never fails and never sleeps because of the value, and is NULL only where an operand is:
its result can be masked in place. A nulling one may be NULL because of the value: its result is masked NULL
or not. Everything else can tell something by failing, by its time or by the number of its rows, and counts
as a predicate.
"""

from __future__ import annotations

from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


TOTAL_OPERATORS: Final = words("|| = <> != < > <= >= ~~ !~~ ~~* !~~* @> <@ && ^@ IS")
NULLING_OPERATORS: Final = frozenset(
    {"->", "->>", "#>", "#>>", "~", "~*", "!~", "!~*", "?", "?|", "?&", "@?", "@@"}
)
ARITHMETIC: Final = frozenset({"+", "-", "*"})
OTHER_OPERATORS: Final = words(
    "/ % ^ |/ ||/ @ & | # ~ << >> <<= >>= &< &> -|- ## <-> @-@ ?# ?- ?-| ?|| ~= !! *< *> *= *<> *<= *>="
    " #- + - *"
)
"""PostgreSQL's other operators: they may fail, but do nothing else."""
TYPES: Final = words(
    """
    bool int2 int4 int8 float4 float8 numeric money text varchar bpchar char name citext bytea date time
    timetz timestamp timestamptz interval uuid json jsonb jsonpath xml inet cidr macaddr macaddr8 bit
    varbit point line lseg box path polygon circle tsvector tsquery int4range int8range numrange tsrange
    tstzrange daterange oid regclass regproc regprocedure regoper regoperator regtype regrole
    regnamespace regconfig regdictionary pg_lsn tid xid xid8 cid int2vector oidvector
    """
)
"""PostgreSQL's own types."""

TOTAL_FUNCTIONS: Final = words(
    """
    upper lower initcap btrim ltrim rtrim trim length char_length character_length octet_length
    bit_length reverse md5 sha224 sha256 sha384 sha512 concat concat_ws left right replace translate
    quote_literal quote_ident quote_nullable ascii to_hex starts_with strpos position casefold normalize
    to_json to_jsonb row_to_json array_to_json json_build_array jsonb_build_array array_to_string
    array_length cardinality array_ndims array_append array_prepend array_cat array_remove json_agg
    jsonb_agg json_agg_strict jsonb_agg_strict array_agg string_agg min max sum avg xmlagg any_value
    stddev stddev_pop stddev_samp variance var_pop var_samp bool_and bool_or every json_typeof
    jsonb_typeof jsonb_pretty json_strip_nulls jsonb_strip_nulls first_value last_value lag lead abs
    sign ceil ceiling floor round trunc date_part extract date_trunc age justify_days justify_hours
    justify_interval isfinite text varchar bpchar convert_to pg_typeof pg_column_size pg_collation_for
    num_nulls num_nonnulls host abbrev family masklen netmask network broadcast hostmask lower_inc
    upper_inc isempty to_char timezone to_tsvector plainto_tsquery hashtext hashtextextended
    """
)
NULLING_FUNCTIONS: Final = words(
    """
    substring substr split_part regexp_replace regexp_match regexp_substr regexp_count regexp_like
    regexp_instr json_extract_path json_extract_path_text jsonb_extract_path jsonb_extract_path_text
    json_object_field json_object_field_text jsonb_object_field jsonb_object_field_text array_position
    array_upper array_lower jsonb_path_exists json_build_object jsonb_build_object overlay lpad rpad
    encode format nth_value mode json_object_agg jsonb_object_agg json_object jsonb_object corr
    covar_pop covar_samp bit_and bit_or
    """
)
"""These fail for some arguments beside the value; `ARGUMENTS` says where a masked one may stand."""
FIRST_ARGUMENT_ONLY: Final = words(
    """
    left right substring substr split_part regexp_replace regexp_match regexp_substr regexp_count
    regexp_like regexp_instr overlay lpad rpad encode to_char date_part date_trunc extract timezone
    nth_value round trunc array_length array_upper array_lower json_extract_path json_extract_path_text
    jsonb_extract_path jsonb_extract_path_text array_to_string jsonb_path_exists string_agg lag lead
    normalize to_tsvector plainto_tsquery
    """
)
"""A masked value in another argument could make them fail. `extract` and `date_part` have it second."""
SECOND_ARGUMENT: Final = frozenset(
    {"date_part", "date_trunc", "extract", "timezone", "to_tsvector", "plainto_tsquery"}
)
ROWS: Final = frozenset({"count", "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile"})

TEXTUAL_TYPES: Final = frozenset({"text", "varchar", "bpchar", "name", "citext"})
WIDENINGS: Final[dict[str, frozenset[int]]] = {
    "int4": frozenset({21, 23}),
    "int8": frozenset({20, 21, 23}),
    "numeric": frozenset({20, 21, 23, 1700}),
    "float8": frozenset({20, 21, 23, 700, 701}),
    "date": frozenset({1082, 1114, 1184}),
    "timestamp": frozenset({1082, 1114, 1184}),
    "timestamptz": frozenset({1082, 1114, 1184}),
    "json": frozenset({114, 3802}),
    "jsonb": frozenset({3802}),
    "uuid": frozenset({2950}),
    "bool": frozenset({16}),
}
"""Casts that never fail: to a type, from types."""

EFFECTS: Final = words(
    """
    set_config setval nextval currval pg_notify setseed lowrite lo_put lo_from_bytea lo_create lo_creat
    lo_export lo_open lo_lseek lo_lseek64 lo_truncate lo_truncate64 lo_unlink pg_logical_emit_message
    pg_advisory_lock pg_advisory_lock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
    pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared pg_advisory_unlock pg_advisory_unlock_shared dblink dblink_exec
    dblink_connect dblink_send_query dblink_open pg_create_restore_point pg_replication_origin_create
    pg_create_physical_replication_slot pg_create_logical_replication_slot pg_file_write
    pg_terminate_backend pg_cancel_backend pg_sleep pg_sleep_for pg_sleep_until
    pg_replication_origin_session_setup pg_copy_logical_replication_slot lo_import query_to_xml
    query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml ts_stat ts_rewrite pg_read_file
    pg_read_binary_file pg_ls_dir pg_stat_file
    """
)
"""They put what they are given where others, or the same session later, can see it."""
