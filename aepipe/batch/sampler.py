"""New rows from a bundle: noise -> prior -> sampler -> the source's own columns, through ONNX only."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.conditions import Bank
from aepipe.batch.noise import noise, uniforms
from aepipe.batch.session import Session
from aepipe.batch.sizes import batch_rows
from aepipe.bundle import Bundle
from aepipe.config import Device
from aepipe.encoding import Arrays
from aepipe.errors import OptionInvalid

Prior = Literal["mixture", "normal"]

BLOCK_ROWS = 2_048
_BINS = "bins"
"""of uniforms: the stream that says where in its bin a value lies"""
_PARTS: dict[Prior, str] = {"mixture": "prior", "normal": "prior_normal"}


def draw(
    bundle: Bundle,
    rows: int,
    *,
    seed: int,
    prior: Prior = "mixture",
    where: str | None = None,
    start: int = 0,
    device: Device = "auto",
) -> Iterator[pa.RecordBatch]:
    """Rows start ... start + rows - 1 of the endless table that bundle, seed, prior and where stand for, by blocks.

    Their columns are the modelled ones, in the source's types; conditions are those of training rows for which `where`
    holds. No rows are one empty batch. Raises as `Bank`, BundleNotFound where the family cannot sample, OptionInvalid
    where it has no such prior, DeviceUnavailable.
    """
    chain = _Chain(bundle, _part(bundle, prior), Bank(bundle, where), device=device, seed=seed)
    if rows == 0:
        yield chain.block(0).slice(0, 0)
    at, end = start, start + rows
    while at < end:
        block, first = divmod(at, chain.rows)
        count = min(chain.rows - first, end - at)
        yield chain.block(block).slice(first, count)
        at += count


def _part(bundle: Bundle, prior: Prior) -> str:
    """The part that stands for a prior. Raises OptionInvalid where the family has its own prior alone."""
    part, parts = _PARTS[prior], bundle.manifest.parts
    if part not in parts and _PARTS["mixture"] in parts:
        raise OptionInvalid(
            f"prior = '{prior}': a {bundle.manifest.family} is drawn from the prior that it learned, from no other; "
            "leave the prior out"
        )
    return part


class _Chain:
    """Prior and sampler, opened.

    They are always given whole blocks: the last bit of an answer varies with the number of rows.
    """

    def __init__(self, bundle: Bundle, prior: str, bank: Bank, *, device: Device, seed: int) -> None:
        self.rows = batch_rows(bundle.encoding.layout, asked=BLOCK_ROWS, device="cpu")
        self._bundle = bundle
        self._bank = bank
        self._seed = seed
        self._prior = prior
        self._sessions = {part: Session(bundle.part(part)[0], device=device) for part in (prior, "sampler")}

    def block(self, index: int) -> pa.RecordBatch:
        """The rows of a block."""
        given = self._bank.draw(seed=self._seed, start=index * self.rows, rows=self.rows)
        z = self._run(self._prior, index)
        drawn = self._decoded(self._run("sampler", index, **z, **given.arrays), index)
        return self._in_order(drawn, given.columns)

    def _decoded(self, arrays: Arrays, index: int) -> pa.RecordBatch:
        """The columns of a block's tensors; where a code stands for many values, one of them is drawn."""
        encoding = self._bundle.encoding
        if not encoding.has_bins:
            return encoding.decode(arrays)
        width = len(encoding.layout.categories)
        start = index * self.rows
        return encoding.decode(arrays, uniforms(_BINS, seed=self._seed, start=start, rows=self.rows, width=width))

    def _in_order(self, drawn: pa.RecordBatch, given: pa.RecordBatch) -> pa.RecordBatch:
        """What was drawn and what was given, in the order of the source's columns."""
        found = {name: batch for batch in (drawn, given) for name in batch.schema.names}
        names = [column.name for column in self._bundle.encoding.schema.modelled if column.name in found]
        fields = [found[name].schema.field(name) for name in names]
        return pa.RecordBatch.from_arrays([found[name][name] for name in names], schema=pa.schema(fields))

    def _run(self, part: str, index: int, **given: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        _, info = self._bundle.part(part)
        start = index * self.rows
        drawn = {
            port.name: noise(port, stream=part, seed=self._seed, start=start, rows=self.rows)
            for port in info.inputs
            if port.noise is not None
        }
        return self._sessions[part].run({**drawn, **given})
