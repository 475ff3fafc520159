"""Columns of a table: kind of each and the rule that chose it."""

import base64
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal, get_args

import pyarrow as pa
from pydantic import Field

from aepipe.config.data import ContextPart
from aepipe.config.job import Kind
from aepipe.config.text import TokenKind
from aepipe.config.waveform import Waveform
from aepipe.frozen import FrozenModel
from aepipe.tables.text_values import notation_of

Transform = Literal["auto", "linear", "log"]
_MODELLED: frozenset[Kind] = frozenset(get_args(Kind)) - {"label", "key", "ignore"}


class Column(FrozenModel):
    """Column of the source table."""

    name: str
    kind: Kind
    type: str = Field(description="Arrow type, as text")
    nullable: bool = True
    why: str = Field(description="the rule that chose the kind")
    shape: tuple[int, ...] | None = Field(
        None, description="image: [channels, height, width]; vector: [length]; series: [steps, channels]"
    )
    resize: bool = Field(False, description="image: convert images of another size or number of channels")
    top: int | None = Field(None, description="image: maximum pixel value; None for 255")
    packed: bool = Field(False, description="image: rows hold PNG or JPEG bytes, not pixels")
    transform: Transform = Field("auto", description="number: transform applied before scaling")
    tokens: TokenKind | None = Field(
        None, exclude_if=lambda value: value is None, description="text: tokens; None for words"
    )
    length: int | None = Field(
        None, exclude_if=lambda value: value is None, description="text: number of tokens; None for a quantile"
    )
    waveform: Waveform | None = Field(
        None, exclude_if=lambda value: value is None, description="waveform: its settings"
    )
    catalogue: int | None = Field(
        None, exclude_if=lambda value: value is None, description="items: size of the catalogue; None for the default"
    )
    context: tuple[ContextPart, ...] = Field(
        (), exclude_if=lambda value: not value, description="condition: parts of the event time that it consists of"
    )


class Schema(FrozenModel):
    """All columns of the source, in its order."""

    columns: tuple[Column, ...]
    event_time: str | None = Field(None, description="column that orders rows in time")
    entity: tuple[str, ...] = Field(
        (), exclude_if=lambda value: not value, description="columns that name what a row is about"
    )
    arrow_ipc: str = Field(repr=False, description="the Arrow schema of the source, serialised, in base64")

    @classmethod
    def of(
        cls,
        columns: Iterable[Column],
        arrow: pa.Schema,
        *,
        event_time: str | None = None,
        entity: Sequence[str] = (),
    ) -> "Schema":
        """Build a schema from columns and their exact Arrow types; metadata are dropped, except notations of text."""
        fields = [
            field if notation_of(field) is not None else pa.field(field.name, field.type, field.nullable)
            for field in arrow
        ]
        packed = base64.b64encode(pa.schema(fields).serialize().to_pybytes()).decode("ascii")
        return cls(columns=tuple(columns), event_time=event_time, entity=tuple(entity), arrow_ipc=packed)

    @cached_property
    def modelled(self) -> tuple[Column, ...]:
        """Columns that the network sees."""
        return tuple(column for column in self.columns if column.kind in _MODELLED)

    @cached_property
    def described(self) -> tuple[Column, ...]:
        """Columns that are encoded and reconstructed: modelled ones except conditions and target."""
        return tuple(column for column in self.modelled if column.kind not in ("condition", "target"))

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditioning columns."""
        return tuple(column.name for column in self.columns if column.kind == "condition")

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return tuple(column.name for column in self.columns if column.kind == "key")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the ground-truth columns."""
        return tuple(column.name for column in self.columns if column.kind == "label")

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """Names of the passthrough columns: keys, event time, labels, entity, each once."""
        time = () if self.event_time is None else (self.event_time,)
        return tuple(dict.fromkeys((*self.keys, *time, *self.labels, *self.entity)))

    @cached_property
    def columns_read(self) -> tuple[str, ...]:
        """Names of the columns to read: modelled and passthrough columns; scoring data may lack labels."""
        return tuple(dict.fromkeys((*(column.name for column in self.modelled), *self.carried)))

    def without_keys(self) -> "Schema":
        """Return the schema of the modelled columns alone, which is all that an encoding reads."""
        return Schema(columns=self.modelled, arrow_ipc=self.arrow_ipc)

    @cached_property
    def arrow(self) -> pa.Schema:
        """Arrow schema of the source."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.arrow_ipc)))
