"""The columns of a table: what each is, and why."""

import base64
import difflib
from collections.abc import Iterable
from functools import cached_property
from typing import Literal

import pyarrow as pa
from pydantic import Field

from aepipe.config.job import Kind
from aepipe.frozen import FrozenModel

Transform = Literal["auto", "linear", "log"]
_MODELLED: frozenset[Kind] = frozenset(
    {"number", "category", "boolean", "datetime", "vector", "image", "series", "condition", "target"}
)


class Column(FrozenModel):
    """One column of the source table, and why it is what it is."""

    name: str
    kind: Kind
    type: str = Field(description="Arrow type, as text")
    nullable: bool = True
    why: str = Field(description="the rule that chose the kind")
    shape: tuple[int, ...] | None = Field(
        None, description="image: [channels, height, width]; vector: [length]; series: [steps, channels]"
    )
    resize: bool = Field(False, description="image: of another size or number of channels is fitted, not refused")
    top: int | None = Field(None, description="image: greatest value of a pixel, where it is not 255")
    packed: bool = Field(False, description="image: rows hold PNG or JPEG bytes, not pixels")
    transform: Transform = Field("auto", description="number: before scaling")


class Schema(FrozenModel):
    """Every column of the source, in its order."""

    columns: tuple[Column, ...]
    event_time: str | None = Field(None, description="column by which rows are ordered in time")
    arrow_ipc: str = Field(repr=False, description="the Arrow schema of the source, serialised, in base64")

    @classmethod
    def of(cls, columns: Iterable[Column], arrow: pa.Schema, *, event_time: str | None = None) -> "Schema":
        """The schema of columns whose exact Arrow types are in `arrow`; metadata are dropped."""
        fields = [pa.field(field.name, field.type, field.nullable) for field in arrow]
        packed = base64.b64encode(pa.schema(fields).serialize().to_pybytes()).decode("ascii")
        return cls(columns=tuple(columns), event_time=event_time, arrow_ipc=packed)

    @cached_property
    def modelled(self) -> tuple[Column, ...]:
        """The columns that the network sees."""
        return tuple(column for column in self.columns if column.kind in _MODELLED)

    @cached_property
    def described(self) -> tuple[Column, ...]:
        """The columns that are encoded and rebuilt: modelled ones, but for conditions and a target."""
        return tuple(column for column in self.modelled if column.kind not in ("condition", "target"))

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """The columns that are given to a model that takes conditions."""
        return tuple(column.name for column in self.columns if column.kind == "condition")

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns that name a row."""
        return tuple(column.name for column in self.columns if column.kind == "key")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The columns that are the truth."""
        return tuple(column.name for column in self.columns if column.kind == "label")

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """The columns that go to the outputs untouched: keys, event time, labels, each once."""
        time = () if self.event_time is None else (self.event_time,)
        return tuple(dict.fromkeys((*self.keys, *time, *self.labels)))

    @cached_property
    def columns_read(self) -> tuple[str, ...]:
        """What a reader has to read: modelled columns, keys, event time, and labels, which scoring data may lack."""
        return tuple(dict.fromkeys((*(column.name for column in self.modelled), *self.carried)))

    def without_keys(self) -> "Schema":
        """The modelled columns alone: all that an encoding looks at."""
        return Schema(columns=self.modelled, arrow_ipc=self.arrow_ipc)

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of the source."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.arrow_ipc)))


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'amount'?` where a name is near, else nothing.

    >>> did_you_mean("amout", ["amount", "age"])
    "; did you mean 'amount'?"
    """
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
