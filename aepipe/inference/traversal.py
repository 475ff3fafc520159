"""Latent traversal: move the latents of rows and decode them (encoder -> numpy -> decoder), through ONNX only."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe import latent_math as latent
from aepipe.bundles.bundle import Bundle
from aepipe.encoding import Encoded
from aepipe.errors import ArgumentInvalid, OptionInvalid, SchemaMismatch, did_you_mean
from aepipe.expressions.condition import Condition
from aepipe.inference.counter_rng import noise
from aepipe.inference.reconstruct import Run, rebuild
from aepipe.tables.arrow_arrays import array_of, texts_of

Attribute = str | tuple[pa.Table, pa.Table]
"""A condition that some rows meet, or a table of rows with the attribute and one of rows without it."""

INDEX_COLUMNS = ("walk_row", "walk_step", "walk_share", "walk_amount", "walk_dimension", "walk_value")
_SPREAD_ROWS = 8_192  # of the prior: the quantiles of a latent are then within .02 of its standard deviation


class Traverser:
    """Encoder, prior and decoder of a bundle, for traversals of its latents.

    Rows are decoded like in `TableModel.reconstruct`, with columns of `INDEX_COLUMNS`; they keep the conditions of the
    row that they start from, and are null if that row cannot be encoded.
    """

    def __init__(self, bundle: Bundle, *, encode: Callable[[pa.Table], Encoded], run: Run) -> None:
        """Check that the bundle has real latents.

        Args:
            bundle: the model.
            encode: encodes rows of the source.
            run: runs a part of the bundle.

        Raises:
            OptionInvalid: the latents are not real vectors.
        """
        refuse_untraversable(bundle)
        self._bundle = bundle
        self._encode = encode
        self._run = run

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the latents."""
        return self._bundle.manifest.latent.names

    def interpolate(self, first: pa.Table, last: pa.Table, *, steps: int = 8, how: latent.How = "slerp") -> pa.Table:
        """Interpolate from each row of `first` to the same row of `last` in `steps` rows, conditions of the first."""
        if how not in ("slerp", "lerp"):
            raise ArgumentInvalid("how", [f"expected slerp or lerp, got '{how}'"])
        if len(first) != len(last):
            raise ArgumentInvalid("last", [f"expected {len(first)} rows like first, got {len(last)}"])
        _refuse_few(steps)
        begin, end = self._encode(first), self._encode(last)
        z = latent.path(self._latents(begin), self._latents(end), steps=steps, how=how)
        index = {
            "walk_step": _whole(np.tile(np.arange(steps), len(first))),
            "walk_share": _real(np.tile(latent.shares(steps), len(first))),
        }
        return self._rows(z, begin, index, spoilt=end.invalid != 0)

    def shift(self, rows: pa.Table, vector: NDArray[np.float64], *, amounts: Sequence[float]) -> pa.Table:
        """Decode each row after adding each of `amounts` times the vector (Z,) to its latents."""
        encoded = self._encode(rows)
        z = latent.shifted(self._latents(encoded), vector, amounts)
        return self._rows(z, encoded, {"walk_amount": _real(np.tile(amounts, len(rows)))})

    def traverse(self, rows: pa.Table, *, dimensions: Sequence[str] | None = None, steps: int = 7) -> pa.Table:
        """Move one latent of each row at a time over the range of the training rows, in `steps` rows each."""
        _refuse_few(steps)
        names = self.dimensions if dimensions is None else tuple(dimensions)
        for name in names:
            if name not in self.dimensions:
                known = f": expected {self.dimensions[0]} to {self.dimensions[-1]}"
                hint = did_you_mean(name, self.dimensions) or known
                raise OptionInvalid(f"{self._bundle.version} has no latent '{name}'{hint}")
        at = [self.dimensions.index(name) for name in names]
        encoded = self._encode(rows)
        values = latent.spread(self._prior_latents, steps=steps)
        z = latent.traversal(self._latents(encoded), at, values)
        index = {
            "walk_dimension": texts_of([name for _ in range(len(rows)) for name in names for _ in range(steps)]),
            "walk_step": _whole(np.tile(np.arange(steps), len(rows) * len(at))),
            "walk_value": _real(np.tile(values[:, at].T.ravel(), len(rows))),
        }
        return self._rows(z.reshape(len(rows), len(at) * steps, z.shape[3]), encoded, index)

    def attribute_vector(self, attribute: Attribute, among: pa.Table) -> NDArray[np.float64]:
        """Return the vector (Z,) from rows without an attribute to rows with it; `among` is for conditions."""
        if isinstance(attribute, str):
            holds = Condition.parse(attribute).mask(among)
            having, lacking = among.filter(holds), among.filter(pc.invert(holds))
        else:
            having, lacking = attribute
        sums = (MeanLatents(self), MeanLatents(self))
        for mean, rows in zip(sums, (having, lacking), strict=True):
            mean.add(rows)
        return attribute_vector_between(*sums, what=attribute if isinstance(attribute, str) else "the attribute")

    def latents(self, rows: pa.Table) -> NDArray[np.float64]:
        """Return the latents of the rows that can be encoded, (B, Z)."""
        encoded = self._encode(rows)
        return np.asarray(self._latents(encoded)[encoded.invalid == 0])

    def _latents(self, encoded: Encoded) -> NDArray[np.float64]:
        ports = self._bundle.encoding.layout.encoded_ports
        z = self._run("encoder", {port.name: encoded.arrays[port.name] for port in ports})["z"]
        return np.asarray(z, np.float64)

    @cached_property
    def _prior_latents(self) -> NDArray[np.generic]:
        """Draw latents from the mixture that was fitted to the latents of the training rows."""
        _, info = self._bundle.part("prior")
        ports = [port for port in info.inputs if port.noise is not None]
        drawn = {port.name: noise(port, stream="spread", seed=0, start=0, rows=_SPREAD_ROWS) for port in ports}
        return self._run("prior", drawn)["z"]

    def _rows(
        self,
        z: NDArray[np.float64],
        encoded: Encoded,
        index: Mapping[str, pa.Array],
        *,
        spoilt: NDArray[np.bool_] | None = None,
    ) -> pa.Table:
        """Decode latents z (B, S, Z), S per encoded row, to source rows with their index."""
        encoding = self._bundle.encoding
        faults = [
            f"has a column '{name}', which a traversal adds: rename it"
            for name in ("walk_row", *index)
            if name in encoding.schema.arrow.names
        ]
        if faults:
            raise SchemaMismatch("the source", faults)
        of = np.repeat(np.arange(z.shape[0]), z.shape[1])
        given = {port.name: encoded.arrays[port.name][of] for port in encoding.layout.given_ports}
        invalid = (encoded.invalid != 0 if spoilt is None else (encoded.invalid != 0) | spoilt)[of]
        flat = z.reshape(len(of), z.shape[2]).astype(np.float32)
        rows = rebuild(encoding, self._run, flat, given, invalid=invalid)
        for name, values in {"walk_row": _whole(of), **index}.items():
            rows = rows.append_column(name, values)
        return rows


