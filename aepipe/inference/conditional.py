"""What samples are asked to have: the codes of some columns, from rows of the model's own for which a condition holds.

The other columns are drawn given them, so that every row that is asked for is kept.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.errors import JobInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.counter_rng import noise
from aepipe.layout import COMPLETER, FREE, OPENING, Port
from aepipe.tables.schema import did_you_mean

ENOUGH_ROWS = 4_096
"""So many rows for which the condition holds are looked for."""
MOST_ROWS = 1 << 18
"""Among so many rows of the model."""

_STREAM = "wishes"
_CHOICE = Port("row", "float32", (1,), "uniform")


class Drawn(NamedTuple):
    """Rows that the model drew: as codes (B, C), and as columns."""

    codes: NDArray[np.int32]
    columns: pa.RecordBatch


class ConditionSample(NamedTuple):
    """What B samples have: codes (B, C), `FREE` where one is drawn, and the columns that the condition names."""

    forced: NDArray[np.int32]
    columns: pa.RecordBatch


def supports_conditioning(bundle: Bundle) -> bool:
    """Whether any column of the model's can be asked for."""
    return {OPENING, COMPLETER} <= set(bundle.manifest.parts)


def refuse_unknown(bundle: Bundle, where: Condition) -> None:
    """Raises JobInvalid where a condition names what is no modelled column, OptionInvalid where it cannot be read."""
    known = [column.name for column in bundle.encoding.schema.modelled]
    others = sorted(where.columns - set(known))
    if others:
        raise JobInvalid("where", [f"'{name}' is no column of {bundle.version}{_hint(name, known)}" for name in others])


class ConditionSampler:
    """Rows for which a condition holds. A sample's wish depends on the seed and the sample's number alone."""

    def __init__(self, bundle: Bundle, where: Condition, draw: Callable[[int], Drawn], *, first: int) -> None:
        """draw: the block of that number of the model's rows, of which those from `first` on are nobody's samples.

        Raises JobInvalid where the condition holds for none of 262,144 rows, and as `refuse_unknown`.
        """
        refuse_unknown(bundle, where)
        found, seen, held = list[Drawn](), 0, 0
        while held < ENOUGH_ROWS and seen < MOST_ROWS:
            block = draw(first + len(found))
            holds = where.mask(block.columns)
            found.append(Drawn(block.codes[holds.to_numpy(zero_copy_only=False)], block.columns.filter(holds)))
            seen, held = seen + block.columns.num_rows, held + holds.true_count
        if not held:
            raise JobInvalid("where", [f"{where} holds for none of {seen:,} rows that {bundle.version} drew"])
        layout, named = bundle.encoding.layout, where.columns
        asked = [layout.columns[category.column] in named for category in layout.categories]
        self._forced = np.where(asked, np.concatenate([each.codes for each in found]), FREE).astype(np.int32)
        names = [name for name in found[0].columns.schema.names if name in named]
        table = pa.Table.from_batches([each.columns.select(names) for each in found]).combine_chunks()
        self._columns = table.unify_dictionaries().combine_chunks()

    def draw(self, *, seed: int, start: int, rows: int) -> ConditionSample:
        """The wishes of samples start ... start + rows - 1."""
        uniform = noise(_CHOICE, stream=_STREAM, seed=seed, start=start, rows=rows)[:, 0]
        chosen = (uniform.astype(np.float64) * len(self._forced)).astype(np.int64)
        (columns,) = self._columns.take(pa.array(chosen)).combine_chunks().to_batches()
        return ConditionSample(self._forced[chosen], columns)


def _hint(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"
