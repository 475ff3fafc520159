"""Rows made by moving the latents of rows about: encoder -> numpy -> decoder, through ONNX only."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe import latent_math as latent
from aepipe.bundles.bundle import Bundle
from aepipe.encoding import Encoded
from aepipe.errors import OptionInvalid, SchemaMismatch
from aepipe.expressions.condition import Condition
from aepipe.inference.counter_rng import noise
from aepipe.inference.reconstruct import Run, rebuild
from aepipe.tables.arrow_arrays import array_of, texts_of
from aepipe.tables.schema import did_you_mean

Attribute = str | tuple[pa.Table, pa.Table]
"""A condition that some rows meet, or a table of rows with it and one of rows without."""

INDEX_COLUMNS = ("walk_row", "walk_step", "walk_share", "walk_amount", "walk_dimension", "walk_value")
_SPREAD_ROWS = 8_192  # of the prior: the quantiles of a latent are then within .02 of its standard deviation


class Walker:
    """The encoder, prior and decoder of a bundle, for walks through its latents.

    Rows are as `TableModel.reconstruct` gives them, with the index columns of `INDEX_COLUMNS`; they keep the conditions
    of the row that they come from, and are null where that cannot be encoded. Raises OptionInvalid where the latents
    are no real vectors.
    """

    def __init__(self, bundle: Bundle, *, encode: Callable[[pa.Table], Encoded], run: Run) -> None:
        refuse_unwalkable(bundle)
        self._bundle = bundle
        self._encode = encode
        self._run = run

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the latents."""
        return self._bundle.manifest.latent.names

    def interpolate(self, first: pa.Table, last: pa.Table, *, steps: int = 8, how: latent.How = "slerp") -> pa.Table:
        """From each row of `first` to the same one of `last`, `steps` rows each, conditions of the first."""
        if how not in ("slerp", "lerp"):
            raise OptionInvalid(f"an interpolation is slerp or lerp, found '{how}'")
        if len(first) != len(last):
            raise OptionInvalid(f"rows to begin with and to end at are as many, found {len(first)} and {len(last)}")
        _refuse_few(steps)
        begin, end = self._encode(first), self._encode(last)
        z = latent.path(self._latents(begin), self._latents(end), steps=steps, how=how)
        index = {
            "walk_step": _whole(np.tile(np.arange(steps), len(first))),
            "walk_share": _real(np.tile(latent.shares(steps), len(first))),
        }
        return self._rows(z, begin, index, spoilt=end.invalid != 0)

    def shift(self, rows: pa.Table, vector: NDArray[np.float64], *, amounts: Sequence[float]) -> pa.Table:
        """Each row with each of `amounts` times the vector (Z,) added to its latents."""
        encoded = self._encode(rows)
        z = latent.shifted(self._latents(encoded), vector, amounts)
        return self._rows(z, encoded, {"walk_amount": _real(np.tile(amounts, len(rows)))})

    def traverse(self, rows: pa.Table, *, dimensions: Sequence[str] | None = None, steps: int = 7) -> pa.Table:
        """Each row with one latent at a time moved over the spread of the training rows', `steps` rows each."""
        _refuse_few(steps)
        names = self.dimensions if dimensions is None else tuple(dimensions)
        self._refuse_unknown(names)
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
        """The step (Z,) from rows without an attribute to rows with it; a condition is judged `among` a table."""
        if isinstance(attribute, str):
            holds = Condition.parse(attribute).mask(among)
            having, lacking = among.filter(holds), among.filter(pc.invert(holds))
        else:
            having, lacking = attribute
        sums = (MeanLatents(self), MeanLatents(self))
        for mean, rows in zip(sums, (having, lacking), strict=True):
            mean.add(rows)
        return step_between(*sums, what=attribute if isinstance(attribute, str) else "the attribute")

    def latents(self, rows: pa.Table) -> NDArray[np.float64]:
        """The latents of the rows that can be encoded, (B, Z)."""
        encoded = self._encode(rows)
        return np.asarray(self._latents(encoded)[encoded.invalid == 0])

    def _latents(self, encoded: Encoded) -> NDArray[np.float64]:
        ports = self._bundle.encoding.layout.encoded_ports
        z = self._run("encoder", {port.name: encoded.arrays[port.name] for port in ports})["z"]
        return np.asarray(z, np.float64)

    @cached_property
    def _prior_latents(self) -> NDArray[np.generic]:
        """Latents as the training rows had them, drawn from the mixture that was fitted on those."""
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
        _refuse_doubles(encoding.schema.arrow.names, ["walk_row", *index])
        of = np.repeat(np.arange(z.shape[0]), z.shape[1])
        given = {port.name: encoded.arrays[port.name][of] for port in encoding.layout.given_ports}
        invalid = (encoded.invalid != 0 if spoilt is None else (encoded.invalid != 0) | spoilt)[of]
        flat = z.reshape(len(of), z.shape[2]).astype(np.float32)
        rows = rebuild(encoding, self._run, flat, given, invalid=invalid)
        for name, values in {"walk_row": _whole(of), **index}.items():
            rows = rows.append_column(name, values)
        return rows

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.dimensions:
                known = f"there are {self.dimensions[0]} to {self.dimensions[-1]}"
                raise OptionInvalid(f"no latent '{name}'{did_you_mean(name, self.dimensions) or f'; {known}'}")


class MeanLatents:
    """The mean of latents that come a table at a time."""

    def __init__(self, walker: Walker) -> None:
        self.rows = 0
        self._walker = walker
        self._sum = np.zeros(len(walker.dimensions))

    def add(self, rows: pa.Table) -> None:
        """Those of the rows that can be encoded."""
        if len(rows):
            z = self._walker.latents(rows)
            self.rows += len(z)
            self._sum = self._sum + z.sum(axis=0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(Z,), of one row at least."""
        return self._sum / self.rows


def step_between(having: MeanLatents, lacking: MeanLatents, *, what: str) -> NDArray[np.float64]:
    """The attribute vector (Z,) of two means. Raises OptionInvalid where one is of no rows."""
    if not having.rows or not lacking.rows:
        found = "none" if not having.rows else "all"
        total = having.rows + lacking.rows
        raise OptionInvalid(f"{what} holds for {found} of {total:,} rows: rows with it and rows without it are needed")
    return latent.attribute_vector(having.mean[None], lacking.mean[None])


def refuse_unwalkable(bundle: Bundle) -> None:
    """Raises OptionInvalid where latents are no real vectors, one a row."""
    space, family = bundle.manifest.latent, bundle.manifest.family
    if space.kind != "real" or not space.is_written:
        kind = {"code": "are codes", "binary": "are bits"}.get(space.kind, "are not one vector a row")
        raise OptionInvalid(f"the latents of {bundle.version}, a {family}, {kind}: no walk leads through them")


def _refuse_few(steps: int) -> None:
    if steps < 2:
        raise OptionInvalid(f"a walk has 2 steps at least, found {steps}")


def _refuse_doubles(names: Sequence[str], index: Sequence[str]) -> None:
    faults = [f"has a column '{name}', a name of a walk: rename it" for name in index if name in names]
    if faults:
        raise SchemaMismatch("the source", faults)


def _whole(values: NDArray[np.integer]) -> pa.Array:
    return array_of(values, pa.int32())


def _real(values: NDArray[np.floating]) -> pa.Array:
    return array_of(values, pa.float64())
