"""Tell columns of waveforms, such as sound and vibration, from other lists of numbers."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.tables.arrow_arrays import plain_values
from aepipe.tables.arrow_types import innermost, list_depth, plain, sort_of

FEWEST_SAMPLES = 512
"""Samples of the shortest list: two windows of the default length."""

_WINDOW = 256
_FEWEST_ROWS, _MOST_ROWS = 20, 64
_MOST_BY_PLACE = 0.1
"""Share of the variance that the place in the list explains, besides chance: an embedding or a spectrum has more."""
_FEWEST_CROSSINGS = 8
"""Median number of times that a waveform crosses its own mean."""
_MOST_FLATNESS = 0.8
"""Geometric over arithmetic mean of the power of frequencies: 1 for values without an order, such as embeddings."""


class WaveformGuess(NamedTuple):
    """Sampled lists that look like waveforms."""

    rows: int
    shortest: int
    longest: int

    @property
    def why(self) -> str:
        """The reason of the proposal."""
        span = " to ".join(f"{length:,}" for length in dict.fromkeys((self.shortest, self.longest)))
        return f"lists of {span} samples in {self.rows:,} sampled rows that swing about their mean; set the rate"


def is_samples(kind: pa.DataType) -> bool:
    """Return True for lists of numbers."""
    return list_depth(kind) == 1 and sort_of(innermost(kind)) == "number"


def find_waveforms(values: pa.ChunkedArray) -> WaveformGuess | None:
    """Return what speaks for waveforms: long lists of floats that swing about their mean, none like the other."""
    kind = plain(values.type)
    if not ((pt.is_list(kind) or pt.is_fixed_size_list(kind)) and pt.is_floating(kind.value_type)):
        return None
    lists = pa.chunked_array([plain_values(chunk) for chunk in values.chunks], kind).drop_null()
    lengths = pc.list_value_length(lists)
    if len(lists) < _FEWEST_ROWS or pc.min(lengths).as_py() < FEWEST_SAMPLES:
        return None
    shortest, longest = int(pc.min(lengths).as_py()), int(pc.max(lengths).as_py())
    chosen = lists.slice(0, _MOST_ROWS).combine_chunks()
    rows = np.asarray([row.values.to_numpy(zero_copy_only=False)[:shortest] for row in chosen], np.float64)
    return WaveformGuess(len(lists), shortest, longest) if _swings(rows) else None


def _swings(rows: np.ndarray) -> bool:
    """Tell whether rows (B, N) are waveforms of independent phases and a spectrum that is not flat."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    variance = float(centred.var())
    if not np.isfinite(variance) or variance == 0:
        return False
    by_place = float(centred.mean(axis=0).var()) / variance
    crossings = float(np.median((np.diff(np.signbit(centred), axis=1)).sum(axis=1)))
    parts = centred[:, : centred.shape[1] // _WINDOW * _WINDOW].reshape(-1, _WINDOW) * np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(parts, axis=1))).mean(axis=0)[1:-1]
    flatness = float(np.exp(np.log(np.maximum(power, 1e-300)).mean()) / power.mean())
    return by_place < _MOST_BY_PLACE + 1 / len(rows) and crossings >= _FEWEST_CROSSINGS and flatness < _MOST_FLATNESS
