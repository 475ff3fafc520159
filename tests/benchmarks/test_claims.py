"""Measures of families against closed forms, and the definition of better."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from aepipe.config.job import Model as Section
from aepipe.models import families
from aepipe.models.base import Posterior
from benchmarks import claims
from benchmarks.claims import CLAIMS, Claim, Found, Parts, distance_to_normal, information, sensitivity


class Row:
    """Preprocessed rows of the tests, with numbers only."""

    def __init__(self, dense: Tensor) -> None:
        self.dense = dense

    def _replace(self, dense: Tensor) -> "Row":
        return Row(dense)


class Encoder:
    """Encoder with latents `scale` times the numbers of a row, and one variance for all of them."""

    def __init__(self, scale: float, variance: float = 1.0) -> None:
        self.scale, self.log_var = scale, math.log(variance)

    def preprocessing(self, inputs: dict[str, Tensor]) -> Row:
        return Row(inputs["num"])

    def posterior(self, row: Row) -> Posterior:
        z = self.scale * row.dense
        return Posterior(z, torch.full_like(z, self.log_var), torch.zeros_like(z), z[:, :0])


def parts_of(held: np.ndarray) -> Parts:
    return Parts(None, {}, {}, {"num": held}, np.zeros(0, np.int64), np.zeros(0, np.int64))  # type: ignore[arg-type]


def test_information_of_a_gaussian_channel_is_shannons() -> None:
    held = np.random.default_rng(0).standard_normal((1_500, 2))

    found = information(Encoder(1.0, variance=0.5), parts_of(held), 0)  # type: ignore[arg-type]

    assert found == pytest.approx(2 * 0.5 * math.log(1 + 1 / 0.5), abs=0.08)
    assert information(Encoder(0.0), parts_of(held), 0) == pytest.approx(0, abs=1e-9)  # type: ignore[arg-type]
    apart = information(Encoder(1e4), parts_of(held[:100]), 0)  # type: ignore[arg-type]
    assert apart == pytest.approx(math.log(100), abs=1e-6)


def test_distance_to_normal_is_the_worst_moment() -> None:
    held = np.random.default_rng(0).standard_normal((4_000, 2)).astype(np.float32)

    assert distance_to_normal(Encoder(1.0), parts_of(held), 0) < 0.05  # type: ignore[arg-type]
    assert distance_to_normal(Encoder(2.0), parts_of(held), 0) == pytest.approx(1, abs=0.05)  # type: ignore[arg-type]
    assert distance_to_normal(Encoder(1.0), parts_of(held + 3), 0) == pytest.approx(3, abs=0.05)  # type: ignore[arg-type]


def test_sensitivity_is_the_noise_over_the_distance_of_rows_at_any_scale() -> None:
    held = np.random.default_rng(0).standard_normal((4_000, 3))

    found = [sensitivity(Encoder(scale), parts_of(held), 0) for scale in (0.1, 7.0)]  # type: ignore[arg-type]

    assert found == pytest.approx([claims.NOISE / math.sqrt(2)] * 2, rel=0.03)


@pytest.mark.parametrize(
    ("ours", "plain", "is_lower_better", "verdict"),
    [
        ((0.9, 0.91, 0.92), (0.8, 0.82, 0.81), False, "better"),
        ((0.9, 0.91, 0.92), (0.8, 0.82, 0.81), True, "worse"),
        ((0.9, 0.7, 0.8), (0.8, 0.82, 0.81), False, "="),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False, "="),
        ((0.9,), (0.1,), False, "="),
    ],
)
def test_a_difference_counts_beyond_two_standard_errors(
    ours: tuple[float, ...], plain: tuple[float, ...], is_lower_better: bool, verdict: str
) -> None:
    claim = Claim("wae", "ae", "figure", distance_to_normal, is_lower_better=is_lower_better)

    assert Found(claim, "digits", ours, plain).verdict == verdict


def test_anomalies_are_only_in_the_held_out_rows_on_request() -> None:
    rows, labels = claims.read(claims.data_path(), "wine")

    parts = claims.split(rows, labels, 0, learns_normal_rows=True)

    assert (parts.known != 1).all()
    assert (parts.wanted == 1).sum() == (labels == 1).sum() == 48
    assert len(parts.learned["num"]) == 78


def test_accuracy_of_the_columns_themselves_is_that_of_a_logistic_regression_on_them() -> None:
    parts = claims.split(*claims.read(claims.data_path(), "wine"), 0, learns_normal_rows=False)
    known, wanted = (rows["num"].astype(np.float64) for rows in (parts.learned, parts.held))
    scaler = StandardScaler().fit(known)
    regression = LogisticRegression(max_iter=2_000).fit(scaler.transform(known), parts.known)

    found = claims.accuracy(Encoder(1.0), parts, 0)  # type: ignore[arg-type]

    assert found == regression.score(scaler.transform(wanted), parts.wanted) > 0.9


def test_distance_of_samples_grows_with_the_square_of_a_shift() -> None:
    parts = claims.split(*claims.read(claims.data_path(), "wine"), 0, learns_normal_rows=False)
    model = families.build(parts.layout, Section(family="ae"), 0).eval()
    shift = np.zeros(13)
    shift[4] = 2 * parts.learned["num"].astype(np.float64)[:, 4].std()

    found = [
        claims.distance_of_samples(model, parts._replace(held={"num": parts.held["num"] + times * shift}), 0)
        for times in (-1, 0, 1)
    ]

    assert found[0] + found[2] - 2 * found[1] == pytest.approx(2 * 2**2)


def test_anomalies_are_found_by_their_reconstruction() -> None:
    parts = claims.split(*claims.read(claims.data_path(), "wine"), 0, learns_normal_rows=True)
    model = families.build(parts.layout, Section(family="ae"), 0).eval()

    assert claims.found_by("reconstruction", model, parts, 0) > 0.6  # untrained: far rows have a greater loss


def test_all_families_of_the_claims_are_known() -> None:
    for claim in CLAIMS:
        assert {claim.family, claim.plain} <= {*families.names(), *families.PRESETS}
