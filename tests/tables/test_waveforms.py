"""Waveforms are distinguished from embeddings, spectra, smooth curves and short lists."""

import numpy as np
import pyarrow as pa
import pytest

from aepipe.tables.waveforms import find_waveforms

GENERATOR = np.random.default_rng(0)
PHASES = GENERATOR.uniform(0, 6, (40, 1))
TIMES = np.arange(600)
SOUND = np.sin(0.3 * TIMES + PHASES) + 0.3 * GENERATOR.standard_normal((40, 600))


def as_lists(rows: np.ndarray, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(list(rows), kind or pa.list_(pa.float32()))])


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 600)])
def test_sound_is_found(kind: pa.DataType) -> None:
    found = find_waveforms(as_lists(SOUND, kind))

    assert found is not None
    assert (found.rows, found.shortest, found.longest) == (40, 600, 600)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("embeddings", GENERATOR.standard_normal((40, 768))),
        ("a profile at fixed places", np.sin(0.3 * TIMES) + 0.1 * GENERATOR.standard_normal((40, 600))),
        ("random walks", GENERATOR.standard_normal((40, 600)).cumsum(1).cumsum(1)),
        ("short", SOUND[:, :500]),
        ("few", SOUND[:10]),
        ("silence", np.zeros((40, 600))),
    ],
)
def test_other_lists_are_not(name: str, rows: np.ndarray) -> None:
    assert find_waveforms(as_lists(rows)) is None, name


def test_integers_and_lists_of_lists_are_not() -> None:
    assert find_waveforms(as_lists((100 * SOUND).astype(np.int64), pa.list_(pa.int64()))) is None
    assert find_waveforms(pa.chunked_array([pa.array([[[1.0] * 600]] * 30)])) is None
