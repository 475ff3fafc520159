"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from aepipe.sklearn import AutoencoderDetector, LatentFeatures, SyntheticSampler

ESTIMATORS = [AutoencoderDetector(epochs=5), LatentFeatures(epochs=5), SyntheticSampler("ae", epochs=5)]


@pytest.mark.slow
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_s_checks_pass(estimator: object, check: object) -> None:
    check(estimator)  # type: ignore[operator]
