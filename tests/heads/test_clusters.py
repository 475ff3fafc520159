"""Clusters in the scorer's graph, against scikit-learn."""

import numpy as np
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.mixture import GaussianMixture

from aepipe.heads.clusters import Clusters
from aepipe.heads.scorer import fit_scorer
from aepipe.models.latent_priors import draw_latents
from aepipe.models.layers.prior import fit_mixture
from tests.support.head_models import cells, table_layout, train


def _as_fitted(latents: np.ndarray) -> tuple[GaussianMixture, Clusters]:
    """Fit a mixture; return it as scikit-learn's model and as clusters."""
    mixture = fit_mixture(latents, components=3, seed=0).mixture
    theirs = GaussianMixture(len(mixture.weights))
    theirs.weights_, theirs.means_ = mixture.weights, mixture.means
    theirs.covariances_ = mixture.factors @ mixture.factors.swapaxes(1, 2)
    theirs.precisions_cholesky_ = np.linalg.inv(mixture.factors).swapaxes(1, 2)
    return theirs, Clusters(mixture)


def test_clusters_are_predictions_and_distances_mahalanobis() -> None:
    generator = np.random.default_rng(0)
    latents = np.concatenate([generator.normal(size=(300, 6)) * (1 + at) + 4 * at for at in range(3)])
    theirs, clusters = _as_fitted(latents)
    rows = (generator.normal(size=(400, 6)) * 8).astype(np.float32)

    cluster, distance = clusters(torch.from_numpy(rows))

    assert (cluster.dtype, cluster.shape, distance.shape) == (torch.int32, (400, 1), (400, 1))
    np.testing.assert_array_equal(cluster[:, 0], theirs.predict(rows))
    inverses = np.linalg.inv(theirs.covariances_)
    wanted = [mahalanobis(z, theirs.means_[k], inverses[k]) for z, k in zip(rows, cluster[:, 0], strict=True)]
    np.testing.assert_allclose(distance[:, 0], wanted, rtol=1e-4)


def test_the_scorer_answers_clusters_of_its_own_latents_after_everything_else() -> None:
    learned = {"num": cells()[0]}
    model = train(table_layout(learned["num"]), learned, learned, family="pca")
    mixture = fit_mixture(draw_latents(model, learned, seed=0), components=3, seed=0).mixture

    scorer = fit_scorer(model, learned, learned, head="mahalanobis", reasons=2, mixture=mixture)

    with torch.no_grad():
        z, *_, cluster, distance = scorer(torch.from_numpy(cells()[1]))
    wanted = mixture.assign(z.numpy())
    assert [port.name for port in scorer.part().outputs][-2:] == ["cluster", "cluster_distance"]
    np.testing.assert_array_equal(cluster[:, 0], wanted.component)
    np.testing.assert_allclose(distance[:, 0], wanted.distance, rtol=1e-4)


def test_without_a_mixture_there_are_no_clusters() -> None:
    learned = {"num": cells()[0]}
    model = train(table_layout(learned["num"]), learned, learned, family="pca")

    scorer = fit_scorer(model, learned, learned, head="mahalanobis", reasons=0)

    assert [port.name for port in scorer.part().outputs] == ["z", "score"]
