"""Relations between columns that hold in training rows, and how sampled rows are made to hold them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray
from pydantic import Field

from aepipe.encoding.relations.numeric_view import nearest_known, numbers_of, to_clock, to_minutes
from aepipe.frozen import FrozenModel
from aepipe.tables.arrow_arrays import nulls_of, plain_values, values_of

Kind = Literal["equal", "linear", "product", "clock sum", "map", "clock", "null together", "null if null"]

EXACT = 0.995
"""Share of training rows from which a relation counts as exact; the other rows are taken for errors of the data."""
LEAST_DERIVED = 0.5
"""Share from which a target is derived; below, only where the model itself comes close to the relation."""


_LAST_DIGITS = 8
"""Machine epsilons by which two floats of the same number may differ: one was computed, the other rounded."""


class Relation(FrozenModel):
    """A column that follows from others, `target` = f(`sources`)."""

    kind: Kind
    target: str
    sources: tuple[str, ...] = ()
    share: float = Field(ge=0, le=1, description="share of training rows in which it holds, where all are known")
    factors: tuple[float, ...] = Field((), description="linear: factor of each source")
    constant: float = 0.0
    step: float = Field(0.0, ge=0, description="the target is rounded to multiples of it; 0: not rounded")
    rate: float = Field(1.0, ge=0, le=1, description="share of sampled rows, among those in question, that are set")
    midnight: float = Field(0.0, description="clock: midnight as the column writes it, 0 or 2400")
    file: str = Field("", description="map: file of the bundle with the known combinations")

    @property
    def is_exact(self) -> bool:
        return self.share >= EXACT

    @property
    def title(self) -> str:
        """Short form for cards and reports.

        >>> Relation(kind="linear", target="gross", sources=("net", "vat"), factors=(1, 1), share=1).title
        'gross = net + vat'
        """
        match self.kind:
            case "equal":
                return f"{self.target} = {self.sources[0]}"
            case "linear":
                terms = [_term(factor, name) for factor, name in zip(self.factors, self.sources, strict=True)]
                terms += [_term(self.constant, "")] if self.constant else []
                return f"{self.target} = {' '.join(terms).removeprefix('+ ')}"
            case "product":
                return f"{self.target} = {self.sources[0]} x {self.sources[1]}"
            case "clock sum":
                return f"{self.target} = {self.sources[0]} + {self.sources[1]} minutes (clock times)"
            case "map":
                return f"{self.target} follows from {' and '.join(self.sources)}"
            case "clock":
                return f"{self.target} is a clock time"
            case "null together":
                return f"{self.target} is missing where {self.sources[0]} is, and only there"
            case _:
                return f"{self.target} is missing where {self.sources[0]} is"

    def compute(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the target of numeric relations, (B,): NaN where a source is missing."""
        values = [columns[name] for name in self.sources]
        match self.kind:
            case "equal":
                found = values[0]
            case "product":
                found = values[0] * values[1]
            case "clock sum":
                return to_clock(to_minutes(values[0]) + values[1], midnight=self.midnight)
            case _:
                found = self.constant + sum(
                    (factor * each for factor, each in zip(self.factors, values, strict=True)), start=np.zeros(1)
                )
        if not self.step:
            return found
        places = round(-np.log10(self.step))
        return np.round(found, places)


def _term(factor: float, name: str) -> str:
    sign = "+" if factor >= 0 else "-"
    return f"{sign} {name}" if abs(factor) == 1 and name else f"{sign} {abs(factor):.6g} {name}".rstrip()


class MapTable:
    """Lookup of the rows of a table by their first columns."""

    def __init__(self, table: pa.Table) -> None:
        self.target = plain_values(table.column(table.num_columns - 1).combine_chunks())
        self._values = [plain_values(column.combine_chunks()).unique() for column in table.columns[:-1]]
        codes = self._codes([column.combine_chunks() for column in table.columns[:-1]])
        self._order = np.argsort(codes, kind="stable")
        self._sorted = codes[self._order]

    def find(self, columns: Sequence[pa.Array]) -> NDArray[np.int64]:
        """Return the row of the table of each combination, (B,); -1 where it is not in the table."""
        codes = self._codes(columns)
        at = np.minimum(np.searchsorted(self._sorted, codes), len(self._sorted) - 1)
        found: NDArray[np.int64] = np.where(self._sorted[at] == codes, self._order[at], -1)
        return found

    def _codes(self, columns: Sequence[pa.Array]) -> NDArray[np.int64]:
        codes = np.zeros(len(columns[0]), np.int64)
        unknown = np.zeros(len(columns[0]), np.bool_)
        for column, values in zip(columns, self._values, strict=True):
            array = plain_values(column)
            array = array if array.type == values.type else array.cast(values.type)
            places = pc.index_in(array, value_set=values)
            nulls = nulls_of(places)
            own = values_of(places).astype(np.int64)
            if nulls is not None and pt.is_floating(values.type):  # a computed number may differ from its rounded form
                slack = _LAST_DIGITS * float(np.finfo(values_of(values).dtype).eps)
                near = nearest_known(numbers_of(array), numbers_of(values), slack=slack)
                own, nulls = np.where(nulls, np.maximum(near, 0), own), nulls & (near < 0)
            unknown |= np.zeros(len(own), np.bool_) if nulls is None else nulls
            codes = codes * len(values) + own
        codes[unknown] = -1
        return codes
