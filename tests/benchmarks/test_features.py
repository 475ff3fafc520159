"""Features under classifiers: what a figure means, and what counts as better."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aepipe.models import families
from aepipe.models.base import Posterior
from benchmarks import features
from benchmarks.claims import Parts
from benchmarks.features import OURS, PLAIN, WIDE, Figures, section_of, verdict
from tests.support.layouts import MIXED


class Columns:
    """Encoder whose latents are the columns."""

    def preprocessing(self, inputs: dict[str, Tensor]) -> Tensor:
        return inputs["num"]

    def posterior(self, row: Tensor) -> Posterior:
        return Posterior(row, None, torch.zeros_like(row), row[:, :0])


def test_a_linear_classifier_sees_a_sum_and_no_product_and_a_booster_both() -> None:
    rng = np.random.default_rng(0)
    known, held = rng.standard_normal((3_000, 2)), rng.standard_normal((3_000, 2))
    found = []
    for combined in (np.sum, np.prod):
        labels = [(combined(rows, axis=1) > 0).astype(np.int64) for rows in (known, held)]
        parts = Parts(None, {"num": known}, {}, {"num": held}, *labels)  # type: ignore[arg-type]
        found.append(features.figures(Columns(), parts))  # type: ignore[arg-type]

    of_sum, of_product = found
    assert of_sum.linear > 0.99
    assert of_sum.booster > 0.95
    assert of_product.linear == pytest.approx(0.5, abs=0.05)
    assert of_product.booster > 0.95


@pytest.mark.parametrize(
    ("ours", "plain", "expected"),
    [
        ((0.9, 0.91, 0.92), (0.8, 0.82, 0.81), "better"),
        ((0.8, 0.82, 0.81), (0.9, 0.91, 0.92), "worse"),
        ((0.9, 0.7, 0.8), (0.8, 0.82, 0.81), "="),
        ((0.5, 0.5), (0.5, 0.5), "="),
        ((0.9,), (0.1,), "="),
    ],
)
def test_a_difference_counts_beyond_two_standard_errors(
    ours: tuple[float, ...], plain: tuple[float, ...], expected: str
) -> None:
    found = {name: [Figures(value, value) for value in values] for name, values in ((OURS, ours), (PLAIN, plain))}

    assert verdict(found, PLAIN) == expected


def test_the_wide_counterpart_has_as_many_latents_as_columns() -> None:
    model = families.build(MIXED, section_of(WIDE, MIXED), 0)

    assert len(model.latent.names) == MIXED.features
