"""New rows from a bundle: noise -> prior -> sampler -> the source's own columns, through ONNX only."""

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
from aepipe.inference.conditional import ConditionSampler, Drawn, refuse_unknown, supports_conditioning
from aepipe.inference.counter_rng import noise, uniforms
from aepipe.inference.memory_budget import batch_rows
from aepipe.inference.session import Session, usable_device
from aepipe.layout import COMPLETER, OPENING

Prior = Literal["mixture", "normal"]

BLOCK_ROWS = 2_048
_FAR = 1 << 40
"""The first of the blocks that nobody draws as samples: wishes are found among their rows."""
_BINS = "bins"
"""of uniforms: the stream that says where in its bin a value lies"""
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
    """Rows start ... start + rows - 1 of the endless table that bundle, seed, prior and where stand for, by blocks.

    Their columns are the modelled ones, in the source's types; conditions are those of training rows for which `where`
    holds. Where any column can be asked for, those that `where` names have the values of rows of the model's own for
    which it holds, and the others are drawn given them. No rows are one empty batch.
    Raises as `ConditionPool`, as `ConditionSampler`, BundleNotFound where the family cannot sample, OptionInvalid
    where it has no such prior, DeviceUnavailable.
    """
    part = _part(bundle, prior)
    if where is not None and supports_conditioning(bundle):
        chain: Chain | _Asked = _Asked(Chain(bundle, part, ConditionPool(bundle), device=device, seed=seed), where)
    else:
        chain = Chain(bundle, part, ConditionPool(bundle, where), device=device, seed=seed)
    if rows == 0:
        yield chain.block(0).slice(0, 0)
    at, end = start, start + rows
    while at < end:
        block, first = divmod(at, chain.rows)
        count = min(chain.rows - first, end - at)
        yield chain.block(block).slice(first, count)
        at += count


def refuse_where(bundle: Bundle, where: Condition | None) -> None:
    """Raises as `draw` does for a condition that no sample can be asked for, as far as can be told without drawing."""
    if where is not None and supports_conditioning(bundle):
        refuse_unknown(bundle, where)
    else:
        ConditionPool(bundle, where)


def _part(bundle: Bundle, prior: Prior) -> str:
    """The part that stands for a prior. Raises OptionInvalid where the family has its own prior alone."""
    part, parts = _PARTS[prior], bundle.manifest.parts
    if part not in parts and _PARTS["mixture"] in parts:
        raise OptionInvalid(
            f"prior = '{prior}': a {bundle.manifest.family} is drawn from the prior that it learned, from no other; "
            "leave the prior out"
        )
    return part


class Chain:
    """Prior and sampler, opener and completer, each opened when it is first run.

    They are always given whole blocks: the last bit of an answer varies with the number of rows.
    """

    def __init__(self, bundle: Bundle, prior: str, bank: ConditionPool, *, device: Device, seed: int) -> None:
        self.rows = batch_rows(bundle.encoding.layout, asked=BLOCK_ROWS, device="cpu")
        self._bundle = bundle
        self._bank = bank
        self._seed = seed
        self._prior = prior
        self._device, _ = usable_device(device)  # refused here, not when the first part is run
        self._sessions = dict[str, Session]()

    def block(self, index: int) -> pa.RecordBatch:
        """The rows of a block."""
        given = self._bank.draw(seed=self._seed, start=index * self.rows, rows=self.rows)
        z = self._run(self._prior, index)
        drawn = self._decoded(self._run("sampler", index, **z, **given.arrays), index)
        return self._in_order(drawn, given.columns)

    def codes(self, index: int) -> Drawn:
        """The rows of a block of a table of codes, as codes too."""
        arrays = self._run("sampler", index, **self._run(self._prior, index))
        return Drawn(arrays["cat"].astype(np.int32, copy=False), self._decoded(arrays, index))

    def wishes(self, where: Condition) -> ConditionSampler:
        """What samples are asked to have, for which `where` holds."""
        return ConditionSampler(self._bundle, where, self.codes, first=_FAR)

    def completed(self, index: int, wishes: ConditionSampler) -> pa.RecordBatch:
        """The rows of a block that have what they are asked to."""
        wish = wishes.draw(seed=self._seed, start=index * self.rows, rows=self.rows)
        drawn = self.given(index, wish.forced)
        free = [name for name in drawn.schema.names if name not in wish.columns.schema.names]
        return self._in_order(drawn.select(free), wish.columns)

    def given(self, index: int, forced: NDArray[np.int32]) -> pa.RecordBatch:
        """The rows of a block given their codes (B, C) that are not `FREE`."""
        state = self._run(OPENING, index, forced=forced)
        return self._decoded(self._run(COMPLETER, index, forced=forced, **state), index)

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


class _Asked:
    """A chain whose rows have what they are asked to have."""

    def __init__(self, chain: Chain, where: Condition) -> None:
        self._chain = chain
        self.rows = chain.rows
        self._wishes = chain.wishes(where)

    def block(self, index: int) -> pa.RecordBatch:
        """The rows of a block."""
        return self._chain.completed(index, self._wishes)
