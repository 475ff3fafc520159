"""Sampling from a bundle: noise -> prior -> sampler -> columns of the source, through ONNX only."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle, PartInfo
from aepipe.config.job import Device
from aepipe.config.text import MODEL_TOKENS, TokenChoice
from aepipe.encoding import Arrays
from aepipe.errors import JobInvalid, OptionInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.condition_bank import ConditionPool
from aepipe.inference.conditional import (
    MOST_ROWS,
    ConditionSampler,
    GeneratedRows,
    refuse_unknown,
    supports_conditioning,
)
from aepipe.inference.counter_rng import noise, uniforms
from aepipe.inference.memory_budget import batch_rows
from aepipe.inference.related_rows import related_rows
from aepipe.inference.session import Session, usable_device
from aepipe.layout import COMPLETER, LABELS, OPENING, TEXT_SAMPLER

Prior = Literal["mixture", "normal"]

BLOCK_ROWS = 2_048
_CALL_ROWS = 512
"""Rows per call of a graph on a CPU: their states stay in the second-level cache."""
_SEARCH_START = 1 << 40
"""First block that is searched for rows that meet a condition; samples never reach it."""
_BINS = "bins"
"""Stream of the uniforms that place a value within its bin."""
_LABEL_BINS = "label_bins"
"""The same stream for labels."""
_RELATIONS = "relations"
"""Stream of the uniforms that decide which rows hold a relation that not all rows hold."""
_LEAST_POSSIBLE = 0.5
_PILOT_BLOCKS = 4
"""Blocks whose share of matching rows decides between filtering and conditioning."""
LEAST_SHARE = 0.005
"""Minimum share of matching rows for which rows are filtered: an exact sample of the model at 200 draws per row."""
_PARTS: dict[Prior, str] = {"mixture": "prior", "normal": "prior_normal"}


def draw(
    bundle: Bundle,
    rows: int,
    *,
    seed: int,
    prior: Prior = "mixture",
    where: Condition | None = None,
    tokens: TokenChoice = MODEL_TOKENS,
    start: int = 0,
    device: Device = "auto",
) -> Iterator[pa.RecordBatch]:
    """Generate rows start ... start + rows - 1 of the endless table defined by bundle, seed, prior and where.

    Args:
        bundle: the model.
        rows: number of rows.
        seed: seed of all noise.
        prior: distribution of the latents.
        where: a condition that all rows meet, on any columns that the model samples.
        tokens: temperature and truncation of the tokens of texts; the other columns do not depend on it.
        start: index of the first row.
        device: where the graphs run.

    Yields:
        Batches of the modelled columns in the types of the source; one empty batch for no rows.

    Raises:
        JobInvalid: no sample can meet `where`.
        BundleNotFound: the family cannot sample.
        OptionInvalid: the family does not have this prior, a literal of `where` does not fit its column, or the model
            cannot draw `tokens`.
        DeviceUnavailable: the device cannot be used.
    """
    part = _PARTS[prior]
    if part not in bundle.manifest.parts and _PARTS["mixture"] in bundle.manifest.parts:
        raise OptionInvalid(
            f"{bundle.version}, a {bundle.manifest.family}, has no prior '{prior}': expected its own learned prior. "
            "Omit the prior."
        )
    refuse_tokens(bundle, tokens)
    if where is not None and is_filtered(bundle, where):
        refuse_unknown(bundle, where)
        chain = SamplingChain(bundle, part, ConditionPool(bundle), device=device, seed=seed, tokens=tokens)
        batches = _MatchingRows(chain, bundle, where).batches(start)
    else:
        chain = SamplingChain(bundle, part, ConditionPool(bundle, where), device=device, seed=seed, tokens=tokens)
        is_fixed = not chain.related  # else rows without a counterpart in training are left out
        batches = _of_blocks(chain.block, chain.rows, start) if is_fixed else _from(map(chain.block, count()), start)
    if rows == 0:
        yield chain.block(0).slice(0, 0)
    while rows > 0:
        batch = next(batches).slice(0, rows)
        rows -= batch.num_rows
        yield batch


def is_filtered(bundle: Bundle, where: Condition) -> bool:
    """Tell whether generated rows are filtered by a condition; otherwise it selects the conditions of the rows."""
    return supports_conditioning(bundle) or not where.columns <= set(bundle.encoding.schema.conditions)


def refuse_tokens(bundle: Bundle, tokens: TokenChoice) -> None:
    """Check that a model can draw tokens with a temperature or a truncation.

    Raises:
        OptionInvalid: it has no texts, or was exported without this graph.
    """
    if not tokens or TEXT_SAMPLER in bundle.manifest.parts:
        return
    names = " and ".join(tokens.named)
    if bundle.encoding.layout.texts:
        raise OptionInvalid(
            f"{bundle.version} cannot take {names}: its bundle was written before such draws. Train again, or omit "
            f"{names}."
        )
    raise OptionInvalid(
        f"{bundle.version} cannot take {names}: expected a model with a text column, got none. Omit {names}."
    )


def refuse_where(bundle: Bundle, where: Condition | None) -> None:
    """Check a condition like `draw`, as far as possible without sampling.

    Raises:
        JobInvalid: no sample can meet `where`.
    """
    if where is not None and is_filtered(bundle, where):
        refuse_unknown(bundle, where)
    else:
        ConditionPool(bundle, where)


class _OpenPart(NamedTuple):
    session: Session
    info: PartInfo


class SamplingChain:
    """Sampling parts of a bundle, each opened on first use.

    The parts always run on whole blocks, on a CPU in calls of 512 rows, because the last bit of an output varies with
    the number of rows.
    """

    def __init__(
        self,
        bundle: Bundle,
        prior: str,
        conditions: ConditionPool,
        *,
        device: Device,
        seed: int,
        tokens: TokenChoice = MODEL_TOKENS,
    ) -> None:
        self.rows = batch_rows(bundle.encoding.layout, asked=BLOCK_ROWS, device="cpu")
        self._bundle = bundle
        self._conditions = conditions
        self._seed = seed
        self._prior = prior
        self._device, _ = usable_device(device)  # fails here, not when the first part runs
        self._opened = dict[str, _OpenPart]()
        self.related = related_rows(bundle)
        self._choice = _choice_inputs(bundle, tokens, self.rows)

    def block(self, index: int) -> pa.RecordBatch:
        """Return the rows of a block."""
        given = self._conditions.draw(seed=self._seed, start=index * self.rows, rows=self.rows)
        z = self._run(self._prior, index)
        part = TEXT_SAMPLER if self._choice else "sampler"
        arrays = self._run(part, index, **z, **given.arrays, **self._choice)
        labels = self._labels({**arrays, **given.arrays}, index)
        rows = self._in_order(self._decode(arrays, index), given.columns, labels)
        return self._with_relations(rows, index)

    def block_with_codes(self, index: int) -> GeneratedRows:
        """Return the rows of a block with their codes; only for tables whose columns are all codes."""
        arrays = self._run("sampler", index, **self._run(self._prior, index))
        return GeneratedRows(arrays["cat"].astype(np.int32, copy=False), self._decode(arrays, index))

    def conditional_block(self, index: int, conditions: ConditionSampler) -> pa.RecordBatch:
        """Return the rows of a block, with fixed values drawn from `conditions`."""
        fixed = conditions.draw(seed=self._seed, start=index * self.rows, rows=self.rows)
        arrays = self._complete(index, fixed.forced)
        drawn = self._decode(arrays, index)
        free = [name for name in drawn.schema.names if name not in fixed.columns.schema.names]
        rows = self._in_order(drawn.select(free), fixed.columns, self._labels(arrays, index))
        return self._with_relations(rows, index)

    def complete(self, index: int, forced: NDArray[np.int32]) -> pa.RecordBatch:
        """Draw the rows of a block given the codes (B, C) that are not `FREE`; without labels."""
        return self._decode(self._complete(index, forced), index)

    def candidates(self, index: int, forced: NDArray[np.int32]) -> pa.RecordBatch:
        """Draw the rows of a block given codes as `complete`, with labels but without relations."""
        arrays = self._complete(index, forced)
        return self._in_order(self._decode(arrays, index), self._labels(arrays, index))

    def _complete(self, index: int, forced: NDArray[np.int32]) -> Arrays:
        state = self._run(OPENING, index, forced=forced)
        return self._run(COMPLETER, index, forced=forced, **state)

    def _labels(self, arrays: Arrays, index: int) -> pa.RecordBatch:
        """Draw the labels of a block given its row tensors; no columns if the model has none."""
        encoding = self._bundle.encoding
        if not encoding.labels:
            return pa.RecordBatch.from_pylist([], pa.schema([]))
        info = self._open(LABELS).info
        rows = {port.name: arrays[port.name] for port in info.inputs if port.noise is None}
        codes = self._run(LABELS, index, **rows)[LABELS].astype(np.int32, copy=False)
        start, width = index * self.rows, codes.shape[1]
        within = uniforms(_LABEL_BINS, seed=self._seed, start=start, rows=self.rows, width=width)
        return encoding.decode_labels(codes, within)

    def _decode(self, arrays: Arrays, index: int) -> pa.RecordBatch:
        """Return the columns of a block; a code that stands for a range of values becomes a random one of them."""
        encoding = self._bundle.encoding
        if not encoding.has_bins:
            return encoding.decode(arrays)
        width = len(encoding.layout.categories)
        start = index * self.rows
        return encoding.decode(arrays, uniforms(_BINS, seed=self._seed, start=start, rows=self.rows, width=width))

    def _with_relations(self, rows: pa.RecordBatch, index: int) -> pa.RecordBatch:
        """Set the columns that follow from others, and leave out rows that no training row resembles in this.

        Where that would be most rows of a block, the model does not know the relations, and all rows are kept.
        """
        if not self.related:
            return rows
        start, width = index * self.rows, len(self.related.relations)
        uniform = uniforms(_RELATIONS, seed=self._seed, start=start, rows=self.rows, width=width)
        related, possible = self.related.apply(rows, uniform)
        return related.filter(pa.array(possible)) if possible.mean() >= _LEAST_POSSIBLE else related

    def _in_order(self, *batches: pa.RecordBatch) -> pa.RecordBatch:
        """Return the columns of several batches in the order of the source."""
        found = {name: batch for batch in batches for name in batch.schema.names}
        names = [column.name for column in self._bundle.encoding.sampled if column.name in found]
        fields = [found[name].schema.field(name) for name in names]
        return pa.RecordBatch.from_arrays([found[name][name] for name in names], schema=pa.schema(fields))

    def _run(self, part: str, index: int, **given: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        session, info = self._open(part)
        start = index * self.rows
        stream = "sampler" if part == TEXT_SAMPLER else part  # only the tokens of a row differ
        drawn = {
            port.name: noise(port, stream=stream, seed=self._seed, start=start, rows=self.rows)
            for port in info.inputs
            if port.noise is not None
        }
        inputs = {**drawn, **given}
        if session.device != "cpu":
            return session.run(inputs)
        starts = range(0, self.rows, _CALL_ROWS)
        calls = [session.run({name: values[at : at + _CALL_ROWS] for name, values in inputs.items()}) for at in starts]
        return {name: np.concatenate([found[name] for found in calls]) for name in calls[0]}

    def _open(self, part: str) -> "_OpenPart":
        """Return an open part, which is digested only once: a megabyte takes half a millisecond, a block some ten."""
        if part not in self._opened:
            onnx, info = self._bundle.part(part)
            self._opened[part] = _OpenPart(Session(onnx, device=self._device), info)
        return self._opened[part]


class _MatchingRows:
    """Rows that meet a condition on any columns.

    Generated rows are filtered, which samples the model's own distribution given the condition. If few rows match, the
    columns of the condition are fixed instead and the others are drawn given them, which is an approximation in one
    pass. Labels and derived columns come last and cannot be fixed.
    """

    def __init__(self, chain: SamplingChain, bundle: Bundle, where: Condition) -> None:
        self._chain = chain
        self._where = where
        self._version = bundle.version
        self._pilot = [self._matching(chain.block(index)) for index in range(_PILOT_BLOCKS)]
        share = sum(batch.num_rows for batch in self._pilot) / (_PILOT_BLOCKS * chain.rows)
        derived = {relation.target for relation in chain.related.relations}
        fixable = {column.name for column in bundle.encoding.schema.modelled} - derived
        self._conditions = None
        if share < LEAST_SHARE and where.columns <= fixable and supports_conditioning(bundle):
            self._conditions = ConditionSampler(bundle, where, chain.block_with_codes, first=_SEARCH_START)

    def batches(self, start: int) -> Iterator[pa.RecordBatch]:
        """Yield the matching rows from the one with index `start` on, without end."""
        yield from _from(self._blocks(), start)

    def _blocks(self) -> Iterator[pa.RecordBatch]:
        conditions, found = self._conditions, 0
        for index in count():
            if conditions is not None:  # derived columns may no longer match
                batch = self._matching(self._chain.conditional_block(index, conditions))
            else:
                batch = self._pilot[index] if index < _PILOT_BLOCKS else self._matching(self._chain.block(index))
            found += batch.num_rows
            searched = (index + 1) * self._chain.rows
            if not found and searched >= MOST_ROWS:
                text = f"{self._where} holds for none of {searched:,} rows generated by {self._version}"
                raise JobInvalid("where", [text])
            yield batch

    def _matching(self, block: pa.RecordBatch) -> pa.RecordBatch:
        return block.filter(self._where.mask(block))


def _choice_inputs(bundle: Bundle, tokens: TokenChoice, rows: int) -> dict[str, NDArray[np.generic]]:
    """Return the inputs of the graph of token draws, (rows, 1) each; none if tokens are drawn as modelled."""
    if not tokens:
        return {}
    most = max(text.size for text in bundle.encoding.layout.texts)
    return {
        "temperature": np.full((rows, 1), tokens.temperature or 1.0, np.float32),
        "top_k": np.full((rows, 1), min(tokens.top_k or most, most), np.int32),
        "top_p": np.full((rows, 1), tokens.top_p or 1.0, np.float32),
    }


def _from(blocks: Iterator[pa.RecordBatch], start: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of blocks of any size from the row with index `start` on."""
    for batch in blocks:
        skipped = min(start, batch.num_rows)
        start -= skipped
        if skipped < batch.num_rows:
            yield batch.slice(skipped)


def _of_blocks(block: Callable[[int], pa.RecordBatch], rows: int, start: int) -> Iterator[pa.RecordBatch]:
    """Yield blocks from the row with index `start` on, without end."""
    first_block, first = divmod(start, rows)
    for index in count(first_block):
        yield block(index).slice(first)
        first = 0
