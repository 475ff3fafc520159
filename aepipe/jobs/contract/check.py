"""Check of a source against a data contract: columns, types, missing values, uniqueness and limits."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from aepipe.errors import ArgumentInvalid, DataUnreadable, did_you_mean
from aepipe.jobs.contract.odcs import Contract, Property, Table, logical_type
from aepipe.tables.arrow_types import plain
from aepipe.tables.parquet_reader import READ_ROWS, Footer, slices

MOST_BYTES = 4 << 20
_SHOWN = 3


def read_contract(path: Path) -> Contract:
    """Read a contract from YAML or JSON.

    Raises:
        ArgumentInvalid: the file is not a contract, or PyYAML is not installed.
        DataUnreadable: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataUnreadable(f"{path} cannot be read: {error.strerror}. Name a contract file.") from None
    if len(data) > MOST_BYTES:
        raise ArgumentInvalid("contract", [f"{path} is too large: expected at most {MOST_BYTES >> 20} MB"])
    raw = _parsed(path, data)
    if not isinstance(raw, dict) or raw.get("kind") != "DataContract":
        raise ArgumentInvalid("contract", [f"{path} is not a data contract: expected kind: DataContract (ODCS 3)"])
    try:
        return Contract.model_validate(raw)
    except ValidationError as error:
        faults = [f"{path} {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5]]
        raise ArgumentInvalid("contract", faults) from None


def _parsed(path: Path, data: bytes) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ArgumentInvalid("contract", [f"{path} is not valid JSON: {error}"]) from None
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise ArgumentInvalid(
            "contract", ["reading YAML needs PyYAML. Install it: pip install pyyaml, or give the contract as JSON"]
        ) from None
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise ArgumentInvalid("contract", [f"{path} is not valid YAML: {line}"]) from None


def choose_table(contract: Contract, names: Sequence[str], *, table: str | None = None) -> Table:
    """Return the table of a contract by its name, or the only one, or the one with one of these names.

    Raises ArgumentInvalid if the contract has no such table.
    """
    known = {each.name: each for each in contract.tables}
    if table is not None:
        if table not in known:
            hint = did_you_mean(table, known) or f": expected one of {', '.join(known) or 'none'}"
            raise ArgumentInvalid("table", [f"the contract has no table '{table}'{hint}"])
        return known[table]
    if len(known) == 1:
        return next(iter(known.values()))
    for name in names:
        if name in known:
            return known[name]
    raise ArgumentInvalid("table", [f"the contract has {len(known)} tables. Name one of {', '.join(known) or 'none'}"])


def contract_faults(table: Table, footers: Sequence[Footer]) -> tuple[str, ...]:
    """Compare files with a table of a contract, and return one sentence per fault, with the file.

    Raises DataUnreadable if a file cannot be read.
    """
    found: dict[str, list[str]] = {}
    for footer in footers:
        for fault in _schema_faults(table, footer):
            found.setdefault(fault, []).append(str(footer.path))
    present = set.intersection(*(set(footer.schema.names) for footer in footers)) if footers else set()
    for column in table.properties:
        if column.name in present and _needs_values(column):
            for fault in _value_faults(column, footers):
                found.setdefault(fault, [])
    return tuple(
        f"{fault} ({', '.join(files[:_SHOWN])}{f' and {len(files) - _SHOWN} more' if len(files) > _SHOWN else ''})"
        if files
        else fault
        for fault, files in found.items()
    )


def _schema_faults(table: Table, footer: Footer) -> Iterator[str]:
    names = footer.schema.names
    for column in table.properties:
        if column.name not in names:
            yield f"column '{column.name}' is missing{did_you_mean(column.name, names)}"
            continue
        kind = footer.schema.field(column.name).type
        if pa.types.is_null(kind):
            continue  # without a value: `required` decides
        logical = logical_type(kind)
        is_wider = column.logical_type == "number" and logical == "integer"
        if column.logical_type is not None and logical != column.logical_type and not is_wider:
            yield f"column '{column.name}' is {kind}: expected the logical type {column.logical_type}"


def _needs_values(column: Property) -> bool:
    return column.required or column.unique or column.primary_key or column.limits != type(column.limits)()


def _value_faults(column: Property, footers: Sequence[Footer]) -> Iterator[str]:
    """Read a column of all files, and yield what its values break."""
    limits, nulls, outside, misfits, lengths = column.limits, 0, 0, 0, 0
    distinct: list[pa.Array] = []
    rows = 0
    for batch in slices([footer.path for footer in footers], [column.name], rows=READ_ROWS):
        values = batch.column(0)
        rows, nulls = rows + len(values), nulls + values.null_count
        known = values.drop_null()
        known = known.cast(plain(known.type)) if known.type != plain(known.type) else known
        outside += _outside(known, column)
        if pa.types.is_string(known.type) or pa.types.is_large_string(known.type):
            size = pc.utf8_length(known)
            short = pc.less(size, limits.min_length or 0)
            long = pc.greater(size, limits.max_length) if limits.max_length is not None else short
            lengths += pc.or_(short, long).true_count
            if limits.pattern is not None:
                misfits += _misfits(known, limits.pattern)
        if column.unique or column.primary_key:
            distinct.append(pc.unique(known))
    name = f"column '{column.name}'"
    if column.required and nulls:
        yield f"{name} has {nulls:,} missing values among {rows:,} rows: expected none"
    if outside:
        yield f"{name} has {outside:,} values outside {_range(column)}"
    if lengths:
        yield f"{name} has {lengths:,} texts of another length: expected {_lengths(column)}"
    if misfits:
        yield f"{name} has {misfits:,} texts that do not match the pattern {limits.pattern}"
    if distinct:
        repeated = rows - nulls - len(pc.unique(pa.chunked_array(distinct)))
        if repeated:
            yield f"{name} has {repeated:,} repeated values: expected unique ones"


def _outside(known: pa.Array, column: Property) -> int:
    """Count the values beyond the limits; limits of another type than the values are skipped."""
    limits, count = column.limits, 0
    bounds = (
        (limits.minimum, pc.less_equal if limits.exclusive_minimum else pc.less),
        (limits.maximum, pc.greater_equal if limits.exclusive_maximum else pc.greater),
    )
    for bound, is_outside in bounds:
        if bound is None:
            continue
        try:
            count += is_outside(known, pa.scalar(bound).cast(known.type, safe=False)).true_count
        except pa.ArrowException:
            continue
    return count


def _misfits(texts: pa.Array, pattern: str) -> int:
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise ArgumentInvalid("contract", [f"pattern {pattern!r} is not a regular expression: {error}"]) from None
    return sum(form.search(text) is None for text in texts.to_pylist())


def _range(column: Property) -> str:
    low = "" if column.limits.minimum is None else f"{column.limits.minimum} "
    high = "" if column.limits.maximum is None else f" {column.limits.maximum}"
    return f"the limits {low}to{high}".replace("limits to ", "limit ")


def _lengths(column: Property) -> str:
    low, high = column.limits.min_length or 0, column.limits.max_length
    return f"{low} or more characters" if high is None else f"{low} to {high} characters"
