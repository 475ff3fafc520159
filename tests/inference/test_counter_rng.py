"""Counter-based noise: its distribution, and its independence of other rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aepipe.inference.counter_rng import noise, uniforms
from aepipe.layout import Port
from aepipe.storage import digest_of

NORMAL, UNIFORM = Port("eps", "float32", (3,), "normal"), Port("u", "float32", (3,), "uniform")


@given(start=st.integers(0, 5_000), rows=st.integers(1, 50), width=st.integers(1, 9), normal=st.booleans())
def test_the_noise_of_a_row_does_not_depend_on_other_rows(start: int, rows: int, width: int, normal: bool) -> None:
    port = Port("eps", "float32", (width,), "normal" if normal else "uniform")

    many = noise(port, stream="sampler", seed=7, start=start, rows=rows)
    last = noise(port, stream="sampler", seed=7, start=start + rows - 1, rows=1)

    np.testing.assert_array_equal(many[-1:], last)


def test_normal_noise_is_normal() -> None:
    values = noise(NORMAL, stream="prior", seed=0, start=0, rows=20_000)

    for column in values.T:
        assert stats.kstest(column, "norm").pvalue > 0.001
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.03
    assert np.abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.03


def test_uniform_noise_is_uniform_and_never_one() -> None:
    values = noise(UNIFORM, stream="prior", seed=0, start=0, rows=20_000)

    for column in values.T:
        assert stats.kstest(column, "uniform").pvalue > 0.001
    assert values.min() >= 0
    assert values.max() < 1


def test_seeds_streams_and_ports_have_independent_noise() -> None:
    def first(port: Port = NORMAL, stream: str = "prior", seed: int = 0) -> float:
        return float(noise(port, stream=stream, seed=seed, start=0, rows=1)[0, 0])

    assert len({first(), first(seed=1), first(stream="sampler"), first(NORMAL._replace(name="xi"))}) == 4


def test_the_noise_of_a_seed_never_changes() -> None:
    values = noise(NORMAL, stream="prior", seed=1, start=0, rows=2)

    np.testing.assert_allclose(values, EXPECTED, rtol=1e-6)


@pytest.mark.parametrize("width", [1, 4, 7])
def test_uniforms_are_the_upper_53_bits_of_the_words_of_the_counter(width: int) -> None:
    found = uniforms("bins", seed=3, start=5, rows=6, width=width)

    per_row = -(-width // 4)
    key = int(digest_of("3", "bins").removeprefix("xxh3:"), 16)
    words = np.random.Philox(key=key, counter=5 * per_row).random_raw(6 * per_row * 4).reshape(6, -1)
    assert found.tolist() == [[(int(word) >> 11) / 2**53 for word in row[:width]] for row in words]


def test_noise_fills_ports_of_any_shape() -> None:
    port = Port("eps", "float32", (2, 5), "normal")

    assert noise(port, stream="sampler", seed=0, start=0, rows=4).shape == (4, 2, 5)


@pytest.mark.parametrize("rows", [0, 1])
def test_any_number_of_rows_can_be_drawn(rows: int) -> None:
    assert noise(UNIFORM, stream="prior", seed=0, start=3, rows=rows).shape == (rows, 3)


EXPECTED = [[0.32863313, 1.12549794, -0.12596774], [-0.70231479, -1.14617157, 1.44266295]]
