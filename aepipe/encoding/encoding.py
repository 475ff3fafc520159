"""Encoding of rows: fitted column encoders, encode and decode."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import ConfigDict, Field

from aepipe.encoding.binned.category import fit_category_codes
from aepipe.encoding.binned.datetime import fit_datetime_codes
from aepipe.encoding.binned.number import fit_number_codes
from aepipe.encoding.binned.vector import fit_vector_codes
from aepipe.encoding.category import fit_category
from aepipe.encoding.context import ContextCodec, fit_context
from aepipe.encoding.datetime import fit_datetime
from aepipe.encoding.image import ImageCodec, fit_image
from aepipe.encoding.items import ItemsCodec, fit_items
from aepipe.encoding.number import fit_number
from aepipe.encoding.series import SeriesCodec, fit_series
from aepipe.encoding.table import AnyCodec, TableCodec, TableEncoder
from aepipe.encoding.tags import fit_tags
from aepipe.encoding.text import TextCodec, fit_text
from aepipe.encoding.vector import fit_vector
from aepipe.encoding.waveform import fit_waveform, refuse_waveform_codes
from aepipe.errors import OptionInvalid, SchemaMismatch
from aepipe.frozen import FrozenModel
from aepipe.layout import Category, Layout, Text
from aepipe.storage.run_details import counted_reasons
from aepipe.tables.arrow_arrays import plain_values, restored
from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.schema import Column, Schema
from aepipe.tables.schema_check import faults
from aepipe.tables.struct_fields import flatten_structs
from aepipe.tables.text_values import count_unparsed, notation_of
from aepipe.tables.unification import parse_text_columns

Arrays: TypeAlias = dict[str, np.ndarray]
"""Row tensors by the names in `Layout.ports`: num float32 (B, N), cat int32 (B, C), image uint8 (B, C, H, W), ..."""

_Fit: TypeAlias = Callable[[Column, int, pa.ChunkedArray], AnyCodec]
_FIT: dict[str, _Fit] = {
    "number": fit_number,
    "category": fit_category,
    "boolean": fit_category,
    "datetime": fit_datetime,
    "vector": fit_vector,
    "tags": fit_tags,
    "text": fit_text,
    "waveform": fit_waveform,
    "items": fit_items,
}
_FIT_CODES: dict[str, _Fit] = {
    "number": fit_number_codes,
    "category": fit_category_codes,
    "boolean": fit_category,
    "datetime": fit_datetime_codes,
    "vector": fit_vector_codes,
    "tags": fit_tags,
    "text": fit_text,
    "waveform": refuse_waveform_codes,
    "items": fit_items,
}
_FIT_OF_SORT: dict[str, _Fit] = {
    "number": fit_number,
    "text": fit_category,
    "boolean": fit_category,
    "time": fit_datetime,
}


_LABEL_KINDS = {"number": "number", "text": "category", "boolean": "boolean", "time": "datetime"}
MOST_LABEL_VALUES = 100
"""Maximum number of distinct integers of a label that is a category."""


class Encoded(NamedTuple):
    """Encoded rows."""

    arrays: Arrays
    invalid: np.ndarray
    """int16 (B,): 0 for valid rows, else an index into `Encoding.invalid_reasons`; invalid rows hold placeholders."""
    unseen: dict[str, int]
    """Number of values not seen in training, or of unparsed texts, by column; columns without any are omitted."""
    cut: dict[str, int]
    """Number of texts and lists that are longer than the model reads, by column; columns without any are omitted."""


class Encoding(FrozenModel):
    """Encoding of rows: schema.json of a bundle, read with `Encoding.model_validate_json`."""

    model_config = ConfigDict(populate_by_name=True)

    # A field named `schema` would shadow a method of BaseModel.
    schema_: Schema = Field(alias="schema", description="columns of the source")
    codecs: tuple[TableCodec, ...] = Field((), description="table: one per modelled column, in their order")
    image: ImageCodec | None = Field(None, description="image")
    series: SeriesCodec | None = Field(None, description="windows of a time series")
    target: ImageCodec | None = Field(None, description="image that is reconstructed in place of the input")
    given: tuple[TableCodec, ...] = Field((), description="conditions, in their order")
    labels: tuple[TableCodec, ...] = Field((), description="labels that samples have: no part of the row tensors")

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        """Columns of the source."""
        return self.schema_

    @cached_property
    def layout(self) -> Layout:
        """Layout of an encoded row."""
        columns = tuple(name for codec in self.codecs for name in codec.columns)
        sources = tuple(codec.name for codec in self.codecs for _ in codec.columns)
        return Layout(
            columns=columns or tuple(column.name for column in self.schema_.described),
            source_columns=sources if columns != sources else (),
            numbers=tuple(number for codec in self.codecs for number in codec.numbers),
            categories=tuple(category for codec in self.codecs for category in codec.categories),
            texts=tuple(self._texts()),
            image=None if self.image is None else self.image.image,
            series=None if self.series is None else self.series.series,
            target=None if self.target is None else self.target.image,
            conditions=self.schema_.conditions,
            given_numbers=tuple(number for codec in self.given for number in codec.numbers),
            given_categories=tuple(category for codec in self.given for category in codec.categories),
        )

    def _texts(self) -> Iterator[Text]:
        first = 0
        for codec in self.codecs:
            if isinstance(codec, TextCodec | ItemsCodec):
                yield codec.text(first)
            first += len(codec.categories)

    @cached_property
    def sampled(self) -> tuple[Column, ...]:
        """Columns of synthetic rows, in the order of the source: the modelled ones, and the labels that are drawn."""
        names = {column.name for column in self.schema_.modelled} | {codec.name for codec in self.labels}
        return tuple(column for column in self.schema_.columns if column.name in names)

    @property
    def label_categories(self) -> tuple[Category, ...]:
        """Features of the labels, as codes."""
        return tuple(category for codec in self.labels for category in codec.categories)

    @property
    def code_orders(self) -> tuple[tuple[int, ...] | None, ...]:
        """Codes of each category of the layout in the order of their values; None: its values have no order."""
        return tuple(order for codec in self.codecs for order in codec.code_orders)

    @property
    def has_bins(self) -> bool:
        """A code may stand for several values, a bin or rare values, and decoding draws one."""
        return any(codec.is_shared for codec in self.codecs)

    @cached_property
    def invalid_reasons(self) -> tuple[str, ...]:
        """Messages for the values of `Encoded.invalid`; the first is empty."""
        alone = (codec for codec in (self.image, self.target, self.series) if codec is not None)
        return ("", *(reason for codec in (*self.codecs, *alone, *self.given) for reason in codec.reasons))

    def describe_invalid(self, invalid: np.ndarray) -> str:
        """Return the reasons in `Encoded.invalid`, (B,), with the number of rows of each, the most frequent first."""
        counts = np.bincount(invalid, minlength=len(self.invalid_reasons))
        found = {self.invalid_reasons[code]: int(counts[code]) for code in np.flatnonzero(counts[1:]) + 1}
        return counted_reasons(found)

    @cached_property
    def columns_read(self) -> tuple[str, ...]:
        """Names of the columns to read: modelled columns, keys, event time, and labels, which scoring data may lack."""
        return self.schema_.columns_read

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        """Encode a batch as C-contiguous tensors; columns are matched by name.

        Raises:
            SchemaMismatch: the batch lacks a column, or has one of another type.
        """
        given = batch
        batch = self._schema_check.checked(given)
        tensors: Arrays = {}
        invalid, unseen, known = np.zeros(batch.num_rows, np.int16), self._schema_check.unparsed(given, batch), 0
        cut: dict[str, int] = {}
        for name, codec in (("image", self.image), ("target", self.target)):
            if codec is not None:
                tensors[name], reasons = codec.encode(batch.column(codec.name))
                invalid, known = _first_reason(invalid, reasons, known), known + len(codec.reasons)
        if self.series is not None:
            windows = self.series.encode(batch.column(self.series.name))
            tensors |= {"steps": windows.steps, "length": windows.length}
            invalid, known = _first_reason(invalid, windows.reasons, known), known + len(self.series.reasons)
        for prefix, table in (("", self._table), ("given_", self._given)):
            if table.codecs:
                found = table.encode(batch)
                tensors |= {f"{prefix}num": found.num, f"{prefix}cat": found.cat}
                invalid, known = _first_reason(invalid, found.reasons, known), known + table.reasons
                unseen |= found.unseen
                cut |= found.cut
        return Encoded({port.name: tensors[port.name] for port in self.layout.ports}, invalid, unseen, cut)

    def conformed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch as the encoders read it: fields of structs as columns, text as numbers and times.

        Raises:
            SchemaMismatch: the batch lacks a column, or has one of another type.
        """
        return self._schema_check.checked(batch)

    def encode_table(self, table: pa.Table, *, rows: int) -> Encoded:
        """Encode a table, `rows` rows at a time. Raises SchemaMismatch."""
        batches = table.to_batches(rows) or [pa.RecordBatch.from_pylist([], table.schema)]
        parts = [self.encode(batch) for batch in batches]
        arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
        unseen, cut = Counter[str](), Counter[str]()
        for part in parts:
            unseen.update(part.unseen)
            cut.update(part.cut)
        return Encoded(arrays, np.concatenate([part.invalid for part in parts]), dict(unseen), dict(cut))

    def decode(self, arrays: Mapping[str, np.ndarray], uniform: np.ndarray | None = None) -> pa.RecordBatch:
        """Decode tensors to columns of the source's types and order.

        Numbers are clipped to the training range and rounded like the training values; a code without a value becomes
        a rare value, null or the most frequent value. Conditions are included if their tensors are given, except a
        context: the parts of a time are not the time.

        Args:
            arrays: row tensors.
            uniform: (B, C) on [0, 1), selects among the values that share a code, the place in a bin or one of the
                rare values; None: the middle one.
        """
        columns: dict[str, pa.Array] = {}
        for name, codec in (("image", self.image), ("target", self.target)):
            if codec is not None and name in arrays:
                columns[codec.name] = codec.decode(arrays[name], plain(self.schema_.arrow.field(codec.name).type))
        if self.series is not None and "steps" in arrays:
            kind = plain(self.schema_.arrow.field(self.series.name).type)
            columns[self.series.name] = self.series.decode(arrays["steps"], arrays["length"], kind)
        for prefix, table in (("", self._table), ("given_", self._given)):
            columns |= self._decoded(table, arrays, prefix, None if prefix else uniform)
        fields = [self.schema_.arrow.field(column.name) for column in self.schema_.modelled if column.name in columns]
        restored_columns = [restored(columns[field.name], field.type) for field in fields]
        types = [field.with_type(column.type) for column, field in zip(restored_columns, fields, strict=True)]
        return pa.RecordBatch.from_arrays(restored_columns, schema=pa.schema(types))

    def with_values(self, tables: Iterable[pa.RecordBatch]) -> "Encoding":
        """Return an encoding with the same codes that decodes them to values of these rows where a code has several.

        Args:
            tables: the training rows that the encoding was fitted to, and others.
        """
        batches = [self._schema_check.checked(batch) for batch in tables]
        columns = {column.name: column for column in self.schema_.columns}
        codecs, labels = (
            tuple(each.with_values(_values(columns[each.name], self.schema_, batches)) for each in group)
            for group in (self.codecs, self.labels)
        )
        return self.model_copy(update={"codecs": codecs, "labels": labels})

    def widened(self) -> "Encoding":
        """Return an encoding that gives values beyond the training values the codes that decode to them."""
        return self.model_copy(update={"codecs": tuple(each.widened() for each in self.codecs)})

    def encode_given(self, batch: pa.RecordBatch) -> Arrays:
        """Encode the conditions of a batch that holds their columns."""
        found = self._given.encode(batch)
        tensors = {"given_num": found.num, "given_cat": found.cat}
        return {port.name: tensors[port.name] for port in self.layout.given_ports}

    def encode_labels(self, table: pa.Table) -> np.ndarray:
        """Encode the labels of a table, int32 (B, L)."""
        names = [codec.name for codec in self.labels]
        batches = table.select(names).combine_chunks().to_batches()
        return np.concatenate(
            [np.zeros((0, len(self.label_categories)), np.int32), *(self._labels.encode(each).cat for each in batches)]
        )

    def decode_labels(self, codes: np.ndarray, uniform: np.ndarray) -> pa.RecordBatch:
        """Decode codes (B, L) to the labels in the source's types; uniform (B, L) as for `decode`."""
        fields = [self.schema_.arrow.field(codec.name) for codec in self.labels]
        kinds = [field.type for field in fields]
        columns = self._labels.decode(np.zeros((len(codes), 0), np.float32), codes, kinds, uniform)
        columns = [restored(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        return pa.RecordBatch.from_arrays(columns, names=[field.name for field in fields])

    def _decoded(
        self, table: TableEncoder, arrays: Mapping[str, np.ndarray], prefix: str, uniform: np.ndarray | None
    ) -> dict[str, pa.Array]:
        found = [arrays[name] for name in (f"{prefix}num", f"{prefix}cat") if name in arrays]
        if not found:
            return {}
        num = arrays.get(f"{prefix}num", np.zeros((len(found[0]), 0), np.float32))
        cat = arrays.get(f"{prefix}cat", np.zeros((len(found[0]), 0), np.int32))
        within = np.full(cat.shape, 0.5) if uniform is None else uniform
        names = [codec.name for codec in table.codecs]
        kinds = [self.schema_.arrow.field(name).type for name in names]
        columns = zip(table.codecs, table.decode(num, cat, kinds, within), strict=True)
        return {codec.name: column for codec, column in columns if not isinstance(codec, ContextCodec)}

    @cached_property
    def _table(self) -> TableEncoder:
        return TableEncoder(self.codecs)

    @cached_property
    def _labels(self) -> TableEncoder:
        return TableEncoder(self.labels)

    @cached_property
    def _given(self) -> TableEncoder:
        return TableEncoder(self.given)

    @cached_property
    def _schema_check(self) -> "_SchemaCheck":
        return _SchemaCheck(self.schema_)


class _Checked(NamedTuple):
    """Schema of batches that passed the check, and whether they need no conversion."""

    arrow: pa.Schema
    is_ready: bool


class _SchemaCheck:
    """Check of batches against the schema. Caches the last schema that passed: comparing costs 0.1 us."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema.without_keys()
        self.known: _Checked | None = None
        fields = [schema.arrow.field(column.name) for column in self.schema.columns]
        self._texts = [field for field in fields if notation_of(field) is not None]

    def checked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with fields of structs as columns and text as numbers and times, as the schema has them.

        Raises:
            SchemaMismatch: the batch lacks a column, or has one of another type.
        """
        known = self.known  # another thread may replace it
        if known is not None and batch.schema.equals(known.arrow):
            return batch if known.is_ready else self._converted(batch)
        converted = self._converted(batch)
        found = faults(self.schema, converted.schema)
        if found:
            raise SchemaMismatch("the batch", found)
        self.known = _Checked(batch.schema, converted is batch)
        return converted

    def unparsed(self, batch: pa.RecordBatch, converted: pa.RecordBatch) -> dict[str, int]:
        """Return the number of texts that did not parse, by column; columns without any are omitted."""
        if converted is batch:
            return {}
        flat = flatten_structs(batch)
        counts = {
            field.name: count_unparsed(flat.column(field.name), converted.column(field.name))
            for field in self._texts
            if sort_of(flat.schema.field(field.name).type) == "text"
        }
        return {name: count for name, count in counts.items() if count}

    def _converted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if not {column.name for column in self.schema.columns} <= set(batch.schema.names):
            batch = flatten_structs(batch)
        return parse_text_columns(batch, pa.schema(self._texts)) if self._texts else batch


def fit(
    schema: Schema, tables: Iterable[pa.RecordBatch], *, as_codes: bool = False, with_labels: bool = False
) -> Encoding:
    """Fit an encoding to training rows.

    Args:
        schema: columns of the table.
        tables: training rows only; other rows would leak into the encoding.
        as_codes: encode all columns of a table as categories, numbers by atoms and quantile bins; conditions are not
            affected.
        with_labels: also fit encoders of the labels of a table, for samples.

    Raises:
        SchemaMismatch: a batch lacks a column.
        OptionInvalid: there is no row.
    """
    checker = _SchemaCheck(schema)
    batches = [checker.checked(batch) for batch in tables]
    if not any(batch.num_rows for batch in batches):
        raise OptionInvalid("no row is left to train on. Widen [train] from, to or where.")
    given = [column for column in schema.modelled if column.kind == "condition"]
    conditions = tuple(_fit_condition(column, at, schema, batches) for at, column in enumerate(given))
    if schema.described[0].kind == "image":
        target = next((fit_image(column) for column in schema.modelled if column.kind == "target"), None)
        return Encoding(schema_=schema, image=fit_image(schema.described[0]), target=target, given=conditions)
    if schema.described[0].kind == "series":
        series = fit_series(schema.described[0], _values(schema.described[0], schema, batches))
        return Encoding(schema_=schema, series=series, given=conditions)
    fits = _FIT_CODES if as_codes else _FIT
    codecs: list[AnyCodec] = []
    at = 0
    for column in schema.described:
        codecs.append(fits[column.kind](column, at, _values(column, schema, batches)))
        at += len(codecs[-1].columns)
    return Encoding(
        schema_=schema, codecs=tuple(codecs), given=conditions, labels=_fit_labels(schema, batches, with_labels)
    )


def _fit_condition(column: Column, index: int, schema: Schema, batches: list[pa.RecordBatch]) -> AnyCodec:
    """Fit an encoder to a condition: by its type, or of the parts of a time that are the context."""
    values = _values(column, schema, batches)
    if column.context:
        return fit_context(column, index, values)
    return _FIT_OF_SORT[sort_of(schema.arrow.field(column.name).type)](column, index, values)


def _fit_labels(schema: Schema, batches: list[pa.RecordBatch], is_asked: bool) -> tuple[AnyCodec, ...]:
    """Fit an encoder to each label of a type that has one; numbers of few values are categories."""
    codecs = list[AnyCodec]()
    for column in schema.columns if is_asked else ():
        sort = sort_of(schema.arrow.field(column.name).type)
        if column.kind != "label" or sort not in _LABEL_KINDS:
            continue
        values, kind = _values(column, schema, batches), _LABEL_KINDS[sort]
        if sort == "number" and len(values.unique()) <= MOST_LABEL_VALUES and pt.is_integer(values.type):
            kind = "category"
        codecs.append(_FIT_CODES[kind](column, len(codecs), values))
    return tuple(codecs)


def _first_reason(invalid: np.ndarray, reasons: np.ndarray, known: int) -> np.ndarray:
    """Keep the first reason of each row; the reasons of the next encoder are numbered from `known`."""
    if not reasons.any():
        return invalid
    return np.where((invalid == 0) & (reasons != 0), reasons + np.int16(known), invalid).astype(np.int16)


def _values(column: Column, schema: Schema, batches: list[pa.RecordBatch]) -> pa.ChunkedArray:
    """Convert a column of any layout or narrower type to the source's plain type, decimals to float64."""
    kind = plain(schema.arrow.field(column.name).type)
    kind = pa.float64() if pt.is_decimal(kind) else kind
    plains = (plain_values(batch.column(column.name)) for batch in batches)
    return pa.chunked_array([array if array.type == kind else array.cast(kind, safe=False) for array in plains], kind)
