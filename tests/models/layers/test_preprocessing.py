import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aepipe.layout import Category, Image, Layout, Number
from aepipe.models.layers.preprocessing import TAIL, Preprocessing, Row, harden, soften


def preprocessing_of(*numbers: Number) -> Preprocessing:
    return Preprocessing(Layout(columns=tuple(n.name for n in numbers), numbers=numbers)).double()


def see(preprocessing: Preprocessing, *values: float) -> Row:
    answer: Row = preprocessing({"num": torch.tensor([values], dtype=torch.float64)})
    return answer


def test_a_linear_number_is_standardised() -> None:
    row = see(preprocessing_of(Number(name="a", column=0, mean=3.0, std=2.0)), 7.0)

    assert row.dense.tolist() == [[2.0]]
    assert row.observed.tolist() == [[1.0]]
    assert row.codes.shape == (1, 0)


def test_center_and_scale_apply_before_mean_and_std() -> None:
    number = Number(name="a", column=0, center=10.0, scale=4.0, mean=0.5, std=0.25)

    assert see(preprocessing_of(number), 13.0).dense.item() == pytest.approx(((13 - 10) / 4 - 0.5) / 0.25)


def test_a_logarithmic_number_keeps_its_sign() -> None:
    number = Number(name="a", column=0, transform="log", center=1.0, scale=2.0, mean=0.3, std=1.5)
    row = see(preprocessing_of(number), -99.0)

    assert row.dense.item() == pytest.approx((-math.log1p(50.0) - 0.3) / 1.5)


def test_linear_and_logarithmic_columns_can_be_combined() -> None:
    row = see(
        preprocessing_of(Number(name="a", column=0, transform="log"), Number(name="b", column=1, std=2.0)), 1.0, 1.0
    )

    np.testing.assert_allclose(row.dense.numpy(), [[math.log(2.0), 0.5]])


def test_a_missing_number_is_zero_and_unobserved() -> None:
    maybe = Number(name="a", column=0, mean=3.0, may_be_missing=True)
    row = see(preprocessing_of(maybe, Number(name="b", column=1)), math.nan, 1.0)

    assert row.dense.tolist() == [[0.0, 1.0]]
    assert row.observed.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, math.inf, -math.inf])
def test_the_greatest_numbers_stay_finite_and_far_out(value: float) -> None:
    numbers = (Number(name="a", column=0, std=1e-3), Number(name="b", column=1, transform="log", std=1e-3))
    preprocessing = Preprocessing(Layout(columns=("a", "b"), numbers=numbers))

    dense = preprocessing({"num": torch.full((1, 2), value)}).dense

    assert torch.isfinite(dense).all()
    assert (dense * math.copysign(1, value) > 15).all()


@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=9))
def test_soft_tails_keep_the_order(values: list[float]) -> None:
    ordered = torch.tensor(sorted(values), dtype=torch.float64)

    assert (soften(ordered).diff() >= 0).all()


@given(st.floats(-1e12, 1e12))
def test_soft_tails_can_be_inverted(value: float) -> None:
    tensor = torch.tensor(value, dtype=torch.float64)

    torch.testing.assert_close(harden(soften(tensor)), tensor, rtol=1e-9, atol=1e-12)


def test_soft_tails_change_nothing_between_them() -> None:
    values = torch.linspace(-TAIL, TAIL, 101)

    assert torch.equal(soften(values), values)


@given(
    st.floats(-1e5, 1e5),
    st.sampled_from(["linear", "log"]),
    st.floats(-100, 100),
    st.floats(0.1, 100),
    st.floats(-2, 2),
    st.floats(0.1, 3),
)
def test_restoring_undoes_preprocessing(
    value: float, transform: str, center: float, scale: float, mean: float, std: float
) -> None:
    number = Number.model_validate(
        {
            "name": "a",
            "column": 0,
            "transform": transform,
            "center": center,
            "scale": scale,
            "mean": mean,
            "std": std,
        }
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        preprocessing = preprocessing_of(number)
    finally:
        torch.set_default_dtype(default)

    restored = preprocessing.restore(see(preprocessing, value).dense)

    assert restored.item() == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_codes_beyond_a_category_count_as_its_last_one() -> None:
    preprocessing = Preprocessing(Layout(columns=("k",), categories=(Category(name="k", column=0, size=5),)))

    row = preprocessing({"cat": torch.tensor([[0], [4], [9], [-1]], dtype=torch.int32)})

    assert row.codes.tolist() == [[0], [4], [4], [0]]
    assert row.dense.shape == (4, 0)


def test_pixels_are_shares_of_the_greatest_value() -> None:
    preprocessing = Preprocessing(Layout(columns=("i",), image=Image(channels=1, height=1, width=2, top=16)))

    row = preprocessing({"image": torch.tensor([[[[4, 16]]]], dtype=torch.uint8)})

    assert row.dense.tolist() == [[[[0.25, 1.0]]]]
    assert row.observed.tolist() == [[[[1.0, 1.0]]]]
    assert row.codes.shape == (1, 0)


def test_logarithmic_numbers_are_also_kept_linear() -> None:
    layout = Layout(
        columns=("plain", "skewed"),
        numbers=(
            Number(name="plain", column=0),
            Number(name="skewed", column=1, transform="log", center=3.0, scale=2.0, may_be_missing=True),
        ),
    )
    num = torch.tensor([[1.0, 7.0], [1.0, 3.0], [0.0, float("nan")], [0.0, 3.0 + 2 * (10 + 255)]])

    straight = Preprocessing(layout).straight({"num": num})

    torch.testing.assert_close(straight, torch.tensor([[2.0], [0.0], [0.0], [22.0]]))
