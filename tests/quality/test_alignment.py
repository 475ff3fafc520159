"""Alignment of tables with different layouts and narrower types."""

import numpy as np
import pyarrow as pa
import pytest

from aepipe.quality.alignment import align, moments


def test_value_has_one_code_in_every_table_and_layout() -> None:
    first = pa.table({"town": pa.array(["Ulm", None, "Bonn"]).dictionary_encode(), "n": pa.array([1, 2, None])})
    second = pa.table({"n": pa.array([2.5, 1.0]), "town": pa.array(["Bonn", "Kiel"], pa.large_string())})

    columns, (one, other) = align([second, first])

    assert (columns.numbers, columns.categories, columns.sizes) == (("n",), ("town",), (4,))
    assert one.codes[0, 0] == other.codes[2, 0]
    assert other.codes[1, 0] == 0
    np.testing.assert_array_equal(other.numbers[:, 0], [1.0, 2.0, np.nan])


def test_times_are_numbers_named_columns_categories_and_ragged_lists_omitted() -> None:
    table = pa.table(
        {
            "when": pa.array([0, 86_400], pa.timestamp("s")),
            "code": [7, 8],
            "yes": [True, False],
            "ragged": [[1.0], [2.0, 3.0]],
            "price": pa.array([1, 2]).cast(pa.decimal128(21, 2)),
        }
    )

    columns, (rows,) = align([table], ["code"])

    assert columns.numbers == ("when", "price")
    assert columns.categories == ("code", "yes")
    assert rows.numbers[1].tolist() == [86_400.0, 2.0]


def test_vector_gives_at_most_32_numbers() -> None:
    first = pa.table({"v": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)), "w": [[1] * 100] * 3})
    second = pa.table({"v": pa.array([[5.0, 6.0]], pa.list_(pa.float32(), 2)), "w": [[2] * 100]})

    columns, (one, other) = align([first, second])

    assert columns.numbers[:3] == ("v[0]", "v[1]", "w[0]")
    assert len(columns.numbers) == 2 + 32
    np.testing.assert_array_equal(one.numbers[:, :2], [[1, 2], [np.nan, np.nan], [3, 4]])
    assert other.numbers[0, [0, 1, -1]].tolist() == [5, 6, 2]


@pytest.mark.parametrize("scale", [2.0**-900, 1.0, 2.0**990])
def test_moments_do_not_depend_on_the_unit(scale: float) -> None:
    numbers = np.array([[1.0, 5.0], [np.nan, 5.0], [-3.0, 5.0], [8.0, np.nan]])

    center, spread = moments(numbers * scale)

    np.testing.assert_array_equal(center, np.nanmean(numbers, axis=0) * scale)
    np.testing.assert_array_equal(spread, [np.nanstd(numbers[:, 0]) * scale, 1.0])
