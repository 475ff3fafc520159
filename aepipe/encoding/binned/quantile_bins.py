"""Numbers as codes and back: an atom for each frequent value, quantile bins for the others. Nothing here knows Arrow.

Integers stay integers and floats float64, so that keys above 2**53 and nanoseconds are told apart.
"""

from bisect import bisect_right
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from aepipe.frozen import FrozenModel
from aepipe.layout import FIRST_VALUE, UNSEEN

MOST_BINS = 64
"""So many bins hold the values that are no atoms, each about as many training rows."""
MOST_ATOMS = 128
"""A column of at most so many distinct values has an atom for each; of more, for those that fill a quarter of a bin."""
LEAST_COUNT = 5
"""An atom is a value of at least so many training rows: what fewer rows hold shares a bin."""
ROWS_A_BIN = 10
_BEYOND = 20
"""A value counts as unseen beyond the training range by more than this part of it."""

_LONGEST_TABLE = 2**17
_EDGES = {"int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}


class Bins(FrozenModel):
    """Codes FIRST_VALUE ...: first the atoms, then the bins, both by value.

    A bin is the closed range that its training values lay in; a value between two bins counts as the lower one's.
    """

    dtype: Literal["int64", "uint64", "float16", "float32", "float64"] = Field(description="what values are rounded to")
    atoms: tuple[int | float, ...] = ()
    lows: tuple[int | float, ...] = Field((), description="least training value of each bin")
    highs: tuple[int | float, ...] = Field((), description="greatest training value of each bin")
    step: int = Field(1, ge=1, description="what integers are multiples of, seen from the least")
    decimals: int | None = Field(None, description="what floats were rounded to")
    typical: int = Field(0, ge=0, description="place of the code with the median in it: for codes without a value")

    @property
    def size(self) -> int:
        """How many codes there are, the reserved ones included, and one for no value where training had none."""
        return FIRST_VALUE + max(1, len(self.atoms) + len(self.lows))

    @property
    def is_empty(self) -> bool:
        """Whether training had no value at all."""
        return not self.atoms and not self.lows

    @property
    def is_exact(self) -> bool:
        """Whether every training value has a code of its own."""
        return self.lows == self.highs

    def codes(self, values: np.ndarray) -> np.ndarray:
        """int32 (B,) of values (B,) of any numeric dtype; what NaN becomes means nothing."""
        return self._coder.codes(values)

    def values(self, codes: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Values (B,) int64, uint64 or float64 of codes (B,): uniform (B,) on [0, 1) says where in its bin each lies.

        Rounded as training values were, and never an atom's where the code is a bin's. Codes without a value become
        the typical one.
        """
        return self._coder.values(codes, uniform)

    @cached_property
    def _coder(self) -> "_Coder":
        return _Coder(self)


class _Coder:
    """Bins as arrays, ready to run; threads may share it."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.is_whole = bins.dtype in _EDGES
        self.host = np.dtype(bins.dtype if self.is_whole else "float64")
        self.least, self.greatest = _EDGES.get(bins.dtype, (0, 0))
        self.low = np.array([*bins.atoms, *bins.lows] or [0], self.host)
        self.high = np.array([*bins.atoms, *bins.highs] or [0], self.host)
        self.place_of_atom = {atom: place for place, atom in enumerate(bins.atoms)}
        self.following = np.array(self._after_atoms() if bins.lows else [], self.host)
        self.breaks, self.code_at = self._changes()
        self.by_value = self._by_value()

    def codes(self, values: np.ndarray) -> np.ndarray:
        ours = self._as_host(values)
        if self.by_value is None:
            found: np.ndarray = self.code_at.take(np.searchsorted(self.breaks, ours, side="right"))
        else:  # its first and last entry stand for all values beyond
            first, last = self.breaks[0] - 1, self.breaks[-1]
            found = self.by_value.take(np.clip(ours, first, last) - first)
        return found

    def _by_value(self) -> np.ndarray | None:
        """The code of each integer of a short range: a gather takes a tenth of a search's time. None for others."""
        if self.host != np.int64 or not len(self.breaks):
            return None
        first, last = int(self.breaks[0]), int(self.breaks[-1])
        if first == self.least or last - first > _LONGEST_TABLE:
            return None
        every = np.arange(first - 1, last + 1)
        codes: np.ndarray = self.code_at[np.searchsorted(self.breaks, every, side="right")]
        return codes

    def values(self, codes: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        places = codes.astype(np.int64) - FIRST_VALUE
        places[(places < 0) | (places >= len(self.low))] = self.bins.typical
        low, high = self.low[places], self.high[places]
        drawn = self._whole(low, high, uniform) if self.is_whole else self._rounded(low, high, uniform)
        return self._off_atoms(drawn, places)

    def _whole(self, low: np.ndarray, high: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        # In unsigned arithmetic, which wraps around to the right answer: a range may be wider than int64.
        step = np.uint64(self.bins.step)
        steps = (high.astype(np.uint64) - low.astype(np.uint64)) // step
        chosen = np.minimum(np.floor(uniform * (steps.astype(np.float64) + 1)), np.nextafter(2.0**64, 0))
        drawn: np.ndarray = low.astype(np.uint64) + np.minimum(chosen.astype(np.uint64), steps) * step
        return drawn.astype(self.host)

    def _rounded(self, low: np.ndarray, high: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        decimals = self.bins.decimals
        if decimals is None:
            drawn = low * (1 - uniform) + high * uniform
        else:
            unit = 10.0**-decimals
            steps = np.rint((high - low) / unit)
            drawn = np.round(low + np.minimum(np.floor(uniform * (steps + 1)), steps) * unit, decimals)
        clipped: np.ndarray = np.clip(drawn.astype(self.bins.dtype).astype(np.float64), low, high)
        return clipped

    def _off_atoms(self, drawn: np.ndarray, places: np.ndarray) -> np.ndarray:
        """A bin's value that is an atom's moves on to the next that is none: a bin ends with one."""
        atoms = len(self.bins.atoms)
        if not atoms or not self.bins.lows:
            return drawn
        at = np.minimum(np.searchsorted(self.low[:atoms], drawn), atoms - 1)
        met = (self.low[at] == drawn) & (places >= atoms)
        return np.where(met, np.minimum(self.following[at], self.high[places]), drawn)

    def _as_host(self, values: np.ndarray) -> np.ndarray:
        """Of our own dtype; floats where integers belong are rounded, to the ends of their range at most."""
        if values.dtype.kind == "f" and self.is_whole:
            last = np.nextafter(float(self.greatest), 0)
            values = np.clip(np.rint(np.nan_to_num(values.astype(np.float64))), float(self.least), last)
        ours: np.ndarray = values.astype(self.host, copy=False)
        return ours

    def _after_atoms(self) -> list[int | float]:
        """Of each atom the next possible value that is none, no later than the last of all."""
        greatest, following = max(self.bins.highs), list[int | float]()
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
        """Where the code changes, ascending, and the codes: before the first break, then from each break on.

        One search finds a value's code, whether it is an atom, in a bin, or neither.
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
        """The next number that the host can tell from it; None after the last."""
        if not self.is_whole:
            return float(np.nextafter(value, np.inf))
        return int(value) + 1 if value < self.greatest else None

    def _code_of(self, value: int | float, first: int | float, last: int | float) -> int:
        if value in self.place_of_atom:
            return FIRST_VALUE + self.place_of_atom[value]
        if not self.bins.lows or not first <= value <= last:
            return UNSEEN
        return FIRST_VALUE + len(self.bins.atoms) + max(bisect_right(self.bins.lows, value) - 1, 0)


class _Cut(NamedTuple):
    lows: np.ndarray
    highs: np.ndarray


def fit_bins(values: np.ndarray, *, decimals: int | None = None) -> Bins:
    """The codes of training values (n,), finite, of any numeric dtype.

    decimals: what floats were rounded to, as `statistics.decimals` tells.
    """
    is_float = values.dtype.kind == "f"
    dtype = str(values.dtype) if is_float else "uint64" if values.dtype == np.uint64 else "int64"
    host = values.astype(np.float64) + 0.0 if is_float else values.astype(dtype)  # -0.0 + 0.0 is 0.0
    distinct, counts = np.unique(host, return_counts=True)
    is_atom = _are_atoms(counts)
    atoms, cut = distinct[is_atom], _cut(distinct[~is_atom], counts[~is_atom])
    bins = Bins(
        dtype=dtype,
        atoms=tuple(atoms.tolist()),
        lows=tuple(cut.lows.tolist()),
        highs=tuple(cut.highs.tolist()),
        step=1 if is_float else _step(distinct),
        decimals=decimals,
    )
    if len(distinct) == 0:
        return bins
    median = distinct[np.searchsorted(np.cumsum(counts), counts.sum() / 2)]
    return bins.model_copy(update={"typical": int(bins.codes(np.atleast_1d(median))[0]) - FIRST_VALUE})


def _are_atoms(counts: np.ndarray) -> np.ndarray:
    enough = LEAST_COUNT if len(counts) <= MOST_ATOMS else max(LEAST_COUNT, counts.sum() / (4 * MOST_BINS))
    return counts >= enough


def _cut(distinct: np.ndarray, counts: np.ndarray) -> _Cut:
    """Ranges of about equally many rows; no value lies in two."""
    total = int(counts.sum())
    bins = min(MOST_BINS, max(1, total // ROWS_A_BIN))
    if total == 0:
        return _Cut(distinct, distinct)
    middles = np.cumsum(counts) - counts / 2
    bin_of = np.minimum((middles * bins / total).astype(np.int64), bins - 1)
    begins = np.flatnonzero(np.diff(bin_of, prepend=-1))
    ends = np.append(begins[1:], len(distinct)) - 1
    return _Cut(distinct[begins], distinct[ends])


def _step(distinct: np.ndarray) -> int:
    """The greatest step that leads from the least to all the others."""
    if len(distinct) < 2:
        return 1
    above = distinct[1:].astype(np.uint64) - distinct[:1].astype(np.uint64)
    return int(np.gcd.reduce(above))
