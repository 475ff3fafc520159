"""Scores of an isolation forest by arrays equal the scores of scikit-learn."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from aepipe.jobs.evaluate.isolation_forest import ForestArrays

generator = np.random.default_rng(0)
ROWS = {
    "numbers": generator.normal(size=(5_000, 7)),
    "few rows": generator.normal(size=(30, 3)),
    "ties and codes": generator.integers(0, 3, (900, 5)).astype(np.float64),
    "large numbers": 1.7e18 + 1e9 * generator.normal(size=(500, 2)),
    "one constant column": np.ones((40, 1)),
}


@pytest.mark.parametrize("name", ROWS)
def test_scores_are_those_of_scikit_learn(name: str) -> None:
    rows = ROWS[name]
    forest = IsolationForest(random_state=0).fit(rows)

    found = ForestArrays.of(forest).scores(rows)

    np.testing.assert_allclose(found, -forest.score_samples(rows), rtol=1e-12)


def test_no_rows_have_no_scores() -> None:
    forest = ForestArrays.of(IsolationForest(random_state=0).fit(ROWS["few rows"]))

    assert forest.scores(np.zeros((0, 3))).shape == (0,)
