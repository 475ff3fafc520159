"""One encoding of a whole row: what training learned of each column, and the way there and back."""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import BaseModel, ConfigDict, Field

from aepipe.arrow_arrays import plain_values, restored
from aepipe.arrow_types import plain, sort_of
from aepipe.columns import Column, Schema
from aepipe.encoding.category import fit_category
from aepipe.encoding.datetime import fit_datetime
from aepipe.encoding.image import ImageCodec, fit_image
from aepipe.encoding.number import fit_number
from aepipe.encoding.table import AnyCodec, TableCodec, TableEncoder
from aepipe.encoding.vector import fit_vector
from aepipe.errors import OptionInvalid, SchemaMismatch
from aepipe.layout import Layout
from aepipe.schema import faults

Arrays: TypeAlias = dict[str, np.ndarray]
"""Row tensors by the names of `Layout.ports`: num float32 (B, N), cat int32 (B, C), image uint8 (B, C, H, W)."""

_Fit: TypeAlias = Callable[[Column, int, pa.ChunkedArray], AnyCodec]
_FIT: dict[str, _Fit] = {
    "number": fit_number,
    "category": fit_category,
    "boolean": fit_category,
    "datetime": fit_datetime,
    "vector": fit_vector,
}
_FIT_OF_SORT: dict[str, _Fit] = {
    "number": fit_number,
    "text": fit_category,
    "boolean": fit_category,
    "time": fit_datetime,
}


class Encoded(NamedTuple):
    """Rows as tensors."""

    arrays: Arrays
    invalid: np.ndarray
    """int16 (B,): 0 is fine, else an index into `Encoding.invalid_reasons`; such rows hold finite placeholders."""
    unseen: dict[str, int]
    """How many values training never saw, by column; columns without one are left out."""


class Encoding(BaseModel):
    """schema.json of a bundle: pure data, read back with `Encoding.model_validate_json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    # A field `schema` would shadow a method of pydantic's.
    schema_: Schema = Field(alias="schema", description="the columns of the source")
    codecs: tuple[TableCodec, ...] = Field((), description="of a table: one a modelled column, in their order")
    image: ImageCodec | None = Field(None, description="of an image")

    @property
    def schema(self) -> Schema:  # type: ignore[override]
        """The columns of the source."""
        return self.schema_

    @cached_property
    def layout(self) -> Layout:
        """The shape of an encoded row."""
        return Layout(
            columns=tuple(column.name for column in self.schema_.modelled),
            numbers=tuple(number for codec in self.codecs for number in codec.numbers),
            categories=tuple(category for codec in self.codecs for category in codec.categories),
            image=None if self.image is None else self.image.image,
        )

    @cached_property
    def invalid_reasons(self) -> tuple[str, ...]:
        """What `Encoded.invalid` means: "" for 0, then a sentence each."""
        codecs = self.codecs if self.image is None else (self.image,)
        return ("", *(reason for codec in codecs for reason in codec.reasons))

    @cached_property
    def columns_read(self) -> tuple[str, ...]:
        """What a reader has to read: modelled columns, keys, event time, and labels, which scoring data may lack."""
        return self.schema_.columns_read

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        """The tensors of a batch, C-contiguous; columns are taken by name. Raises SchemaMismatch."""
        self._door.check(batch.schema)
        if self.image is not None:
            pixels = self.image.encode(batch.column(self.image.name))
            return Encoded({"image": pixels.image}, pixels.reasons, {})
        found = self._table.encode(batch)
        tensors = {"num": found.num, "cat": found.cat}
        return Encoded({port.name: tensors[port.name] for port in self.layout.ports}, found.reasons, found.unseen)

    def decode(self, arrays: Mapping[str, np.ndarray]) -> pa.RecordBatch:
        """The modelled columns in the source's types, order and ranges.

        Numbers keep to what training saw, integers are whole, floats are rounded as training's were; a code without a
        value becomes a rare value, null or the most frequent one.
        """
        rows = next((len(array) for array in arrays.values()), 0)
        fields = [self.schema_.arrow.field(column.name) for column in self.schema_.modelled]
        if self.image is not None:
            columns = [self.image.decode(arrays["image"], plain(fields[0].type))]
        else:
            num = arrays.get("num", np.zeros((rows, 0), np.float32))
            cat = arrays.get("cat", np.zeros((rows, 0), np.int32))
            columns = self._table.decode(num, cat, [field.type for field in fields])
        columns = [restored(column, field.type) for column, field in zip(columns, fields, strict=True)]
        types = [field.with_type(column.type) for column, field in zip(columns, fields, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(types))

    @cached_property
    def _table(self) -> TableEncoder:
        return TableEncoder(self.codecs)

    @cached_property
    def _door(self) -> "_Door":
        return _Door(self.schema_)


class _Door:
    """Lets in batches whose Arrow schema fits, and remembers the last one that did: comparing costs 0.1 us."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema.without_keys()
        self.known: pa.Schema | None = None

    def check(self, arrow: pa.Schema) -> None:
        if self.known is not None and arrow.equals(self.known):
            return
        found = faults(self.schema, arrow)
        if found:
            raise SchemaMismatch("the batch", found)
        self.known = arrow


def fit(schema: Schema, tables: Iterable[pa.RecordBatch]) -> Encoding:
    """The encoding that training rows ask for; none but training rows may be among them.

    Raises SchemaMismatch if a batch lacks a column, OptionInvalid if there is no row.
    """
    batches = list(tables)
    door = _Door(schema)
    for batch in batches:
        door.check(batch.schema)
    if not any(batch.num_rows for batch in batches):
        raise OptionInvalid("no row is left to train on: widen [train] from, to or where")
    if schema.modelled[0].kind == "image":
        return Encoding(schema_=schema, image=fit_image(schema.modelled[0]))
    codecs = [_fitted(column, at, schema, batches) for at, column in enumerate(schema.modelled)]
    return Encoding(schema_=schema, codecs=tuple(codecs))


def _fitted(column: Column, index: int, schema: Schema, batches: list[pa.RecordBatch]) -> AnyCodec:
    kind = plain(schema.arrow.field(column.name).type)
    arrays = [batch.column(column.name) for batch in batches]
    return _fitter(column, kind)(column, index, _one_type(arrays, kind))


def _fitter(column: Column, kind: pa.DataType) -> _Fit:
    return _FIT_OF_SORT[sort_of(kind)] if column.kind == "condition" else _FIT[column.kind]


def _one_type(arrays: list[pa.Array], kind: pa.DataType) -> pa.ChunkedArray:
    """Chunks of the source's plain type, whatever layout or narrower type each file has; decimals as float64."""
    kind = pa.float64() if pt.is_decimal(kind) else kind
    plains = (plain_values(array) for array in arrays)
    return pa.chunked_array([array if array.type == kind else array.cast(kind, safe=False) for array in plains], kind)
