"""Sampling from a bundle: noise -> prior -> sampler -> columns of the source, through ONNX only."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.encoding import Arrays
from aepipe.errors import OptionInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.condition_bank import ConditionPool
from aepipe.inference.conditional import ConditionSampler, GeneratedRows, refuse_unknown, supports_conditioning
from aepipe.inference.counter_rng import noise, uniforms
from aepipe.inference.memory_budget import batch_rows
from aepipe.inference.session import Session, usable_device
from aepipe.layout import COMPLETER, OPENING

Prior = Literal["mixture", "normal"]

BLOCK_ROWS = 2_048
_SEARCH_START = 1 << 40
"""First block that is searched for rows that meet a condition; samples never reach it."""
_BINS = "bins"
"""Stream of the uniforms that place a value within its bin."""
_PARTS: dict[Prior, str] = {"mixture": "prior", "normal": "prior_normal"}


def draw(
    bundle: Bundle,
    rows: int,
    *,
    seed: int,
    prior: Prior = "mixture",
    where: Condition | None = None,
    start: int = 0,
    device: Device = "auto",
) -> Iterator[pa.RecordBatch]:
    """Generate rows start ... start + rows - 1 of the endless table defined by bundle, seed, prior and where.

    Args:
        bundle: the model.
        rows: number of rows.
        seed: seed of all noise.
        prior: distribution of the latents.
        where: a condition that all rows meet: on any column if the family samples given any columns, else on condition
            columns.
        start: index of the first row.
        device: where the graphs run.

    Yields:
        Batches of the modelled columns in the types of the source; one empty batch for no rows.

    Raises:
        JobInvalid: no sample can meet `where`.
        BundleNotFound: the family cannot sample.
        OptionInvalid: the family does not have this prior, or a literal of `where` does not fit its column.
        DeviceUnavailable: the device cannot be used.
    """
    part = _prior_part(bundle, prior)
    if where is not None and supports_conditioning(bundle):
        chain = SamplingChain(bundle, part, ConditionPool(bundle), device=device, seed=seed)
        block, block_rows = _ConditionalBlocks(chain, bundle, where).block, chain.rows
    else:
        chain = SamplingChain(bundle, part, ConditionPool(bundle, where), device=device, seed=seed)
        block, block_rows = chain.block, chain.rows
    if rows == 0:
        yield block(0).slice(0, 0)
    at, end = start, start + rows
    while at < end:
        index, first = divmod(at, block_rows)
        count = min(block_rows - first, end - at)
        yield block(index).slice(first, count)
        at += count


def refuse_where(bundle: Bundle, where: Condition | None) -> None:
    """Check a condition like `draw`, as far as possible without sampling.

    Raises:
        JobInvalid: no sample can meet `where`.
    """
    if where is not None and supports_conditioning(bundle):
        refuse_unknown(bundle, where)
    else:
        ConditionPool(bundle, where)


def _prior_part(bundle: Bundle, prior: Prior) -> str:
    part, parts = _PARTS[prior], bundle.manifest.parts
    if part not in parts and _PARTS["mixture"] in parts:
        raise OptionInvalid(
            f"{bundle.version}, a {bundle.manifest.family}, has no prior '{prior}': expected its own learned prior. "
            "Omit the prior."
        )
    return part


class SamplingChain:
    """Sampling parts of a bundle, each opened on first use.

    The parts always run on whole blocks, because the last bit of an output varies with the number of rows.
    """

    def __init__(self, bundle: Bundle, prior: str, conditions: ConditionPool, *, device: Device, seed: int) -> None:
        self.rows = batch_rows(bundle.encoding.layout, asked=BLOCK_ROWS, device="cpu")
        self._bundle = bundle
        self._conditions = conditions
        self._seed = seed
        self._prior = prior
        self._device, _ = usable_device(device)  # fails here, not when the first part runs
        self._sessions = dict[str, Session]()

    def block(self, index: int) -> pa.RecordBatch:
        """Return the rows of a block."""
        given = self._conditions.draw(seed=self._seed, start=index * self.rows, rows=self.rows)
        z = self._run(self._prior, index)
        drawn = self._decode(self._run("sampler", index, **z, **given.arrays), index)
        return self._in_order(drawn, given.columns)

    def block_with_codes(self, index: int) -> GeneratedRows:
        """Return the rows of a block with their codes; only for tables whose columns are all codes."""
        arrays = self._run("sampler", index, **self._run(self._prior, index))
        return GeneratedRows(arrays["cat"].astype(np.int32, copy=False), self._decode(arrays, index))

    def conditional_block(self, index: int, conditions: ConditionSampler) -> pa.RecordBatch:
        """Return the rows of a block, with fixed values drawn from `conditions`."""
        fixed = conditions.draw(seed=self._seed, start=index * self.rows, rows=self.rows)
        drawn = self.complete(index, fixed.forced)
        free = [name for name in drawn.schema.names if name not in fixed.columns.schema.names]
        return self._in_order(drawn.select(free), fixed.columns)

    def complete(self, index: int, forced: NDArray[np.int32]) -> pa.RecordBatch:
        """Draw the rows of a block given the codes (B, C) that are not `FREE`."""
        state = self._run(OPENING, index, forced=forced)
        return self._decode(self._run(COMPLETER, index, forced=forced, **state), index)

    def _decode(self, arrays: Arrays, index: int) -> pa.RecordBatch:
        """Return the columns of a block; a code that stands for a range of values becomes a random one of them."""
        encoding = self._bundle.encoding
        if not encoding.has_bins:
            return encoding.decode(arrays)
        width = len(encoding.layout.categories)
        start = index * self.rows
        return encoding.decode(arrays, uniforms(_BINS, seed=self._seed, start=start, rows=self.rows, width=width))

    def _in_order(self, drawn: pa.RecordBatch, given: pa.RecordBatch) -> pa.RecordBatch:
        """Return the drawn and the given columns in the order of the source."""
        found = {name: batch for batch in (drawn, given) for name in batch.schema.names}
        names = [column.name for column in self._bundle.encoding.schema.modelled if column.name in found]
        fields = [found[name].schema.field(name) for name in names]
        return pa.RecordBatch.from_arrays([found[name][name] for name in names], schema=pa.schema(fields))

    def _run(self, part: str, index: int, **given: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        onnx, info = self._bundle.part(part)
        start = index * self.rows
        drawn = {
            port.name: noise(port, stream=part, seed=self._seed, start=start, rows=self.rows)
            for port in info.inputs
            if port.noise is not None
        }
        if part not in self._sessions:
            self._sessions[part] = Session(onnx, device=self._device)
        return self._sessions[part].run({**drawn, **given})


class _ConditionalBlocks:
    """Blocks of rows that meet a condition on any columns."""

    def __init__(self, chain: SamplingChain, bundle: Bundle, where: Condition) -> None:
        self._chain = chain
        self._conditions = ConditionSampler(bundle, where, chain.block_with_codes, first=_SEARCH_START)

    def block(self, index: int) -> pa.RecordBatch:
        return self._chain.conditional_block(index, self._conditions)
