"""New rows from a bundle: noise -> prior -> sampler -> the source's own columns, through ONNX only."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.noise import noise
from aepipe.batch.session import Session
from aepipe.batch.sizes import batch_rows
from aepipe.bundle import Bundle
from aepipe.config import Device

Prior = Literal["mixture", "normal"]

BLOCK_ROWS = 2_048
_PARTS: dict[Prior, str] = {"mixture": "prior", "normal": "prior_normal"}


def draw(
    bundle: Bundle, rows: int, *, seed: int, prior: Prior = "mixture", start: int = 0, device: Device = "auto"
) -> Iterator[pa.RecordBatch]:
    """Rows start ... start + rows - 1 of the endless table that bundle, seed and prior stand for, a block at a time.

    Their columns are the modelled ones, in the source's types. No rows are one empty batch.
    Raises BundleNotFound where the family cannot sample, DeviceUnavailable.
    """
    chain = _Chain(bundle, _PARTS[prior], device=device, seed=seed)
    if rows == 0:
        yield chain.block(0).slice(0, 0)
    at, end = start, start + rows
    while at < end:
        block, first = divmod(at, chain.rows)
        count = min(chain.rows - first, end - at)
        yield chain.block(block).slice(first, count)
        at += count


class _Chain:
    """Prior and sampler, opened.

    They are always given whole blocks: the last bit of an answer varies with the number of rows.
    """

    def __init__(self, bundle: Bundle, prior: str, *, device: Device, seed: int) -> None:
        self.rows = batch_rows(bundle.encoding.layout, asked=BLOCK_ROWS, device="cpu")
        self._bundle = bundle
        self._seed = seed
        self._prior = prior
        self._sessions = {part: Session(bundle.part(part)[0], device=device) for part in (prior, "sampler")}

    def block(self, index: int) -> pa.RecordBatch:
        """The rows of a block."""
        z = self._run(self._prior, index)
        return self._bundle.encoding.decode(self._run("sampler", index, **z))

    def _run(self, part: str, index: int, **given: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        _, info = self._bundle.part(part)
        start = index * self.rows
        drawn = {
            port.name: noise(port, stream=part, seed=self._seed, start=start, rows=self.rows)
            for port in info.inputs
            if port.noise is not None
        }
        return self._sessions[part].run({**drawn, **given})
