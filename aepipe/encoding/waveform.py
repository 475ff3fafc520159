"""Encode waveforms: lists of samples to the power of frequency bands in decibels.

Power densities are means over windows (Welch 1967): Hann windows that overlap by half, each without its mean.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.config.waveform import Waveform
from aepipe.encoding import number_statistics as statistics
from aepipe.encoding.base import FINE, OTHER, Codec, EncodedColumn, Features
from aepipe.encoding.nested_lists import FlatLists, flat
from aepipe.encoding.vector import lists_of
from aepipe.errors import OptionInvalid
from aepipe.layout import Number
from aepipe.tables.arrow_arrays import nulls_of, values_of
from aepipe.tables.schema import Column

_SHORT, _GAP = OTHER, OTHER + 1
_LEAST_POWER = 1e-20
"""Power that silence counts as, -200 dB."""
_VALUES_A_CALL = 4_000_000
_PHASE_SEED = 0


class WaveformCodec(Codec):
    """Encoder of waveforms of any length that holds a window per frame; decodes to noise of the same spectrum."""

    kind: Literal["waveform"] = "waveform"
    settings: Waveform
    length: int
    """samples of the longest waveform in training"""
    elements: tuple[Number, ...]
    """frame after frame, band after band"""

    @property
    def numbers(self) -> tuple[Number, ...]:
        return self.elements

    @property
    def reasons(self) -> tuple[str, ...]:
        least = self.settings.window * self.settings.frames
        frames = f" in each of {self.settings.frames} frames" if self.settings.frames > 1 else ""
        return (
            *super().reasons,
            f"{self.name} has fewer than {least} samples, a window of {self.settings.window}{frames}",
            f"{self.name} has a missing or infinite sample",
        )

    def encode(self, array: pa.Array) -> Features:
        lists, values = _samples(array)
        sizes = lists.ends - lists.starts
        reasons = np.where((sizes < self.settings.window * self.settings.frames) & ~lists.nulls, _SHORT, FINE)
        grid = np.full((len(sizes), len(self.elements)), np.nan)
        for size in np.unique(sizes[(reasons == FINE) & ~lists.nulls]):
            rows = np.flatnonzero((sizes == size) & ~lists.nulls)
            for part in np.array_split(rows, -(-len(rows) * int(size) // _VALUES_A_CALL)):
                samples = values[lists.starts[part, None] + np.arange(size)]
                is_whole = np.isfinite(samples).all(axis=1)
                reasons[part[~is_whole]] = _GAP
                grid[part[is_whole]] = self._decibels(samples[is_whole])
        grid[reasons != FINE] = [number.mean for number in self.elements]
        return Features(numbers=tuple(grid.T), reasons=reasons.astype(np.int8) if reasons.any() else None)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        numbers = features.numbers
        nulls = np.isnan(numbers)
        low, high = (np.asarray([getattr(each, end) or 0.0 for each in self.elements]) for end in ("low", "high"))
        length = kind.list_size if pt.is_fixed_size_list(kind) else self.length
        waves = self._noise(np.clip(np.where(nulls, 0.0, numbers), low, high), length)
        return lists_of(waves, np.repeat(nulls.all(axis=1)[:, None], length, axis=1), kind)

    def _decibels(self, samples: np.ndarray) -> np.ndarray:
        """Return the power of bands of whole waveforms (B, N), (B, frames * bands) in decibels."""
        known = self.settings
        parts = np.array_split(samples, known.frames, axis=1)
        powers = [power_density(part, known.rate, known.window) @ self._filters.T for part in parts]
        return 10 * np.log10(np.maximum(np.concatenate(powers, axis=1) * known.rate / known.window, _LEAST_POWER))

    def _noise(self, decibels: np.ndarray, length: int) -> np.ndarray:
        """Return Gaussian noise (B, length) with the power of bands (B, frames * bands); all rows share the phases."""
        known, filters = self.settings, self._filters
        of_bands = 10 ** (decibels / 10).reshape(len(decibels), known.frames, known.bands)
        of_bands /= filters.sum(1) * known.rate / known.window
        density = of_bands @ (filters / np.maximum(filters.sum(0), 1e-12))
        generator = np.random.default_rng(_PHASE_SEED)
        phases = generator.standard_normal((2, length // 2 + 1)).T @ np.asarray([1, 1j]) / np.sqrt(2)
        at = np.fft.rfftfreq(length, 1 / known.rate)
        centers = np.fft.rfftfreq(known.window, 1 / known.rate)
        waves = np.zeros((len(decibels), length))
        for frame, place in enumerate(np.array_split(np.arange(length), known.frames)):
            for row, each in enumerate(density[:, frame]):
                amplitude = np.sqrt(np.interp(at, centers, each) * known.rate * length / 2)
                waves[row, place] = np.fft.irfft(amplitude * phases, length)[place]
        return waves

    @cached_property
    def _filters(self) -> np.ndarray:
        return band_filters(self.settings)


def fit_waveform(column: Column, index: int, values: pa.ChunkedArray) -> WaveformCodec:
    """Fit an encoder to training waveforms.

    Raises:
        OptionInvalid: the bands are narrower than the resolution of the window, or no waveform holds a window.
    """
    settings = column.waveform or Waveform()
    faults = list(waveform_faults(column.name, settings))
    if faults:
        raise OptionInvalid(faults[0])
    sizes = [lists.ends - lists.starts for lists in (flat(chunk) for chunk in values.chunks)]
    length = int(max((size.max() for size in sizes if len(size)), default=0))
    least = settings.window * settings.frames
    if length < least:
        raise OptionInvalid(
            f"column '{column.name}' has at most {length} samples per row: expected {least}, a window per frame, or "
            "more. Choose a smaller window or fewer frames under [columns]."
        )
    blank = tuple(Number(name=name, column=index) for name in feature_names(column.name, settings))
    draft = WaveformCodec(name=column.name, settings=settings, length=length, elements=blank)
    features = [draft.encode(chunk) for chunk in values.chunks]
    grids = [
        np.stack(each.numbers, axis=1)[slice(None) if each.reasons is None else each.reasons == FINE]
        for each in features
    ]
    grid = np.concatenate(grids)
    elements = tuple(
        statistics.number(
            element[np.isfinite(element)],
            name=number.name,
            column=index,
            transform="linear",
            may_be_missing=bool(np.isnan(element).any()),
        )
        for number, element in zip(blank, grid.T, strict=True)
    )
    return draft.model_copy(update={"elements": elements})


def refuse_waveform_codes(column: Column, index: int, values: pa.ChunkedArray) -> NoReturn:
    """Raise OptionInvalid: a family whose columns are all codes has no waveforms."""
    raise OptionInvalid(
        f"[model] family 'tabular_vae' has no waveforms, but '{column.name}' is one. Use family vae or ae, or name the "
        'column "ignore".'
    )


def waveform_faults(name: str, settings: Waveform) -> Sequence[str]:
    """Return a sentence if a band has no frequency of the Fourier transform."""
    if (band_filters(settings).sum(axis=1) > 0).all():
        return ()
    return (
        f"column '{name}' has {settings.bands} {settings.scale} bands, too narrow for windows of {settings.window} "
        "samples: expected a frequency in each band. Choose fewer bands or a longer window under [columns].",
    )


def power_density(samples: np.ndarray, rate: float, window: int) -> np.ndarray:
    """Return the one-sided power density of waveforms (B, N), (B, window // 2 + 1) in squared units per hertz.

    The mean over Hann windows that overlap by half, as `scipy.signal.welch` computes it.
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    parts = np.lib.stride_tricks.sliding_window_view(samples, window, axis=1)[:, :: window - window // 2]
    spectrum = np.fft.rfft((parts - parts.mean(axis=2, keepdims=True)) * hann, axis=2)
    density: np.ndarray = np.square(np.abs(spectrum)).mean(axis=1) / (rate * np.square(hann).sum())
    density[:, 1 : None if window % 2 else -1] *= 2  # negative frequencies
    return density


def band_filters(settings: Waveform) -> np.ndarray:
    """Return the weight of each frequency in each band, (bands, window // 2 + 1).

    Linear bands are rectangles of equal width without frequency 0; mel bands are triangles between three neighbouring
    points at equal distances in mel, 2595 log10(1 + f / 700) (O'Shaughnessy 1987).
    """
    frequencies = np.fft.rfftfreq(settings.window, 1 / settings.rate)
    if settings.scale == "linear":
        filters = np.zeros((settings.bands, len(frequencies)))
        for band, places in enumerate(np.array_split(np.arange(1, len(frequencies)), settings.bands)):
            filters[band, places] = 1
        return filters
    points = band_points(settings)
    rising = (frequencies - points[:-2, None]) / np.diff(points)[:-1, None]
    falling = (points[2:, None] - frequencies) / np.diff(points)[1:, None]
    triangles: np.ndarray = np.maximum(0.0, np.minimum(rising, falling))
    return triangles


def band_points(settings: Waveform) -> np.ndarray:
    """Return the frequencies, in hertz, that bands lie between: (bands + 1,), or (bands + 2,) on the mel scale."""
    if settings.scale == "linear":
        return np.linspace(0, settings.rate / 2, settings.bands + 1)
    highest = 2595 * np.log10(1 + settings.rate / 2 / 700)
    points: np.ndarray = 700 * (10 ** (np.linspace(0, highest, settings.bands + 2) / 2595) - 1)
    return points


def feature_names(name: str, settings: Waveform) -> list[str]:
    """Return the name of each feature: the column and the band in hertz, and the frame if there are several."""
    points = band_points(settings)
    step = len(points) - settings.bands
    bands = [f"{low:.4g}-{high:.4g} Hz" for low, high in zip(points[:-step], points[step:], strict=True)]
    if settings.frames == 1:
        return [f"{name}[{band}]" for band in bands]
    return [f"{name}[{frame}, {band}]" for frame in range(settings.frames) for band in bands]


def _samples(array: pa.Array) -> tuple[FlatLists, np.ndarray]:
    """Flatten lists to float64 samples, NaN if missing."""
    lists = flat(array)
    samples = lists.values.cast(pa.float64(), safe=False)
    values, nulls = values_of(samples), nulls_of(samples)
    return lists, values if nulls is None else np.where(nulls, np.nan, values)