class MeanLatents:
    """Running mean of the latents of several tables."""

    def __init__(self, traverser: Traverser) -> None:
        self.rows = 0
        self._traverser = traverser
        self._sum = np.zeros(len(traverser.dimensions))

    def add(self, rows: pa.Table) -> None:
        """Add the rows that can be encoded."""
        if len(rows):
            z = self._traverser.latents(rows)
            self.rows += len(z)
            self._sum = self._sum + z.sum(axis=0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean (Z,), of at least one row."""
        return self._sum / self.rows


def attribute_vector_between(having: MeanLatents, lacking: MeanLatents, *, what: str) -> NDArray[np.float64]:
    """Return the attribute vector (Z,) between two means.

    Raises:
        OptionInvalid: one of the means has no rows.
    """
    if not having.rows or not lacking.rows:
        found = "none" if not having.rows else "all"
        total = having.rows + lacking.rows
        raise OptionInvalid(
            f"{what} holds for {found} of {total:,} rows: expected rows with it and rows without it. Change the "
            "attribute, or give more rows."
        )
    return latent.attribute_vector(having.mean[None], lacking.mean[None])


def refuse_untraversable(bundle: Bundle) -> None:
    """Check that the latents are real vectors, one per row, and that the rows depend on them.

    Raises:
        OptionInvalid: they are not, or do not.
    """
    space, family = bundle.manifest.latent, bundle.manifest.family
    if space.kind != "real" or not space.is_written:
        kind = {"code": "codes", "binary": "bits"}.get(space.kind, "several per row")
        raise OptionInvalid(
            f"the latents of {bundle.version}, a {family}, cannot be traversed: expected one real vector per row, got "
            f"{kind}. Train another family."
        )
    if bundle.manifest.has_collapsed:
        raise OptionInvalid(
            f"the latents of {bundle.version} cannot be traversed: the model has collapsed, its texts do not depend on "
            "them. Raise free_bits under [model], and train again."
        )


def _refuse_few(steps: int) -> None:
    if steps < 2:
        raise ArgumentInvalid("steps", [f"expected at least 2, got {steps}"])


def _whole(values: NDArray[np.integer]) -> pa.Array:
    return array_of(values, pa.int32())


def _real(values: NDArray[np.floating]) -> pa.Array:
    return array_of(values, pa.float64())
