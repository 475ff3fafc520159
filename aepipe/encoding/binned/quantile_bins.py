"""Encode numbers as codes: an atom for each frequent value, quantile bins for the others. Does not use Arrow.

Integers stay integers and floats float64, so that keys above 2**53 and nanoseconds stay distinct.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from aepipe.encoding.binned.bin_knots import LEAST_REPEATS, Knots, fit_knots
from aepipe.frozen import FrozenModel
from aepipe.layout import FIRST_VALUE, UNSEEN

MOST_BINS = 64
"""Maximum number of bins for values that are not atoms; each holds about the same number of training rows."""
MOST_ATOMS = 128
"""Maximum number of distinct values that are all atoms; with more, only values that fill a quarter of a bin."""
LEAST_COUNT = 5
"""Minimum number of training rows of an atom; values of fewer rows share a bin."""
ROWS_PER_BIN = 10
_BEYOND = 20
"""A value is unseen if it lies outside the training range by more than 1/20 of the range."""

_BEYOND_BY_CHANCE = 4
"""Of rows that are split by chance, the five greatest are all among the other 30 % in 0.3**5 = 0.2 % of the splits."""
_LONGEST_TABLE = 2**17
_EDGES = {"int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}


class Bins(FrozenModel):
    """Fitted atoms and bins: codes from FIRST_VALUE on, first the atoms, then the bins, both by value.

    A bin is the closed range of its training values; a value between two bins belongs to the lower one.
    """

    dtype: Literal["int64", "uint64", "float16", "float32", "float64"] = Field(
        description="type that values are rounded to"
    )
    atoms: tuple[int | float, ...] = ()
    lows: tuple[int | float, ...] = Field((), description="minimum training value of each bin")
    highs: tuple[int | float, ...] = Field((), description="maximum training value of each bin")
    step: int = Field(1, ge=1, description="greatest common step of integers, counted from the minimum")
    decimals: int | None = Field(None, description="decimals that floats were rounded to")
    typical: int = Field(0, ge=0, description="index of the code of the median, used for codes without a value")
    knots: Knots | None = Field(
        None,
        description="quantile function inside the bins, which may reach beyond the training values of a bin; none: "
        "uniform, as in encodings without knots",
    )

    @property
    def size(self) -> int:
        """Number of codes, including the reserved ones; at least one for a value, even if training had none."""
        return FIRST_VALUE + max(1, len(self.atoms) + len(self.lows))

    @property
    def is_empty(self) -> bool:
        """Training had no values."""
        return not self.atoms and not self.lows

    @property
    def is_exact(self) -> bool:
        """Every training value has a code of its own."""
        return self.lows == self.highs

    @property
    def codes_by_value(self) -> tuple[int, ...]:
        """Codes in the order of their values, after the reserved ones; a bin has the place of its minimum."""
        values = (*self.atoms, *self.lows)
        ranked = sorted(range(len(values)), key=lambda place: values[place])
        return (
            *range(FIRST_VALUE),
            *(FIRST_VALUE + place for place in ranked),
            *range(FIRST_VALUE + len(values), self.size),
        )

    @property
    def known(self) -> tuple[int | float, ...]:
        """Atoms and the values that bins are known by: the only values of a column that has few."""
        return (*self.atoms, *self.lows, *self.highs, *(() if self.knots is None else self.knots.values))

    def with_values(self, values: np.ndarray, *, decimals: int | None = None) -> "Bins":
        """Return bins with the same codes, which decode to values of these rows: quantiles, range, step and decimals.

        Args:
            values: (n,), finite, of the training rows and of others; those that are not `is_near` are left out.
            decimals: as for `fit_bins`.
        """
        if not self.lows:
            return self
        host = _host(values)
        distinct, counts = np.unique(host[self.is_near(host)], return_counts=True)
        return _with_knots(self, distinct, counts, decimals=decimals)

    def widened(self) -> "Bins":
        """Return bins in which the values that the first and the last bin decode to have the code of this bin."""
        if self.knots is None:
            return self
        values = self.knots.values
        lows, highs = (values[0], *self.lows[1:]), (*self.highs[:-1], values[-1])
        return self.model_copy(update={"lows": lows, "highs": highs})

    def is_near(self, values: np.ndarray) -> np.ndarray:
        """Tell which values (n,) of the training rows and of others codes can stand for, bool (n,).

        Values beyond the training values join the first or the last bin. If they are more than chance explains and
        more than half of its rows, the column has shifted, and they are not near.
        """
        host = _host(values)
        is_atom = np.isin(host, np.array(self.atoms, host.dtype))
        if not self.lows:
            return is_atom
        below, above = ~is_atom & (host < self.lows[0]), ~is_atom & (host > self.highs[-1])
        of_first = ~is_atom & ~below & (host <= self.highs[0])
        of_last = ~is_atom & ~above & (host >= self.lows[-1])
        far = np.zeros(len(host), np.bool_)
        for beyond, own in ((below, of_first), (above, of_last)):
            if np.count_nonzero(beyond) > max(_BEYOND_BY_CHANCE, np.count_nonzero(own) / 2):
                far |= beyond
        return ~far

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Encode values (B,) of any numeric dtype to int32 (B,); the code of NaN is undefined."""
        return self._coder.codes(values)

    def values(self, codes: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Decode codes (B,) to values (B,) int64, uint64 or float64.

        Values are rounded like the training values; a bin never yields the value of an atom. Codes without a value
        yield the typical value.

        Args:
            codes: (B,).
            uniform: (B,) on [0, 1), the quantile in the bin.
        """
        return self._coder.values(codes, uniform)

    @cached_property
    def _coder(self) -> "_Coder":
        return _Coder(self)


class _Coder:
    """Bins as arrays; safe to share between threads."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.is_whole = bins.dtype in _EDGES
        self.host = np.dtype(bins.dtype if self.is_whole else "float64")
        self.least, self.greatest = _EDGES.get(bins.dtype, (0, 0))
        self.low = np.array([*bins.atoms, *bins.lows] or [0], self.host)
        self.high = np.array([*bins.atoms, *bins.highs] or [0], self.host)
        self.least_drawn, self.most_drawn = (
            np.array([*bins.atoms, *ends] or [0], self.host) for ends in self._ends_of_draws()
        )
        self.place_of_atom = {atom: place for place, atom in enumerate(bins.atoms)}
        self.knots = None if bins.knots is None else _KnotCurve(bins.knots, len(bins.atoms), self.is_whole)
        self.following = np.array(self._after_atoms() if bins.lows else [], self.host)
        self.rounded, self.unrounded = self._unrounded()
        self.breaks, self.code_at = self._changes()
        self.by_value = self._by_value()

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Encode values, see `Bins.codes`."""
        if values.dtype.kind == "f" and self.is_whole:
            last = np.nextafter(float(self.greatest), 0)
            values = np.clip(np.rint(np.nan_to_num(values.astype(np.float64))), float(self.least), last)
        converted = values.astype(self.host, copy=False)
        if self.by_value is None:
            found: np.ndarray = self.code_at.take(np.searchsorted(self.breaks, converted, side="right"))
        else:  # the first and last entry stand for all values beyond
            before, end = self.breaks[0] - 1, self.breaks[-1]
            found = self.by_value.take(np.clip(converted, before, end) - before)
        return found

    def _by_value(self) -> np.ndarray | None:
        """Return the code of each integer of a short range, else None. A gather takes 1/10 of a search's time."""
        if self.host != np.int64 or not len(self.breaks):
            return None
        first, last = int(self.breaks[0]), int(self.breaks[-1])
        if first == self.least or last - first > _LONGEST_TABLE:
            return None
        every = first - 1 + np.arange(last - first + 2)  # last + 1 may be no int64
        codes: np.ndarray = self.code_at[np.searchsorted(self.breaks, every, side="right")]
        return codes

    def values(self, codes: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Decode codes, see `Bins.values`."""
        places = codes.astype(np.int64) - FIRST_VALUE
        places[(places < 0) | (places >= len(self.low))] = self.bins.typical
        low, high = self.least_drawn[places], self.most_drawn[places]
        curve = None if self.knots is None else self.knots.at(places, uniform)
        draw = self._whole if self.is_whole else self._rounded
        drawn = draw(low, high, uniform, curve)
        atoms = len(self.bins.atoms)
        if not atoms or not self.bins.lows:
            return drawn
        # A bin's value that equals an atom becomes the next value that is not an atom; each bin ends with one.
        at = np.minimum(np.searchsorted(self.low[:atoms], drawn), atoms - 1)
        met = (self.low[at] == drawn) & (places >= atoms)
        return np.where(met, np.minimum(self.following[at], high), drawn)

    def _ends_of_draws(self) -> tuple[Sequence[int | float], Sequence[int | float]]:
        """Return the minimum and the maximum that each bin decodes to."""
        knots = self.bins.knots
        if knots is None:
            return self.bins.lows, self.bins.highs
        ends = np.cumsum(knots.counts).tolist()
        return [knots.values[at] for at in (0, *ends[:-1])], [knots.values[at - 1] for at in ends]

    def _whole(self, low: np.ndarray, high: np.ndarray, uniform: np.ndarray, curve: np.ndarray | None) -> np.ndarray:
        # In unsigned arithmetic, which wraps around to the right answer: a range may be wider than int64.
        step = np.uint64(self.bins.step)
        steps = (high.astype(np.uint64) - low.astype(np.uint64)) // step
        exact = np.floor(uniform * (steps.astype(np.float64) + 1)) if curve is None else np.rint(curve / float(step))
        chosen = np.minimum(exact, np.nextafter(2.0**64, 0))
        drawn: np.ndarray = low.astype(np.uint64) + np.minimum(chosen.astype(np.uint64), steps) * step
        return drawn.astype(self.host)

    def _rounded(self, low: np.ndarray, high: np.ndarray, uniform: np.ndarray, curve: np.ndarray | None) -> np.ndarray:
        decimals = self.bins.decimals
        if curve is not None:
            drawn = low + curve if decimals is None else np.round(low + curve, decimals)
        elif decimals is None:
            drawn = low * (1 - uniform) + high * uniform
        else:
            unit = 10.0**-decimals
            steps = np.rint((high - low) / unit)
            drawn = np.round(low + np.minimum(np.floor(uniform * (steps + 1)), steps) * unit, decimals)
        drawn = drawn.astype(self.bins.dtype).astype(np.float64)
        if len(self.rounded):
            at = np.minimum(np.searchsorted(self.rounded, drawn), len(self.rounded) - 1)
            drawn = np.where(self.rounded[at] == drawn, self.unrounded[at], drawn)
        clipped: np.ndarray = np.clip(drawn, low, high)
        return clipped

    def _unrounded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rounded form of known values that differ from it by the arithmetic of floats, and these values.

        Sums such as 0.1 + 0.2 are not the float nearest to 0.3; a draw of such a value is that of the source.
        """
        if self.is_whole or self.bins.decimals is None:
            return np.zeros(0), np.zeros(0)
        knots = () if self.bins.knots is None else self.bins.knots.values
        known = np.unique([*self.bins.atoms, *self.bins.lows, *self.bins.highs, *knots])
        rounded = np.round(known, self.bins.decimals).astype(self.bins.dtype).astype(np.float64)
        differs = rounded != known
        return rounded[differs], known[differs]

    def _after_atoms(self) -> list[int | float]:
        """Return the next possible value after each atom that is not an atom, at most the greatest value."""
        greatest, following = max(self.most_drawn.tolist()), list[int | float]()
        for atom in reversed(self.bins.atoms):
            after = self._after(atom)
            following.append(following[-1] if after in self.place_of_atom and after < greatest else after)
        return [min(after, greatest) for after in reversed(following)]

    def _after(self, value: int | float) -> int | float:
        if self.is_whole:
            return int(value) + self.bins.step
        decimals, own = self.bins.decimals, np.array([value, np.inf], self.bins.dtype)
        following = float(np.nextafter(own[0], own[1]))
        if decimals is None:
            return following
        return max(following, float(np.array(round(value + 10.0**-decimals, decimals), self.bins.dtype)))

    def _changes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the breaks, ascending, and the codes before the first break and from each break on.

        One search finds the code of a value, be it an atom, in a bin, or neither.
        """
        bins = self.bins
        if bins.is_empty:
            return np.zeros(0, self.host), np.full(1, UNSEEN, np.int32)
        first, last = self._margins(min(self.low.tolist()), max(self.high.tolist()))
        candidates = [first, *bins.lows, *bins.atoms, *map(self._next, bins.atoms), self._next(last)]
        breaks = np.unique(np.array([one for one in candidates if one is not None], self.host))
        codes = [self._code_of(one, first, last) for one in breaks.tolist()]
        return breaks, np.array([UNSEEN, *codes], np.int32)

    def _margins(self, least: int | float, greatest: int | float) -> tuple[int | float, int | float]:
        if self.is_whole:
            beyond = (int(greatest) - int(least)) // _BEYOND
            return max(int(least) - beyond, self.least), min(int(greatest) + beyond, self.greatest)
        wider, edge = greatest / _BEYOND - least / _BEYOND, float(np.finfo(np.float64).max)
        return max(least - wider, -edge), min(greatest + wider, edge)

    def _next(self, value: int | float) -> int | float | None:
        """Return the next number that the dtype can represent; None after the last."""
        if not self.is_whole:
            return float(np.nextafter(value, np.inf))
        return int(value) + 1 if value < self.greatest else None

    def _code_of(self, value: int | float, first: int | float, last: int | float) -> int:
        if value in self.place_of_atom:
            return FIRST_VALUE + self.place_of_atom[value]
        if not self.bins.lows or not first <= value <= last:
            return UNSEEN
        return FIRST_VALUE + len(self.bins.atoms) + max(bisect_right(self.bins.lows, value) - 1, 0)


class _KnotCurve:
    """Quantile functions of all bins as one curve: bin j is its part on [j, j + 1)."""

    def __init__(self, knots: Knots, atoms: int, is_whole: bool) -> None:
        self._atoms = atoms
        bins = knots.bins
        values = np.array(knots.values, np.float64)
        if is_whole:  # differences first: integers above 2**53 have no exact float
            lows = [knots.values[index] for index in np.flatnonzero(np.diff(bins, prepend=-1)).tolist()]
            values = np.array([value - lows[at] for value, at in zip(knots.values, bins.tolist(), strict=True)], float)
        else:
            values = values - values[np.searchsorted(bins, bins)]
        self._positions, self._offsets = bins + np.array(knots.positions), values

    def at(self, places: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return the distance from the minimum of the bin, (B,); 0 for atoms."""
        bins = (places - self._atoms).astype(np.float64)
        at = np.minimum(bins + uniform, np.nextafter(bins + 1, -np.inf))  # the sum may round up to the next bin
        return np.where(bins < 0, 0.0, np.interp(at, self._positions, self._offsets))


class _Cut(NamedTuple):
    begins: np.ndarray
    lows: np.ndarray
    highs: np.ndarray


def fit_bins(values: np.ndarray, *, decimals: int | None = None) -> Bins:
    """Fit atoms and bins to training values.

    Args:
        values: (n,), finite, of any numeric dtype.
        decimals: decimals that floats were rounded to, as returned by `number_statistics.decimals`; None for unrounded.
    """
    is_float = values.dtype.kind == "f"
    distinct, counts = np.unique(_host(values), return_counts=True)
    least = LEAST_COUNT if len(counts) <= MOST_ATOMS else max(LEAST_COUNT, counts.sum() / (4 * MOST_BINS))
    is_atom = counts >= least
    cut = _cut(distinct[~is_atom], counts[~is_atom])
    bins = Bins(
        dtype=str(values.dtype) if is_float else "uint64" if values.dtype == np.uint64 else "int64",
        atoms=tuple(distinct[is_atom].tolist()),
        lows=tuple(cut.lows.tolist()),
        highs=tuple(cut.highs.tolist()),
    )
    bins = _with_knots(bins, distinct, counts, decimals=decimals)
    if len(distinct) == 0:
        return bins
    median = distinct[np.searchsorted(np.cumsum(counts), counts.sum() / 2)]
    return bins.model_copy(update={"typical": int(bins.codes(np.atleast_1d(median))[0]) - FIRST_VALUE})


def _host(values: np.ndarray) -> np.ndarray:
    """Return values as the integers or float64 that codes are found with."""
    if values.dtype.kind == "f":
        return values.astype(np.float64) + 0.0  # -0.0 + 0.0 is 0.0
    return values.astype(np.uint64 if values.dtype == np.uint64 else np.int64)


def _with_knots(bins: Bins, distinct: np.ndarray, counts: np.ndarray, *, decimals: int | None) -> Bins:
    """Return bins that decode to these values (n,), ascending, which rows (n,) have; each bin has one at least."""
    is_float, rows = bins.dtype not in _EDGES, counts.sum()
    is_other = ~np.isin(distinct, np.array(bins.atoms, distinct.dtype))
    others, lows = distinct[is_other], np.array(bins.lows, distinct.dtype)
    knots, step = None, 1
    if not is_float and len(distinct) > 1:
        step = int(np.gcd.reduce(distinct[1:].astype(np.uint64) - distinct[:1].astype(np.uint64)))
    if len(others) > len(lows):
        places = np.maximum(np.searchsorted(lows, others, side="right") - 1, 0)
        knots = fit_knots(
            others,
            counts[is_other],
            np.searchsorted(places, np.arange(len(lows))).tolist(),
            is_rounded=not is_float or decimals is not None or 2 * len(distinct) < rows,
            is_discrete=len(distinct) <= min(MOST_ATOMS, rows // LEAST_REPEATS),
            variance=_variance(distinct, counts),
            rows_of_column=int(rows),
            unit=float(step) if not is_float else 0.0 if decimals is None else 10.0**-decimals,
        )
    return bins.model_copy(update={"knots": knots, "step": step, "decimals": decimals})


def _variance(distinct: np.ndarray, counts: np.ndarray) -> float:
    """Return the sum over all rows of the squared distance from their mean; infinite if float64 does not hold it."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = distinct.astype(np.float64) - float(distinct[0])
        variance = float((counts * (values - np.average(values, weights=counts)) ** 2).sum())
    return variance if np.isfinite(variance) else np.inf


def _cut(distinct: np.ndarray, counts: np.ndarray) -> _Cut:
    """Cut values into ranges of about the same number of rows; no value lies in two."""
    total = int(counts.sum())
    bins = min(MOST_BINS, max(1, total // ROWS_PER_BIN))
    if total == 0:
        return _Cut(np.zeros(0, np.int64), distinct, distinct)
    middles = np.cumsum(counts) - counts / 2
    bin_of = np.minimum((middles * bins / total).astype(np.int64), bins - 1)
    begins = np.flatnonzero(np.diff(bin_of, prepend=-1))
    ends = np.append(begins[1:], len(distinct)) - 1
    return _Cut(begins, distinct[begins], distinct[ends])
