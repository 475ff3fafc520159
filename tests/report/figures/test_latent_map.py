"""The latent map."""

import re

import numpy as np
import pytest
from sklearn.decomposition import PCA

from aepipe.report.figures.latent_map import MOST_POINTS, class_names, drawable, frame, latent_map, principal_plane
from aepipe.report.page_model import LatentMap

rng = np.random.default_rng(0)


def latents(rows: int, width: int, **changes) -> LatentMap:
    scores = rng.lognormal(0, 2, rows)
    found = {"points": rng.normal(size=(rows, width)), "scores": scores, "flagged": scores > np.quantile(scores, 0.95)}
    return LatentMap(**{**found, **changes})


def test_plane_matches_principal_component_analysis():
    points = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    oracle = PCA(2).fit(points)

    xy, variance = principal_plane(points)

    np.testing.assert_allclose(np.abs(xy), np.abs(oracle.transform(points)), atol=1e-9)
    np.testing.assert_allclose(variance, oracle.explained_variance_ratio_)


@pytest.mark.parametrize("shape", [(1, 3), (5, 1), (4, 4), (1, 1)])
def test_plane_of_few_rows_or_one_latent_is_filled_with_zeros(shape):
    xy, variance = principal_plane(rng.normal(size=shape))

    assert xy.shape == (shape[0], 2)
    assert np.isfinite(variance).all()


def test_many_rows_are_thinned_and_keep_flagged_rows():
    crowd = latents(20_000, 2)

    kept = drawable(crowd)

    assert len(kept) == len(set(kept.tolist())) == MOST_POINTS
    assert crowd.flagged[kept].sum() == crowd.flagged.sum()


def test_rows_without_a_score_or_a_latent_are_not_drawn():
    points, scores = rng.normal(size=(5, 3)), np.arange(5.0)
    points[1, 2], scores[3] = np.nan, np.inf

    assert drawable(latents(5, 3, points=points, scores=scores, flagged=np.zeros(5, bool))).tolist() == [0, 2, 4]


def test_map_of_many_rows_is_small_and_has_a_marker_for_each():
    labels = rng.choice(list("abcdefghijklmnop"), MOST_POINTS).tolist()

    svg = latent_map(latents(MOST_POINTS, 8, labels=labels, label="segment"))
    marks = sum(path.count("M") for path in re.findall(r' d="([^"]{400,})"', svg))

    assert marks >= 2 * MOST_POINTS
    assert len(svg) < 450_000


@pytest.mark.parametrize(
    "found",
    [
        latents(1, 4),
        latents(3, 1, labels=[None, "b", "b"]),
        latents(10, 2, points=np.zeros((10, 2)), scores=np.ones(10), flagged=np.ones(10, bool)),
    ],
)
def test_map_of_few_or_equal_rows_is_drawn_without_a_warning(found):
    assert "score" in latent_map(found)


def test_rarest_labels_are_drawn_as_other():
    names = class_names([*range(10), *range(12)])

    assert set(names) == {*map(str, range(9)), "other"}
    assert class_names([True, 2, None]) == ["true", "2", "\N{EN DASH}"]


def test_frame_holds_every_point():
    xy = rng.normal(size=(50, 2)) * [10, 0.1]

    low, high = frame(xy)

    assert (xy > low).all()
    assert (xy < high).all()
    assert (high - low)[1] == pytest.approx(0.75 * (high - low)[0])
