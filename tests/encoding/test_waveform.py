"""Waveforms: densities against scipy, power of a sine, mel by formula, invalid rows, decoding, refusals."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.signal import lfilter, welch

from aepipe.config.waveform import Waveform
from aepipe.encoding.base import EncodedColumn
from aepipe.encoding.encoding import Encoding, fit
from aepipe.encoding.waveform import (
    WaveformCodec,
    band_filters,
    band_points,
    feature_names,
    fit_waveform,
    power_density,
)
from aepipe.errors import OptionInvalid
from aepipe.tables.schema import Column, Schema

RATE = 8_000.0


def column(**settings: object) -> Column:
    known = Waveform.model_validate({"rate": RATE, "window": 64, "bands": 8, **settings})
    return Column(name="sound", kind="waveform", type="list<float>", why="named", waveform=known)


def noise(rows: int, samples: int, seed: int = 0) -> np.ndarray:
    """Draw noise that is louder at low frequencies by 20 dB."""
    return lfilter([1.0], [1.0, -0.8], np.random.default_rng(seed).standard_normal((rows, samples)))


def lists(rows: list[object] | np.ndarray, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(list(rows), kind or pa.list_(pa.float32()))])


def features(codec: WaveformCodec, array: pa.Array) -> np.ndarray:
    return np.stack(codec.encode(array).numbers, axis=1)


@pytest.mark.parametrize(("window", "samples"), [(64, 1_000), (65, 1_000), (16, 16), (128, 300)])
def test_the_density_is_scipy_s(window: int, samples: int) -> None:
    rows = noise(3, samples) + 5

    _, expected = welch(rows, RATE, "hann", window, window // 2, detrend="constant")

    np.testing.assert_allclose(power_density(rows, RATE, window), expected, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_sine_has_its_power_in_its_band(frames: int) -> None:
    rows = 3 * np.sin(2 * np.pi * 1_250 * np.arange(4_096) / RATE + np.arange(5)[:, None])
    codec = fit_waveform(column(frames=frames), 0, lists(rows))

    found = features(codec, lists(rows).chunk(0)).reshape(5, frames, 8)

    np.testing.assert_allclose(found[:, :, 2], 10 * np.log10(9 / 2), atol=0.01)  # 1,000 to 1,500 Hz
    assert (found[:, :, 5:] < -40).all()


def test_later_frames_are_later_samples() -> None:
    rows = np.concatenate([0.01 * noise(4, 1_024), noise(4, 1_024)], axis=1)
    codec = fit_waveform(column(frames=2), 0, lists(rows))

    found = features(codec, lists(rows).chunk(0))

    np.testing.assert_allclose((found[:, 8:] - found[:, :8]).mean(), 40, atol=2)


def test_mel_bands_are_triangles_at_equal_distances_in_mel() -> None:
    settings = Waveform(rate=RATE, window=512, bands=20, scale="mel")
    points, filters = band_points(settings), band_filters(settings)

    mel = 2595 * np.log10(1 + points / 700)
    np.testing.assert_allclose(np.diff(mel), mel[-1] / 21)
    assert points[-1] == pytest.approx(RATE / 2)
    assert 2595 * np.log10(1 + 1_000 / 700) == pytest.approx(1_000, abs=0.1)
    frequencies = np.fft.rfftfreq(512, 1 / RATE)
    for band in range(20):
        expected = np.interp(frequencies, points[band : band + 3], [0, 1, 0])
        np.testing.assert_allclose(filters[band], expected, atol=1e-12)


def test_names_say_the_frequencies() -> None:
    settings = Waveform(rate=RATE, window=64, bands=4, frames=2)

    assert feature_names("sound", settings)[:2] == ["sound[0, 0-1000 Hz]", "sound[0, 1000-2000 Hz]"]
    assert feature_names("sound", settings)[-1] == "sound[1, 3000-4000 Hz]"


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 600)])
def test_any_layout_gives_the_same_features(kind: pa.DataType) -> None:
    rows = noise(6, 600)
    codec = fit_waveform(column(), 0, lists(rows))

    expected = features(codec, lists(rows).chunk(0))

    np.testing.assert_allclose(features(codec, pa.array(list(rows), kind)), expected, atol=1e-4)
    np.testing.assert_allclose(features(codec, pa.array(list(rows), kind)[2:]), expected[2:], atol=1e-4)


def test_lengths_may_differ_and_rows_without_a_window_are_invalid() -> None:
    long = noise(4, 3_000)
    codec = fit_waveform(column(), 0, lists(long))
    gap = [*long[0, :99], None]
    array = lists([long[0, :2_000], long[1, :10], gap, None, long[2], [], [float("inf")] * 100]).chunk(0)

    found = codec.encode(array)

    assert found.reasons is not None
    assert [codec.reasons[reason - 1] if reason else "" for reason in found.reasons] == [
        "",
        "sound has fewer than 64 samples, a window of 64",
        "sound has a missing or infinite sample",
        "",
        "",
        "sound has fewer than 64 samples, a window of 64",
        "sound has a missing or infinite sample",
    ]
    grid = np.stack(found.numbers, axis=1)
    assert np.isnan(grid[3]).all()  # a null is missing
    assert np.isfinite(np.delete(grid, 3, axis=0)).all()
    np.testing.assert_allclose(grid[4], features(codec, lists(long).chunk(0))[2])


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 8_192)])
@pytest.mark.parametrize("settings", [{}, {"frames": 2}, {"scale": "mel", "window": 256}])
def test_decoded_noise_has_the_power_of_the_bands(kind: pa.DataType, settings: dict[str, object]) -> None:
    rows = noise(3, 8_192) * np.asarray([[1], [10], [0.1]])
    codec = fit_waveform(column(**settings), 0, lists(rows))
    wanted = features(codec, lists(rows).chunk(0))

    waves = codec.decode(EncodedColumn(numbers=wanted), kind)

    assert waves.type == kind
    assert {len(wave) for wave in waves} == {8_192}
    np.testing.assert_allclose(features(codec, waves), wanted, atol=3)
    missing = codec.decode(EncodedColumn(numbers=np.full_like(wanted, np.nan)), pa.list_(pa.float32()))
    assert missing.null_count == 3


def test_an_encoding_survives_json_and_works_with_other_columns() -> None:
    arrow = pa.schema([pa.field("rpm", pa.float64()), pa.field("sound", pa.list_(pa.float32()))])
    columns = (Column(name="rpm", kind="number", type="double", why=""), column())
    rows = noise(50, 400).astype(np.float32)
    batch = pa.RecordBatch.from_arrays(
        [pa.array(np.arange(50.0)), pa.array(list(rows), arrow.field(1).type)], schema=arrow
    )

    encoding = fit(Schema.of(columns, arrow), [batch])
    again = Encoding.model_validate_json(encoding.model_dump_json(by_alias=True))

    np.testing.assert_array_equal(again.encode(batch).arrays["num"], encoding.encode(batch).arrays["num"])
    assert encoding.layout.columns == ("rpm", "sound")
    assert len(encoding.layout.numbers) == 9


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bands": 33}, "has 33 linear bands, too narrow for windows of 64 samples: expected a frequency in each band"),
        ({"scale": "mel", "bands": 30}, "has 30 mel bands, too narrow"),
        ({"window": 4_096}, "has at most 600 samples per row: expected 4096, a window per frame, or more"),
        ({"frames": 20}, "has at most 600 samples per row: expected 1280, a window per frame, or more"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionInvalid, match=sentence):
        fit_waveform(column(**settings), 0, lists(noise(3, 600)))


def test_a_family_of_codes_refuses_waveforms() -> None:
    arrow = pa.schema([pa.field("sound", pa.list_(pa.float32()))])
    batch = pa.RecordBatch.from_arrays([pa.array(list(noise(5, 400).astype(np.float32)))], schema=arrow)

    with pytest.raises(OptionInvalid, match="family 'tabular_vae' has no waveforms, but 'sound' is one"):
        fit(Schema.of((column(),), arrow), [batch], as_codes=True)
