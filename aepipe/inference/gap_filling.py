"""Fill missing cells with a family that learned to predict hidden cells: encode the row, decode all of its cells."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.inference.counter_rng import noise
from aepipe.inference.session import Session
from aepipe.layout import MISSING, UNSEEN
from aepipe.tables.arrow_arrays import plain_values

FAMILY = "masked_ae"
_STREAM = "gaps"


def fills_gaps(bundle: Bundle) -> bool:
    """Tell whether the model learned to predict hidden cells of a table."""
    return bundle.manifest.family == FAMILY and bundle.encoding.layout.kind == "table"


class GapFiller:
    """Encoder, decoder and sampler of a bundle; a block has the same draws for the same seed and index."""

    rows = 2_048
    """rows of a block"""

    def __init__(self, bundle: Bundle, *, seed: int, device: Device) -> None:
        self._encoding, self._seed = bundle.encoding, seed
        parts = {name: bundle.part(name) for name in ("encoder", "decoder", "sampler")}
        self._sessions = {name: Session(onnx, device=device) for name, (onnx, _) in parts.items()}
        self._noise = [port for port in parts["sampler"][1].inputs if port.noise is not None]

    def estimate(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Return the most probable value of every modelled cell, by column."""
        return self._decode(self._sessions["decoder"].run({"z": self._latents(batch)}))

    def draw(self, index: int, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Draw every modelled cell independently given the visible cells; never missing.

        Args:
            index: Index of the block, for its noise.
            batch: At most `rows` rows.
        """
        start = index * self.rows
        drawn = {
            port.name: noise(port, stream=_STREAM, seed=self._seed, start=start, rows=batch.num_rows)
            for port in self._noise
        }
        found = self._decode(self._sessions["sampler"].run({"z": self._latents(batch), **drawn}))
        likely = self.estimate(batch)
        return {name: pc.if_else(_is_missing(values), likely[name], values) for name, values in found.items()}

    def _latents(self, batch: pa.RecordBatch) -> NDArray[np.generic]:
        """Encode rows, with gaps also in columns that had none in training, where the encoding has a stand-in."""
        arrays, layout = dict(self._encoding.encode(batch).arrays), self._encoding.layout
        gaps = {
            name: np.asarray(_is_missing(batch[name]).to_numpy(zero_copy_only=False))
            for name in dict.fromkeys(layout.sources)
        }
        if layout.numbers:
            absent = np.stack([gaps[layout.sources[number.column]] for number in layout.numbers], axis=1)
            arrays["num"] = np.where(absent, np.float32(np.nan), arrays["num"])
        if layout.categories:
            absent = np.stack([gaps[layout.sources[category.column]] for category in layout.categories], axis=1)
            arrays["cat"] = np.where(absent | (arrays["cat"] == UNSEEN), np.int32(MISSING), arrays["cat"])
        return self._sessions["encoder"].run(arrays)["z"]

    def _decode(self, tensors: Mapping[str, NDArray[np.generic]]) -> dict[str, pa.Array]:
        rows = self._encoding.decode(tensors)
        return {name: plain_values(rows[name]) for name in rows.schema.names}


def _is_missing(column: pa.Array) -> pa.Array:
    return pc.is_null(column, nan_is_null=True)
