"""Columns that identify rows."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.roles.proposal import Proposal
from aepipe.tables.roles.sampled_values import count_distinct, joined, numbers_of, words_of

_ID = re.compile(r"id|ids|uuid|guid|oid|pk|rowid|identifier|ident|hash|sha1|sha256|md5")
_MAYBE_ID = re.compile(
    r"no|nr|num|number|key|code|ref|reference|index|idx|seq|sequence|serial|rownum|row|rownumber|rn|"
    r"counter|unnamed"
)
_MEASURES = re.compile(r"year|month|week|day|hour|minute|second|date|time|age|step|period|quarter")
_UUID = r"^\{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\}?$"
_HASH = r"^(0x)?[0-9a-fA-F]{16,128}$"
_FEWEST = 10
_MANY = 100
_UNIQUE = 0.995
_ONE_BY_ONE = 0.95


def is_identifier_text(values: pa.Array | pa.ChunkedArray) -> bool:
    """Return True if nearly all texts are UUIDs or hashes; nulls are skipped."""
    known = values.drop_null()
    if not (len(known) and sort_of(known.type) == "text"):
        return False
    return any(float(pc.mean(pc.match_substring_regex(known, form)).as_py()) >= _UNIQUE for form in (_UUID, _HASH))


def propose_keys(names: Sequence[str], groups: Sequence[pa.Table]) -> list[Proposal]:
    """Return the best key; other columns that identify a row are to be ignored."""
    ranked: list[tuple[float, Proposal]] = []
    for name in names:
        found = _key(name, groups)
        if found is not None:
            ranked.append(found)
    ranked.sort(key=lambda each: -each[0])
    keys = [proposal for _, proposal in ranked[:1]]
    others = [Proposal(each.column, "ignore", f"identifies rows too: {each.why}") for _, each in ranked[1:]]
    return keys + others


def _key(name: str, groups: Sequence[pa.Table]) -> tuple[float, Proposal] | None:
    kind = groups[0].schema.field(name).type
    sort = sort_of(kind)
    if sort not in ("number", "text", "bytes") or pt.is_duration(plain(kind)):
        return None
    column = joined([group.column(name) for group in groups])
    rows = len(column) - column.null_count
    distinct = count_distinct(column)
    if rows < _FEWEST or column.null_count or distinct < _UNIQUE * rows:
        return None
    words = words_of(name)
    is_id = bool(words) and (_ID.fullmatch(words[-1]) is not None or words[0] in ("id", "uuid", "guid"))
    may_be_id = bool(words) and _MAYBE_ID.fullmatch(words[-1]) is not None
    rank = 4.0 * (words in (["id"], ["uuid"], ["guid"])) + 2.0 * is_id + 1.0 * may_be_id
    found = f"{distinct:,} distinct values in {rows:,} sampled rows"
    if sort == "number":
        why = _counts(name, groups, is_id=is_id, may_be_id=may_be_id and distinct == rows)
    elif sort == "text":
        why = _identifies(column, is_id=is_id, may_be_id=may_be_id, rows=rows, is_unique=distinct == rows)
    else:
        is_uuid = pt.is_fixed_size_binary(plain(kind)) and plain(kind).byte_width == 16
        why = "16 bytes each, as UUIDs have" if is_uuid else None
    return None if why is None else (rank + 0.5 * ("counts up" in why), Proposal(name, "key", f"{found}, {why}"))


def _counts(name: str, groups: Sequence[pa.Table], *, is_id: bool, may_be_id: bool) -> str | None:
    values = [numbers_of(group.column(name)) for group in groups]
    whole = np.concatenate(values)
    if not np.array_equal(whole, np.rint(whole)) or any(_MEASURES.fullmatch(word) for word in words_of(name)):
        return None
    steps = np.concatenate([np.diff(each) for each in values])
    one_by_one = len(steps) > 0 and abs(float(np.mean(np.sign(steps) * (np.abs(steps) == 1)))) >= _ONE_BY_ONE
    is_integer = not pt.is_floating(plain(groups[0].schema.field(name).type))
    if one_by_one and (is_id or may_be_id or (is_integer and len(whole) >= _MANY)):
        return "which counts up by one from row to row"
    if is_id or (may_be_id and len(whole) >= _MANY):
        return "named like an identifier"
    return None


def _identifies(column: pa.Array, *, is_id: bool, may_be_id: bool, rows: int, is_unique: bool) -> str | None:
    if is_identifier_text(column):
        return "UUIDs or hashes"
    if is_id or (may_be_id and rows >= _MANY):
        return "named like an identifier"
    if not is_unique:
        return None
    forms = pc.unique(pc.replace_substring_regex(column.slice(0, 1_000), pattern=r"[0-9]+", replacement="0"))
    if len(forms) == 1 and "0" in forms[0].as_py() and rows >= _MANY and not re.search(r"0[-:/.]0", forms[0].as_py()):
        return f"numbered texts such as {column[0].as_py()!r}"
    return None
